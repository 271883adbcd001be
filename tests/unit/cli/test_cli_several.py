"""Several runs named on one command line: `show`, `history`, `tree` and `result`; and a history in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.cli import Cli
from support.fake_daemon import NOW, FakeDaemon, HangUp
from support.runs import entry, failure, node, run, step, tree
from wfctl.cli.commands.logs import Presence
from wfctl.cli.options import Settings
from wfctl.cli.shell import Shell
from wfctl.errors import IncompatibleError, RunNotFoundError
from wfctl.protocol.calls import HistoryPage, WatchItem
from wfctl.protocol.views import HistoryEntry, Outcome, RunDetail, StatusView
from wfctl.values.status import Status
from wfctl.values.times import rfc3339

Start = Callable[..., FakeDaemon]
KINDS = ("run.started", "step.started", "step.completed", "wait.started", "event.received")


def unknown(id: str) -> RunNotFoundError:
    return RunNotFoundError(f"no run {id!r}", hint="wfctl list", id=id)


def found(answer: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Answers for the runs a, b and c alone; their run IDs are A, B and C."""

    def answered(call: Any) -> Any:
        if call.id.lower() not in ("a", "b", "c"):
            raise unknown(call.id)
        return answer(call.id.lower())

    return answered


def view(id: str) -> Any:
    return run(id, run_id=id.upper(), status="completed")


def ended(id: str) -> Outcome:
    status, result, error = {
        "a": (Status.COMPLETED, b'"one"', None),
        "b": (Status.FAILED, b"null", failure("CardDeclined", "limit")),
        "c": (Status.COMPLETED, b'"two\\nlines"', None),
    }[id]
    return Outcome(
        run_id=id.upper(), workflow_id=id, workflow_type="T", status=status, result=msgspec.Raw(result), error=error
    )


@pytest.fixture
def shop(daemon: Start) -> FakeDaemon:
    def history(call: Any) -> HistoryPage:
        """Five records and a log line after the second, in pages of at most two."""
        entries = [entry(kind, seq=seq, rev=seq * 10, step=1, handler="pay") for seq, kind in enumerate(KINDS, 1)]
        inside = [one for one in entries if call.after_seq < one.seq < (call.before_seq or 99)]
        size = min(call.limit, 2)
        part = inside[-size:] if call.newest else inside[:size]
        beyond = part and (part[0].seq > inside[0].seq if call.newest else part[-1].seq < inside[-1].seq)
        following = part[0 if call.newest else -1].seq if beyond else None
        shown: list[HistoryEntry] = []
        for one in part:
            shown.append(one)
            if call.logs and one.seq == 2:
                shown.append(entry("log", seq=0, rev=21, message="hello", level="INFO"))
        return HistoryPage(run=view(call.id.lower()), items=shown, next=following, total=5)

    return daemon(
        get=found(lambda id: RunDetail(run=view(id), input=msgspec.Raw(b"{}"), history_entries=5)),
        result=found(ended),
        history=lambda call: history(call) if call.id.lower() in "abc" else unknown(call.id),
        tree=lambda call: tree(*(node(run(id.lower()), step("pay")) for id in (call.id, *call.ids))),
    )


# -- several -----------------------------------------------------------------------------------------


def test_each_of_several_runs_stands_below_its_name_and_an_unknown_one_is_told_beside_them(
    cli: Cli, shop: FakeDaemon
) -> None:
    said = cli("show", "a", "nobody", "c")
    assert said.code == 9
    heads = [line for line in said.out.splitlines() if line.startswith("==>")]
    assert heads == ["==> a <==", "==> c <=="]
    assert "\n\n==> c <==\nworkflow ID  c\n" in said.out
    assert said.err == "error[run_not_found]: no run 'nobody'\n  try: wfctl list\n"
    assert "==>" not in cli("show", "a").out
    assert (cli("show", "nobody").code, cli("show", "nobody", "noone").code) == (4, 9)


def test_several_runs_are_one_document_one_line_each_or_one_table(cli: Cli, shop: FakeDaemon) -> None:
    document: Any = cli("show", "a", "c", "-o", "json").json
    assert (document["schema"], document["total"]) == ("wfctl.runs/1", 2)
    assert [item["workflow_id"] for item in document["items"]] == ["a", "c"]
    assert cli("show", "a", "-o", "json").json["schema"] == "wfctl.run/1"  # type: ignore[index]
    said = cli("show", "a", "nobody", "c", "-o", "jsonl")
    assert [line["workflow_id"] for line in said.lines] == ["a", "c"]  # type: ignore[index]
    assert msgspec.json.decode(said.err)["error"]["code"] == "run_not_found"
    assert cli("show", "-", "a", "-o", "id", stdin="c\nb\n").out == "C\nB\nA\n"
    assert cli("show", "a", "c", "--fields", "workflow_id,status").out == (
        "workflow_id\tstatus\na\tcompleted\nc\tcompleted\n"
    )


