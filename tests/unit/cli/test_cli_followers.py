"""`tail`, `tree` and `start --wait` in front of a daemon that is only its protocol."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from support.cli import Cli
from support.fake_daemon import NOW, FakeDaemon, HangUp
from support.runs import entry, node, run, step, tree
from support.waiting import wait_until
from wfctl.protocol.calls import GetTree, HistoryPage, RunPage, Started, TailEnd, WatchItem
from wfctl.protocol.views import HistoryEntry, Outcome, RunChange, StatusView, Tree, TreeGroup
from wfctl.values.runinfo import RunInfo
from wfctl.values.status import Status

Start = Callable[..., FakeDaemon]
STARTED = Started(run=RunInfo("01JF", "order-1", "Order", started_at_ms=NOW), status=Status.RUNNING)
STATUS = StatusView(
    pid=4121, version="0.1.0", project="/shop", config="/shop/wfctl.toml", socket="/s", database="/d", database_bytes=1, log="/l",
    started_at=NOW, now=NOW, generation=1, source_hash="x", python="/p", counts={}, workers=[], queued_steps=0,
)  # fmt: skip


def outcome(status: str = "completed", result: bytes = b'"txn-9"') -> Outcome:
    return Outcome(
        run_id="01JF", workflow_id="order-1", workflow_type="Order", status=Status(status), result=msgspec.Raw(result)
    )


def test_tail_asks_for_kinds_and_times_and_draws_progress_only_on_a_terminal(cli: Cli, daemon: Start) -> None:
    def answer(call: Any) -> Iterator[Any]:
        yield entry("step.started", rev=1, handler="encode", step=1)
        if call.progress:
            yield progress(6)
            yield progress(10)
        yield entry("log", rev=2, seq=0, level="INFO", message="nearly")
        yield entry("step.completed", rev=3, step=1, next="wait")
        return TailEnd(rev=3, outcomes=[outcome()])

    fake = daemon(tail=answer)
    plain = cli("tail", "-f", "order-1", "--since", "1h", "--kinds", "run.failed,task", "--kinds", "log")
    (call,) = fake.asked("tail")
    assert call.kinds == [
        "run.failed", "task.started", "task.attempt_failed", "task.completed", "task.failed", "log", "code",
    ]  # fmt: skip
    assert abs(call.since_ms - (time.time() - 3_600) * 1_000) < 60_000
    assert (call.progress, "6/10" in plain.out) == (False, False)
    drawn = cli("--color", "never", "tail", "-f", "order-1", tty=True)
    assert "order-1  [############........] 60% 6/10  resizing\n" in drawn.out
    assert drawn.out.endswith("\x1b[?25h")
    assert drawn.out.index("60%") < drawn.out.index("nearly")
    lines: Any = cli("tail", "-f", "order-1", "-o", "jsonl").lines
    assert [line["kind"] for line in lines] == ["step.started", "progress", "progress", "log", "step.completed", "end"]
    assert "rev" not in lines[1]
    assert lines[1]["data"] == {"done": 6, "total": 10, "note": "resizing"}
    assert "progress" not in cli("tail", "-f", "order-1", "-o", "json").out


def test_tail_names_the_handler_of_a_step_that_began_before_what_is_shown(cli: Cli, daemon: Start) -> None:
    def answer(call: Any) -> Iterator[Any]:
        yield entry("step.completed", rev=8, seq=8, step=1, next="wait")
        yield entry("step.failed", rev=9, seq=9, step=1, error={"type": "Boom"})
        return TailEnd(rev=9, outcomes=[])

    begun = entry("step.started", rev=3, seq=3, handler="begin", kind_="start", step=1)
    fake = daemon(tail=answer, history=HistoryPage(run=run(), items=[begun]))
    told = [line.split("\t")[1:] for line in cli("tail", "order-1", "-n", "2").out.splitlines()]
    assert told == [["step.completed", "begin  then wait"], ["step.failed", "begin  Boom"]]
    (call,) = fake.asked("history")
    assert (call.id, call.before_seq, call.newest) == (begun.run_id, 8, True)


def test_tail_asks_for_what_it_was_asked_for(cli: Cli, daemon: Start) -> None:
    fake = daemon(tail=lambda _: TailEnd(rev=3, outcomes=[]))
    for words, asked in (
        (("order-1", "--children", "--since-rev", "7", "--no-logs"), (["order-1"], True, 7, None, False)),
        (("order-1", "order-2", "-n", "3"), (["order-1", "order-2"], False, None, 3, True)),
    ):
        assert cli("tail", *words).code == 0
        call = fake.asked("tail")[-1]
        assert (call.ids, call.children, call.since_rev, call.last, call.logs) == asked


def progress(done: int) -> HistoryEntry:
    data = {"done": done, "total": 10, "note": "resizing"}
    return HistoryEntry(run_id="run-of-order-1", workflow_id="order-1", seq=0, at=NOW, kind="progress", data=data)


def test_progress_is_no_place_to_go_on_after(cli: Cli, daemon: Start) -> None:
    asked = itertools.count()

    def answer(call: Any) -> Iterator[Any]:
        if next(asked) == 0:
            yield progress(6)
            raise HangUp
        yield entry("run.completed", rev=4)
        return TailEnd(rev=4, outcomes=[outcome()])

    fake = daemon(tail=answer, status=STATUS)
    assert cli("tail", "-f", "order-1", "-n", "3", "-o", "jsonl").code == 0
    assert [(call.since_rev, call.last) for call in fake.asked("tail")] == [(None, 3), (None, 3)]


def test_the_bars_are_gone_before_it_is_told_that_the_daemon_is(cli: Cli, daemon: Start) -> None:
    asked = itertools.count()

    def answer(call: Any) -> Iterator[Any]:
        if next(asked) == 0:
            yield progress(6)
            raise HangUp
        return TailEnd(rev=4, outcomes=[outcome()])
        yield

    daemon(tail=answer, status=STATUS)
    said = cli("--color", "never", "tail", "-f", "order-1", tty=True)
    assert "the daemon is back" in said.err
    assert said.out.endswith("resizing\n\x1b[1A\r\x1b[J\x1b[?25h")


def test_start_wait_shows_progress_on_a_terminal_and_prints_only_the_result(cli: Cli, daemon: Start) -> None:
    def answer(call: Any) -> Iterator[Any]:
        yield progress(6)
        yield entry("step.completed", rev=3, step=1, next="complete")
        return TailEnd(rev=3, outcomes=[outcome()])

    fake = daemon(start=STARTED, tail=answer, result=outcome("running", b"null"))
    said = cli("--color", "never", "start", "Order", "--wait", tty=True)
    assert (said.code, said.out) == (0, cli("result", "order-1", tty=True).out)
    assert "[############........] 60% 6/10  resizing" in said.err
    assert said.err.endswith("\x1b[?25h")
    assert fake.asked("tail")[0].progress


@pytest.mark.parametrize(("status", "how"), [("stuck", "is stuck"), ("waiting", "waits for an event")])
def test_who_waits_at_a_terminal_is_told_once_that_the_run_stands_still(
    cli: Cli, daemon: Start, monkeypatch: pytest.MonkeyPatch, status: str, how: str
) -> None:
    """CLI.md 4: what failed, on which object, why, remedy: also while somebody waits for it."""
    looks: list[int] = []

    def tail(call: Any) -> Iterator[Any]:
        yield entry("step.started", rev=1, handler="encode", step=1)
        wait_until(lambda: len(looks) > 1)
        yield entry("step.completed", rev=3, step=1, next="complete")
        return TailEnd(rev=3, outcomes=[outcome()])

    def result(call: Any) -> Outcome:
        looks.append(1)
        return outcome(status, b"null")

    monkeypatch.setattr("wfctl.cli.outcome.STANDS_S", 0.01)
    daemon(tail=tail, result=result)
    said = cli("--color", "never", "result", "order-1", tty=True)
    assert said.code == 0
    assert said.err.count(f"order-1 {how}; more: wfctl show order-1\n") == 1


def growing_tree() -> Callable[[Any], Any]:
    """First the order alone, then its payment too, then both completed."""
    times = itertools.count()

    def answer(call: Any) -> Any:
        stage = next(times)
        payment = node(run("payment-1", type="Payment", status="completed" if stage > 1 else "running"), step("charge"))
        parts = [step("order_start", took=4), *([payment] if stage else [])]
        return tree(node(run(run_id="01A", status="completed" if stage > 1 else "running"), *parts), rev=stage)

    return answer


def watching(call: Any) -> Iterator[Any]:
    if call.changes:
        yield WatchItem(rev=1, changes=[changed(1, "payment-1", None, "running")])
        yield WatchItem(
            rev=3, changes=[changed(2, "payment-1", "running", "completed"), changed(3, None, "running", "completed")]
        )
    else:
        yield WatchItem(rev=1)
    return outcome()


def changed(rev: int, child: str | None, was: str | None, now: str) -> RunChange:
    return RunChange(
        rev=rev, at=NOW, run_id="01A", workflow_type="Order", path=["order-1", *([child] if child else [])],
        was=None if was is None else Status(was), now=Status(now),
    )  # fmt: skip


def test_tree_of_an_order_off_a_terminal(cli: Cli, daemon: Start) -> None:
    daemon(tree=growing_tree())
    said = cli("tree", "order-1")
    assert said.out == "order-1  Order  running 4m12s  started 2026-11-23T02:55:48.000Z\n└ ✓ order_start  4ms\n"


def test_following_a_tree_off_a_terminal_appends_changes(cli: Cli, daemon: Start) -> None:
    fake = daemon(tree=growing_tree(), watch=watching)
    said = cli("tree", "-f", "order-1")
    assert said.code == 0
    assert [line.split(" ", 1)[1] for line in said.out.splitlines()] == [
        "order-1 -> running",
        "order-1/payment-1 -> running",
        "order-1/payment-1 running -> completed",
        "order-1 running -> completed",
    ]
    (watch,) = fake.asked("watch")
    assert (watch.id, watch.changes, watch.since_rev) == ("01A", True, 0)


def test_following_a_tree_in_json_lines_is_nodes_then_changes_then_an_end(cli: Cli, daemon: Start) -> None:
    daemon(tree=growing_tree(), watch=watching)
    lines: Any = cli("tree", "-f", "order-1", "-o", "jsonl").lines
    assert [line["kind"] for line in lines] == ["node", "change", "change", "change", "end"]
    assert (lines[2]["from"], lines[2]["rev"]) == ("running", 2)
    assert lines[-1]["nodes"] == 2


def test_changes_go_on_after_a_revision_and_after_a_restart_without_a_gap(cli: Cli, daemon: Start) -> None:
    asked = itertools.count()

    def watch(call: Any) -> Iterator[Any]:
        if next(asked) == 0:
            yield WatchItem(rev=8, changes=[changed(8, "payment-1", None, "running")])
            raise HangUp
        yield WatchItem(rev=9, changes=[changed(9, "payment-1", "running", "completed")])
        return outcome()

    fake = daemon(tree=growing_tree(), watch=watch, status=STATUS)
    said = cli("tree", "-f", "order-1", "-o", "jsonl", "--since-rev", "7")
    lines: Any = said.lines
    assert [(line["kind"], line["rev"]) for line in lines[:-1]] == [("change", 8), ("change", 9)]
    assert lines[-1]["kind"] == "end"
    assert [call.since_rev for call in fake.asked("watch")] == [7, 8]
    assert said.err.endswith("the daemon is back; going on after revision 8\n")


def test_what_a_tree_is_to_leave_out_is_asked_of_the_daemon(cli: Cli, daemon: Start) -> None:
    fake = daemon(tree=growing_tree())

    def asked(*words: str) -> GetTree:
        assert cli("tree", *words).code == 0
        call: GetTree = fake.asked("tree")[-1]
        return call

    assert asked() == GetTree()
    assert asked("order-1", "--depth", "0", "--group-at", "3", "--sample", "0") == GetTree(
        id="order-1", depth=0, group_at=3, sample=0
    )
    assert asked("--only", "failed").only_failed
    assert asked("--expand", "ShipItem", "--expand", "FAILED", "--expand", "timed-out").expand == [
        "ShipItem", "failed", "timed_out",
    ]  # fmt: skip
    everything = asked("--all")
    assert min(everything.group_at, everything.sample, everything.depth, everything.limit) > 50_000
    assert asked("--all", "--group-at", "20").group_at == 20


def test_steps_of_one_name_are_grouped_and_statuses_folded_as_it_was_asked_for(cli: Cli, daemon: Start) -> None:
    child = node(run("paid", type="Payment", status="completed", closed_at=NOW), step("book"))
    daemon(tree=tree(node(run(), step("poll"), step("poll"), step("poll"), child)))
    assert cli("tree", "order-1").out.count("poll") == 3
    assert "poll ×3" in cli("tree", "order-1", "--group-at", "2").out
    assert "book" in cli("tree", "order-1", "--all").out
    assert "book" not in cli("tree", "order-1", "--all", "--fold", "completed").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tree", "--only", "fialed"), "did you mean 'failed'?"),
        (("tree", "--fold", "compelted"), "did you mean 'completed'?"),
        (("tree", "--depth", "deep"), "'deep' is no whole number"),
        (("tree", "--depth", "-1"), "-1 is less than 0"),
        (("tree", "--group-at", "0"), "0 is less than 1"),
        (("tree", "--sample", "-1"), "-1 is less than 0"),
        (("tree", "--since-rev", "3"), "wfctl tree -f -o jsonl --since-rev 3"),
        (("tree", "-f", "-o", "json", "--since-rev", "3"), "line by line"),
        (("tail", "--kinds", "task.complete"), "did you mean 'task.completed'?"),
        (("tail", "--kinds", ","), "--kinds names no kind"),
        (("tail", "--kinds", "progress"), "wfctl tail -f"),
        (("tail", "--since", "yesterday"), "'yesterday' is not a time"),
        (("tree", "-f", "-o", "json"), '"hint":"wfctl tree -f -o jsonl"'),
        (("tree", "-f", "-o", "id"), "try: wfctl tree -f -o jsonl"),
        (("status", "-w", "-o", "json"), '"hint":"wfctl status -w -o jsonl"'),
        (("logs", "-f", "-o", "json"), '"hint":"wfctl logs -f -o jsonl"'),
    ],
)
def test_a_wrong_value_is_refused_with_what_is_right(
    cli: Cli, daemon: Start, words: tuple[str, ...], said: str
) -> None:
    fake = daemon()
    answer = cli(*words)
    assert answer.code == 2
    assert said in answer.err
    assert fake.calls == []


def test_what_has_no_end_is_not_followed_as_one_document(cli: Cli, daemon: Start) -> None:
    def answer(call: Any) -> Iterator[Any]:
        yield from ()
        return TailEnd(rev=2, outcomes=[outcome()])

    daemon(list=RunPage(items=[run(), run("order-2")], total=2), tail=answer)
    said = cli("tail", "-f", "-o", "json")
    assert (said.code, said.out) == (2, "")
    assert '"hint":"wfctl tail -f -o jsonl"' in said.err
    assert cli("tail", "-f", "-o", "json", "order-1").code == 0


def test_a_forest_says_how_many_roots_are_not_shown_and_a_healthy_one_that_nothing_failed(
    cli: Cli, daemon: Start
) -> None:
    many = Tree(rev=1, now=NOW, roots=[node(run())], open_roots=1_234, complete=False)
    daemon(tree=many)
    assert "1 of 1,234 open runs without a parent; more: wfctl tree --all" in cli("tree").err
    healthy = cli("tree", "--only", "failed")
    assert (healthy.out, healthy.err) == ("", "nothing has failed\n")
    assert cli("tree", "-o", "json").json["open_roots"] == 1_234  # type: ignore[index]


def test_a_live_tree_keeps_what_it_shows_of_a_group_for_a_while(
    cli: Cli, daemon: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("wfctl.cli.treeview.time.monotonic", lambda: now[0])
    monkeypatch.setattr("wfctl.cli.treeview.time.sleep", lambda _: None)
    times = itertools.count()

    def answer(call: Any) -> Tree:
        sample = [node(run(f"item-{next(times)}", run_id=f"R{len(fake.asked('tree'))}"))]
        return tree(
            node(run(run_id="01A"), TreeGroup(workflow_type="Item", total=9, by_status={"running": 9}, sample=sample))
        )

    def watch(call: Any) -> Iterator[Any]:
        for number, after in enumerate((1.0, 1.5, 0.0), 2):
            now[0] += after
            yield WatchItem(rev=1)
            wait_until(lambda number=number: len(fake.asked("tree")) >= number)
        return outcome()

    fake = daemon(tree=answer, watch=watch)
    assert cli("tree", "-f", "order-1", tty=True).code == 0
    kept = [call.keep for call in fake.asked("tree")]
    assert kept[:3] == [[], ["R1"], ["R2"]], "the first was shown for two seconds and a half by then"


def test_a_live_tree_redraws_in_place_and_leaves_its_last_frame(cli: Cli, daemon: Start) -> None:
    daemon(tree=growing_tree(), watch=watching)
    said = cli("--color", "never", "tree", "-f", "order-1", tty=True)
    assert said.code == 0
    assert said.out.startswith("\x1b[?25l")
    assert said.out.endswith("\x1b[?25h")
    final = said.out.split("\r")[-1]
    assert "Payment(payment-1)" in final
    assert said.out.count("order_start") == 2, "once, and once more when a line came below it"


def test_on_a_dumb_terminal_a_follower_adds_lines_and_writes_over_none(
    cli: Cli, daemon: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLI.md 1 and 3.1: TERM=dumb knows neither colour nor where its cursor is."""

    def tail(call: Any) -> Iterator[Any]:
        yield progress(6)
        yield entry("step.completed", rev=3, step=1, next="complete")
        return TailEnd(rev=3, outcomes=[outcome()])

    monkeypatch.setenv("TERM", "dumb")
    daemon(tree=growing_tree(), watch=watching, tail=tail, result=outcome("running", b"null"))
    for words in (("tree", "-f", "order-1"), ("tail", "-f", "order-1"), ("result", "order-1")):
        said = cli(*words, tty=True)
        assert said.code == 0
        assert "\x1b" not in said.out + said.err
    assert "running -> completed" in cli("tree", "-f", "order-1", tty=True).out
    assert cli("list", "-w", tty=True).code == 2


