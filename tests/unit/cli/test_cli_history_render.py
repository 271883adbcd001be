"""Records in words, and what they tell of a step that is under way."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from support.cli import Cli
from support.fake_daemon import NOW, FakeDaemon
from support.runs import entry, run
from wfctl.cli.render.document import as_sent
from wfctl.cli.render.history import Describer
from wfctl.cli.render.pending import pending, pending_line
from wfctl.cli.render.text import line_cells, plain
from wfctl.protocol.calls import HistoryPage
from wfctl.protocol.views import HistoryEntry, InboxView, RunDetail

Start = Callable[..., FakeDaemon]
DECLINED = {"type": "CardDeclined", "message": "limit exceeded", "frame": "orders.py:12 in charge"}


def started(attempt: int = 1, key: str = "k", **more: Any) -> HistoryEntry:
    return entry("task.started", key=key, name="charge", attempt=attempt, **more)


def failed(attempt: int, retry_at: int, key: str = "k") -> HistoryEntry:
    return entry("task.attempt_failed", key=key, name="charge", attempt=attempt, error=DECLINED, retry_at=retry_at)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (started(arguments={"amount": 5}), 'charge  {"amount":5}'),
        (started(2, arguments={}), "charge  attempt 2"),
        (
            failed(2, NOW + 4_000),
            "charge  attempt 2  CardDeclined: limit exceeded (orders.py:12 in charge)  next after 4.0s",
        ),
        (entry("task.completed", key="k", name="charge", attempt=1, result={"txn": 1}), 'charge  {"txn":1}'),
        (entry("task.completed", key="k", name="charge", attempt=3, result="ok"), 'charge  attempt 3  "ok"'),
        (
            entry("task.failed", key="k", name="charge", attempt=3, error={"type": "Boom"}),
            "charge  after 3 attempts  Boom",
        ),
        (entry("task.failed", key="k", name="charge", error={"type": "Boom"}), "charge  Boom"),
        (entry("sleep.recorded", key="k", wake_at=NOW + 90_000), "1m30s, until 2026-11-23T03:01:30.000Z"),
        (
            entry(
                "operation.refused", key="k", operation="child", name="Paymnt",
                error={"code": "unknown_type", "message": "no workflow type 'Paymnt'"},
            ),
            "child Paymnt: unknown_type: no workflow type 'Paymnt'",
        ),
        (entry("child.closed", workflow_id_="x", run_id_="y", status="failed", step="on_paid"), "failed  then on_paid"),
        (entry("child.cancel_requested", key="k", workflow_id="x", reason="too late"), "too late"),
        (entry("child.terminated", key="k", workflow_id="x", closed="failed"), "already failed"),
        (
            entry("child.result_recorded", key="k", workflow_id="x", status="completed", outcome={"result": {"n": 1}}),
            'completed  {"n":1}',
        ),
        (
            entry("child.result_recorded", key="k", workflow_id="x", status="failed", outcome={"error": DECLINED}),
            "failed  CardDeclined: limit exceeded (orders.py:12 in charge)",
        ),
        (
            entry("child.result_recorded", key="k", workflow_id="x", status="cancelled", outcome={"reason": "late"}),
            "cancelled  late",
        ),
        (entry("timestamp.recorded", key="k", value="2026-11-23T03:00:00Z"), "2026-11-23T03:00:00Z"),
        (entry("timestamp.recorded", key="k", value=NOW), "2026-11-23T03:00:00.000Z"),
        (entry("random.recorded", key="k", value=0.25), "0.25"),
        (entry("run.resumed", attempt=3), "attempt 3"),
        (entry("run.resumed"), ""),
        (
            entry(
                "run.resumed", was="failed", attempt=2, reason="by me", put={"n": 1}, deleted=["x"],
                phase={"phase": "stepping", "step": 2, "handler": "pay"}, requeued=[{"name": "paid"}],
            ),
            "was failed  pay  attempt 2  stored n, -x  in the inbox again: paid  by me",
        ),
        (
            entry("run.resumed", was="stuck", from_step=2, phase={"phase": "stepping", "step": 5, "handler": "pay"}),
            "was stuck  back at pay, step 2",
        ),
        (entry("run.resumed", was="timed_out", phase={"phase": "waiting"}), "was timed_out  waiting"),
    ],
)  # fmt: skip
def test_a_record_says_what_a_person_looks_for(record: HistoryEntry, words: str) -> None:
    assert Describer().detail(record).strip() == words


def test_only_an_attempt_that_is_tried_again_looks_like_a_retry() -> None:
    styles = {
        kind: Describer().line(entry(kind, key="k", name="charge"), NOW, width=80)[2][1]
        for kind in ("task.attempt_failed", "task.failed", "task.completed", "run.completed")
    }
    assert styles == {
        "task.attempt_failed": "yellow", "task.failed": "bold red", "task.completed": "", "run.completed": "green",
    }  # fmt: skip


def test_history_in_json_has_the_next_attempt_as_a_time(cli: Cli, daemon: Start) -> None:
    daemon(history=HistoryPage(run=run(), items=[failed(1, NOW + 4_000)]))
    items: Any = cli("history", "order-1", "-o", "json").json["items"]  # type: ignore[index]
    assert items[0]["data"]["retry_at"] == "2026-11-23T03:00:04.000Z"


# -- what a step is at ------------------------------------------------------------------------------


def told(*entries: HistoryEntry, person: bool = True) -> list[str]:
    return [plain(pending_line(one, NOW, person=person)) for one in pending(entries, NOW)]


def test_a_task_that_waits_for_its_next_attempt_is_told() -> None:
    assert told(started(), failed(1, NOW - 5_000), started(2), failed(2, NOW + 4_000)) == [
        "charge: attempt 2 failed, next in 4s  CardDeclined: limit exceeded (orders.py:12 in charge)"
    ]
    assert told(failed(2, NOW + 4_000), person=False)[0].startswith(
        "charge: attempt 2 failed, next at 2026-11-23T03:00:04.000Z  "
    )
    assert told(failed(2, NOW - 1))[0].startswith("charge: attempt 2 failed, next now  ")


def test_a_task_that_runs_is_told_with_its_attempt() -> None:
    assert told(failed(1, NOW), started(2, at=NOW - 30_000)) == ["charge: attempt 2 runs for 30s"]


def test_what_has_an_outcome_is_not_told() -> None:
    done = entry("task.completed", key="k", name="charge", result=1)
    gave_up = entry("task.failed", key="b", name="charge", error=DECLINED)
    assert told(started(), done, started(key="b"), failed(1, NOW, key="b"), gave_up) == []


def test_what_an_earlier_step_left_behind_is_not_told() -> None:
    assert told(started(), entry("step.completed", step=1, next="step"), entry("step.started", step=2)) == []
    # A crash begins the same step again, and its tasks go on where they were.
    assert len(told(failed(1, NOW + 1), entry("step.interrupted", step=1, attempt=1))) == 1


def test_a_sleep_is_told_until_it_is_over() -> None:
    assert told(entry("sleep.recorded", key="s", wake_at=NOW + 60_000)) == ["wakes in 1m"]
    assert told(entry("sleep.recorded", key="s", wake_at=NOW)) == []


def test_show_tells_what_the_running_step_is_at(cli: Cli, daemon: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfctl.cli.commands.show.now_ms", lambda: NOW)
    view = run(step="pay", run_id="01A")
    fake = daemon(
        get=RunDetail(run=view, input=msgspec.Raw(b"{}"), history_entries=250),
        history=HistoryPage(run=view, items=[failed(2, NOW + 4_000)]),
    )
    said = cli("show", "order-1", tty=True, columns=120)
    assert "charge: attempt 2 failed, next in 4s" in said.out
    asked = fake.asked("history")[0]
    assert (asked.id, asked.exact, asked.newest, asked.limit) == ("01A", True, True, 100)
    document: Any = cli("show", "order-1", "-o", "json").json
    assert document["pending"] == [
        {
            "kind": "task", "name": "charge", "begun_at": "2026-11-23T03:00:00.000Z", "attempt": 2,
            "max_attempts": None,
            "retry_at": "2026-11-23T03:00:04.000Z", "wake_at": None, "error": DECLINED,
        }
    ]  # fmt: skip


def test_show_of_a_run_that_is_not_running_reads_no_history(cli: Cli, daemon: Start) -> None:
    fake = daemon(get=RunDetail(run=run(status="sleeping"), history_entries=6))
    assert cli("show", "order-1").code == 0
    assert fake.asked("history") == []


def test_lines_of_several_runs_keep_their_columns_and_fit_the_terminal() -> None:
    describer = Describer(several=True)
    ids = ("order-1-with-a-very-long-name-of-its-own", "order-2", "注文-3")
    lines = [describer.line(entry("step.failed", workflow_id=id, step=1, error=DECLINED), NOW, width=80) for id in ids]
    assert {line_cells(line[:5]) for line in lines} == {line_cells(lines[0][:5])}
    assert all(line_cells(line) < 80 for line in lines)
    assert plain(lines[1]).rstrip().endswith("xceeded")


def test_a_narrow_line_of_a_failed_attempt_keeps_what_failed_and_what_follows() -> None:
    line = plain(Describer().line(failed(2, NOW + 4_000), NOW, width=80))
    assert len(line) < 80
    assert "  charge  attempt 2  CardDecl" in line
    assert line.endswith("t after 4.0s")


def test_the_remedy_of_a_failure_is_told_once_after_its_run() -> None:
    hint = "it has: amount; ctx.store.get('amuont', default=...) does not raise"
    error = {"type": "StoreKeyNotFoundError", "message": "no key", "frame": "a.py:1 in b", "detail": {"hint": hint}}
    step, ended = entry("step.failed", step=1, error=error), entry("run.failed", error=error)
    assert [plain(line) for line in Describer().lines(ended, NOW, width=None)] == [
        f"2026-11-23T03:00:00.000Z\trun.failed\tStoreKeyNotFoundError: no key (a.py:1 in b); hint: {hint}"
    ]
    assert "hint" not in plain(Describer().line(step, NOW, width=None))
    for width in (40, 80, 120):
        assert len(Describer().lines(step, NOW, width=width)) <= 2
        told = [plain(line) for line in Describer().lines(ended, NOW, width=width)]
        assert max(map(len, told)) < width
        assert "".join(f" hint: {hint}".split()) in "".join("".join(told).split()), "broken where there is no room"


@pytest.mark.parametrize("several", [False, True])
def test_no_record_is_wider_than_a_narrow_terminal_and_each_has_its_time_and_kind(several: bool) -> None:
    for width in range(20, 80):
        for one in (entry("step.failed", step=1, error=DECLINED), failed(2, NOW)):
            line = plain(Describer(several=several).line(one, NOW, width=width))
            assert len(line) < width
            assert width < 40 or re.match(rf"03:00:00(\.000)?Z .*{re.escape(one.kind)}", line)
    assert plain(Describer().line(one, NOW, width=40)) == "03:00:00Z task.attempt_failed  charg…ms"
    log = plain(Describer().line(entry("log", level="INFO", message="of order 7"), NOW, width=40))
    assert log == "03:00:00Z info  of order 7"


def test_what_a_narrow_line_has_no_room_for_beside_its_run_stands_below_it() -> None:
    described = Describer(several=True)
    lines = [plain(line) for line in described.lines(failed(2, NOW), NOW, width=40)]
    assert lines[0] == "03:00:00Z order-1 task.attempt_failed"
    assert lines[1].startswith("  charge  attempt 2")
    assert all(len(line) < 40 for line in lines)
    assert (
        len(described.lines(failed(2, NOW), NOW, width=None))
        == len(described.lines(failed(2, NOW), NOW, width=100))
        == 1
    )
    assert len(described.lines(entry("log", level="INFO", message="of order 7" * 9), NOW, width=40)) == 1


def test_an_event_that_is_kept_for_a_handler_that_is_not_there_is_shown_as_it_was_sent(cli: Cli, daemon: Start) -> None:
    one = entry("event.received", name="paid", payload={"$unbound": {"amount": 5}, "$positional": True}, sender="shop")
    assert plain(Describer().line(one, NOW, width=None)).endswith('paid  {"amount":5}  from shop')
    typed = entry("event.received", name="paid", payload={"$unbound": {"amount": 5}, "$text": {"note": "3"}})
    assert '{"amount":5,"note":"3"}' in plain(Describer().line(typed, NOW, width=None))
    alone = msgspec.Raw(b'{"$unbound":null,"$text":{"note":"3"}}')
    assert as_sent(alone) == msgspec.Raw(b'{"note":"3"}')
    kept = InboxView(1, "paid", msgspec.Raw(b'{"$unbound":{"amount":5.10}}'), NOW)
    daemon(get=RunDetail(run=run(), inbox=[kept]), history=HistoryPage(run=run(), items=[one]))
    assert '{"amount":5.10}' in cli("show", "order-1").out
    for words in (("show", "order-1", "-o", "json"), ("history", "order-1", "-o", "json")):
        assert "$unbound" not in cli(*words).out
        assert '"payload":{"amount":5' in cli(*words).out


def _of(source: str | None, kind: str = "step.started") -> HistoryEntry:
    return msgspec.structs.replace(entry(kind, handler="pay"), source=source)


def test_a_history_marks_where_the_code_changed(cli: Cli, daemon: Start) -> None:
    entries = [_of("3f9a"), _of(None, "wait.started"), _of("3f9a"), _of(None), _of("81bc"), _of("81bc"), _of("3f9a")]
    daemon(history=HistoryPage(run=run(), items=entries))
    lines = cli("history", "order-1").out.splitlines()
    marks = {place: line for place, line in enumerate(lines) if "code changed" in line}
    assert marks == {
        4: "2026-11-23T03:00:00.000Z\t--\tcode changed: 3f9a -> 81bc",
        7: "2026-11-23T03:00:00.000Z\t--\tcode changed: 81bc -> 3f9a",
    }
    drawn = cli("--color", "never", "history", "order-1", tty=True).out.splitlines()
    assert [line for line in drawn if "code changed" in line] == [
        "-- code changed: 3f9a -> 81bc --",
        "-- code changed: 81bc -> 3f9a --",
    ]
    items: Any = cli("history", "order-1", "-o", "json").json["items"]  # type: ignore[index]
    assert [item["source"] for item in items[:2]] == ["3f9a", None]


def test_the_code_of_one_run_is_not_held_against_another() -> None:
    describer = Describer()
    other = msgspec.structs.replace(_of("81bc"), run_id="another")
    assert [describer.code_change(one, width=80) for one in (_of("3f9a"), other, _of("3f9a"))] == [None] * 3