def test_results_of_several_are_a_line_each_in_the_order_they_are_named(cli: Cli, shop: FakeDaemon) -> None:
    said = cli("result", "c", "b", "a", "A")
    assert (said.code, said.out) == (10, '"two\\nlines"\n\none\n')
    assert said.err.startswith("error[failed]: T b failed: CardDeclined: limit")
    assert cli("result", "a", "c").code == 0
    assert cli("result", "b", "a", "--exit-zero").code == 0
    lines: Any = cli("result", "a", "b", "-o", "jsonl").lines
    assert [(line["workflow_id"], line["exit"]) for line in lines] == [("a", 0), ("b", 10)]
    document: Any = cli("result", "a", "b", "-o", "json").json
    assert (document["schema"], document["exit"], len(document["items"])) == ("wfctl.outcomes/1", 10, 2)
    # Not all that was asked for is known: that counts before how the others ended.
    beside = cli("result", "a", "nobody", "b", "--exit-zero")
    assert (beside.code, beside.out) == (9, "one\n\n")


@pytest.mark.parametrize(
    ("text", "line"),
    [("one\n", '"one\\n"'), ("\r\n", '"\\r\\n"'), ("one", "one"), ("", ""), (" two words ", " two words ")],
)
def test_a_result_among_several_that_ends_in_a_line_break_is_one_line_too(
    cli: Cli, daemon: Start, text: str, line: str
) -> None:
    def result(call: Any) -> Outcome:
        one = ended("a")
        return (
            one
            if call.id == "a"
            else msgspec.structs.replace(one, run_id=call.id, result=msgspec.Raw(msgspec.json.encode(text)))
        )

    daemon(result=result)
    assert cli("result", "x", "a").out == f"{line}\none\n"
    assert cli("result", "x").out == f"{text}\n"


def test_results_of_several_are_waited_for_one_after_the_other(cli: Cli, daemon: Start) -> None:
    def result(call: Any) -> Outcome:
        closed = ended(call.id.lower())
        return (
            closed if call.wait else msgspec.structs.replace(closed, status=Status.RUNNING, result=msgspec.Raw(b"null"))
        )

    shop = daemon(result=result)
    said = cli("result", "a", "c")
    assert (said.code, said.out) == (0, 'one\n"two\\nlines"\n')
    assert [(call.id, call.wait) for call in shop.asked("result")] == [
        ("a", False),
        ("c", False),
        ("A", True),
        ("C", True),
    ]
    assert cli("result", "a", "c", "--no-wait").code == 14


def test_several_trees_are_drawn_one_below_the_other(cli: Cli, shop: FakeDaemon) -> None:
    said = cli("tree", "a", "nobody", "c")
    assert (said.code, said.out.count("└ ✓ pay")) == (9, 2)
    assert (shop.asked("tree")[0].id, shop.asked("tree")[0].ids) == ("A", ["C"])
    document: Any = cli("tree", "a", "nobody", "-o", "json").json
    assert [root["workflow_id"] for root in document["roots"]] == ["a"]
    assert "open_roots" not in document
    assert cli("tree", "nobody", "noone").code == 9


def test_several_trees_are_followed_until_all_have_closed_and_the_most_severe_end_counts(
    cli: Cli, shop: FakeDaemon
) -> None:
    """CLI.md 3.2: commands that take IDs accept several. CLI.md 2: of several awaited runs the most severe counts."""
    ends = {"A": "completed", "B": "failed"}

    def watch(call: Any) -> Iterator[WatchItem]:
        yield WatchItem(rev=7)
        return ended("a")

    shop.answers["watch"] = watch
    shop.answers["tree"] = lambda call: tree(
        *(
            node(run(id.lower(), run_id=id.upper(), status=ends[id.upper()]), step("pay"))
            for id in (call.id, *call.ids)
        ),
        rev=7,
    )
    drawn = cli("--color", "never", "tree", "-f", "a", "b", tty=True)
    assert (drawn.code, drawn.out.count("└ ✓ pay") >= 2) == (10, True)
    assert cli("tree", "-f", "a").code == 0
    lines = cli("tree", "-f", "a", "b").out.splitlines()
    assert [line.split()[1:] for line in lines] == [["a", "->", "completed"], ["b", "->", "failed"]]
    assert cli("tree", "-f", "a", "nobody", "b").code == 9
    asked = [(call.id, call.ids) for call in shop.asked("watch")]
    assert asked == [("A", ["B"]), ("A", []), ("A", ["B"]), ("A", ["B"])]