def test_a_failed_root_makes_a_followed_tree_exit_with_ten(cli: Cli, daemon: Start) -> None:
    def watch(call: Any) -> Iterator[Any]:
        yield WatchItem(rev=1)
        return outcome("failed", b"null")

    daemon(tree=growing_tree(), watch=watch)
    assert cli("tree", "-f", "order-1").code == 10


# -- watching a list -------------------------------------------------------------------------------


def watching_a_parent(*ends: str) -> Any:
    """Each watch answers how the parent stands, and nothing before."""
    left = list(ends)

    def watch(call: Any) -> Iterator[Any]:
        yield from ()
        return outcome(left.pop(0), b"null")

    return watch


def test_a_watched_list_is_the_table_that_was_asked_for_and_no_longer_than_the_screen(cli: Cli, daemon: Start) -> None:
    listed = [
        RunPage(items=[run(f"k-{number}") for number in range(20)], total=40),
        RunPage(items=[run("k-0", status="completed", closed_at=NOW)], total=1),
    ]
    fake = daemon(list=lambda _: listed.pop(0), watch=watching_a_parent("completed"))
    asked = ("--parent", "p", "--limit", "40", "--fields", "workflow_id,status", "--no-header")
    said = cli("--color", "never", "list", "-w", *asked, tty=True)
    assert said.code == 0
    assert "workflow_id" not in said.out
    assert re.search(r"k-19 +running\n20 of 40", said.out)
    assert re.search(r"k-0 +completed\n", said.out), "how the children stand when the parent has closed is shown"
    assert all(call.limit < 40 for call in fake.asked("list")), "no more than fit on the screen"


def test_a_watched_list_of_children_goes_on_when_the_daemon_stops_before_their_parent_closes(
    cli: Cli, daemon: Start
) -> None:
    outcomes = ["waiting", "completed"]

    def watch(call: Any) -> Iterator[Any]:
        yield WatchItem(rev=42)
        return outcome(outcomes.pop(0), b"null")

    fake = daemon(list=RunPage(items=[run("k")], total=1), watch=watch, status=STATUS)
    said = cli("list", "-w", "--parent", "p", tty=True)
    assert said.code == 0
    assert "the daemon is back; going on after revision 42\n" in said.err
    assert len(fake.asked("watch")) == 2