# -- a history in parts ------------------------------------------------------------------------------


def seqs(cli: Cli, *words: str) -> tuple[list[int], Any, str]:
    said = cli("history", "a", "-o", "json", *words)
    assert said.code == 0, said.err
    document: Any = said.json
    return [item["seq"] for item in document["items"]], document["next"], said.err


def test_a_history_is_paged_from_either_end(cli: Cli, shop: FakeDaemon) -> None:
    assert seqs(cli) == ([1, 2, 3, 4, 5], None, "")
    assert seqs(cli, "--reverse") == ([5, 4, 3, 2, 1], None, "")
    assert seqs(cli, "--limit", "3")[:2] == ([1, 2, 3], 3)
    assert seqs(cli, "--limit", "3", "--after", "3")[:2] == ([4, 5], None)
    assert seqs(cli, "--limit", "3", "--reverse")[:2] == ([5, 4, 3], 3)
    assert seqs(cli, "--limit", "3", "--reverse", "--before", "3")[:2] == ([2, 1], None)
    assert seqs(cli, "--after", "1", "--before", "4")[:2] == ([2, 3], None)
    assert seqs(cli, "--limit", "5")[:2] == ([1, 2, 3, 4, 5], None)
    # Log lines belong to the record before them, and count for nothing.
    assert seqs(cli, "--logs", "--limit", "2")[:2] == ([1, 2, 0], 2)
    assert seqs(cli, "--logs", "--limit", "1", "--reverse", "--before", "3")[:2] == ([0, 2], 2)
    assert seqs(cli, "--step", "pay", "--limit", "1", "--reverse")[:2] == ([3], 3)
    assert seqs(cli, "--step", "pay", "--after", "2")[:2] == ([3], None)


def test_going_back_stops_at_a_time_or_a_number_whichever_comes_first(cli: Cli, daemon: Start) -> None:
    entries = [entry("step.started", seq=seq, rev=seq, at=NOW + seq, step=seq, handler="pay") for seq in range(1, 10)]

    def history(call: Any) -> HistoryPage:
        inside = [one for one in entries if one.seq < (call.before_seq or 99)]
        part = inside[-min(call.limit, 3) :]
        return HistoryPage(run=view("a"), items=part, next=part[0].seq if part[0].seq > 1 else None, total=9)

    shop = daemon(history=history)

    def back(since: int, *words: str) -> tuple[list[int], Any, int]:
        before = len(shop.asked("history"))
        shown, following, told = seqs(cli, "--reverse", "--since", rfc3339(NOW + since), *words)
        assert told == ""
        return shown, following, len(shop.asked("history")) - before

    # Pages are 9 8 7, 6 5 4, 3 2 1. What is older than the time is not asked for, and is not more of what was wanted.
    assert back(8) == ([9, 8], None, 1)
    assert back(7) == ([9, 8, 7], None, 2), "whether 6 is old enough nobody knows before it is seen"
    assert back(5) == ([9, 8, 7, 6, 5], None, 2)
    assert back(8, "--limit", "2") == ([9, 8], None, 1)
    assert back(5, "--limit", "2") == ([9, 8], 8, 1)
    assert back(5, "--limit", "5") == ([9, 8, 7, 6, 5], None, 2)
    assert back(0, "--limit", "3") == ([9, 8, 7], 7, 1)
    assert back(99) == ([], None, 1)


def test_what_is_left_of_a_history_is_told_with_what_to_type(cli: Cli, shop: FakeDaemon) -> None:
    assert cli("history", "a", "--limit", "2").err == "2 of 5, more: --after 2, or a higher --limit\n"
    assert cli("history", "a", "--limit", "2", "--reverse").err == "2 of 5, more: --before 4, or a higher --limit\n"
    assert cli("history", "a", "--limit", "1", "--step", "pay").err == "1, more: --after 2, or a higher --limit\n"
    assert cli("history", "a", "--limit", "5").err == ""
    both = cli("history", "a", "c", "--limit", "4")
    assert both.err.splitlines()[1] == "4 of 5 of c, more: wfctl history c --after 4, or a higher --limit"
    refused = cli("history", "a", "c", "--after", "2")
    assert (refused.code, refused.out) == (2, "")


def test_a_part_of_a_history_names_the_handlers_of_steps_that_began_before_it(cli: Cli, shop: FakeDaemon) -> None:
    for words in (("--after", "2", "--limit", "1"), ("--reverse", "--before", "4", "--limit", "1")):
        (line,) = cli("history", "a", *words).out.splitlines()
        assert line.split("\t")[1:] == ["step.completed", "pay  then ? pay"]


def test_histories_of_several_are_one_document_or_stand_below_their_names(cli: Cli, shop: FakeDaemon) -> None:
    document: Any = cli("history", "a", "nobody", "c", "-o", "json", "--limit", "1").json
    assert document["schema"] == "wfctl.histories/1"
    assert [(item["run"]["workflow_id"], item["next"], item["total"]) for item in document["items"]] == [
        ("a", 1, 5), ("c", 1, 5),
    ]  # fmt: skip
    said = cli("history", "a", "nobody", "c")
    assert (said.code, said.out.count("==> ")) == (9, 2)
    assert cli("history", "a", "c", "--step", "pya").code == 9


# -- the daemon's log --------------------------------------------------------------------------------


def test_who_follows_the_log_is_told_when_the_daemon_goes_away_and_is_back(
    daemon: Start, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wfctl.cli.commands.logs.POLL_S", 0.01)
    monkeypatch.setattr("wfctl.cli.commands.logs.LOOK_S", 0.0)
    status = StatusView(
        pid=1, version="0", project="/", config="/c", socket="/s", database="/d", database_bytes=1, log="/l", started_at=1,
        now=1, generation=1, source_hash="x", python="/p", counts={}, workers=[], queued_steps=0, rev=8841,
    )  # fmt: skip
    first = daemon()
    with Presence(Shell(Settings())) as presence:
        presence.pause()
        assert capsys.readouterr().err == ""
        first.stop()
        first.remove()
        presence.pause()
        presence.pause()
        assert capsys.readouterr().err == "the daemon went away; waiting up to 30 s for it\n"
        daemon(status=status)
        presence.pause()
        presence.pause()
        assert capsys.readouterr().err == "the daemon is back; going on after revision 8841\n"


class Time:
    """The clock of who follows: it goes on by what is slept."""

    now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_who_follows_the_log_gives_up_when_no_daemon_comes(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = Time()
    monkeypatch.setattr("wfctl.cli.commands.logs.time", time)
    (project / ".wfctl" / "wfd.log").write_text("ready\n")
    said = cli("logs", "-f", "--reconnect", "20s")
    assert (said.code, said.out) == (3, "ready\n")
    assert said.err.startswith("no daemon runs; waiting up to 20 s for it\nerror[daemon_down]: ")
    assert 20 <= time.now - 1_000 < 21


def test_who_follows_the_log_is_told_of_a_daemon_that_cannot_be_asked(
    cli: Cli, daemon: Start, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfctl.cli.commands.logs.time", Time())
    (project / ".wfctl" / "wfd.log").write_text("ready\n")
    daemon(hello=IncompatibleError("this wfctl is too old", hint="pip install --upgrade wfctl"))
    said = cli("logs", "-f", "--reconnect", "2s")
    assert (said.code, said.out) == (6, "ready\n")
    assert said.err.startswith("the daemon cannot be asked (incompatible); waiting up to 2 s for it\n")


def test_who_follows_the_log_is_told_at_once_of_a_time_to_wait_that_is_none(
    cli: Cli, daemon: Start, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(self: Any, timeout_s: float) -> bool:
        raise AssertionError("it follows")

    monkeypatch.setattr("wfctl.client.blocking.Connection.wait_closed", waits)
    (project / ".wfctl" / "wfd.log").write_text("ready\n")
    daemon()
    refused = cli("logs", "-f", "--reconnect", "soon")
    assert (refused.code, refused.out) == (2, "")


def test_a_daemon_that_is_stopping_has_not_come_back_for_who_follows_its_log(
    cli: Cli, daemon: Start, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfctl.cli.commands.logs.time", Time())
    (project / ".wfctl" / "wfd.log").write_text("ready\n")

    def hang_up(call: Any) -> Any:
        raise HangUp

    first = daemon()
    fallen: list[FakeDaemon] = []

    def goes_away(self: Any, timeout_s: float) -> bool:
        if not fallen:
            first.stop()
            first.remove()
            fallen.append(daemon(status=hang_up))
        return True

    monkeypatch.setattr("wfctl.client.blocking.Connection.wait_closed", goes_away)
    said = cli("logs", "-f", "--reconnect", "2s")
    assert said.code == 3
    assert said.err.count("the daemon went away") == 1
    assert "is back" not in said.err
    assert len(fallen[0].asked("status")) == 4, "every half a second"
