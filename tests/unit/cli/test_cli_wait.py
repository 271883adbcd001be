"""`wfctl wait` against a daemon that is only its protocol: what is asked, what is shown, what it exits with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from support.cli import Cli
from support.fake_daemon import FakeDaemon
from wfctl.errors import DaemonDownError, RunNotFoundError
from wfctl.protocol.calls import Result
from wfctl.protocol.views import Outcome
from wfctl.values.status import Status

Start = Callable[..., FakeDaemon]


def outcome(id: str, status: str, **more: Any) -> Outcome:
    return Outcome(run_id=f"01{id}", workflow_id=id, workflow_type="Order", status=Status(status), **more)


def runs(**ends: str) -> Callable[[Result], Outcome]:
    """Runs that are running when they are looked at, and end so when they are waited for. They answer to both of their IDs."""

    def answer(call: Result) -> Outcome:
        id = call.id.removeprefix("01")
        if id not in ends:
            raise RunNotFoundError(f"no run {id!r}", hint="wfctl list")
        return outcome(id, ends[id] if call.wait else "running")

    return answer


def test_all_runs_are_waited_for_under_the_run_ids_they_had_at_first(cli: Cli, daemon: Start) -> None:
    fake = daemon(result=runs(a="completed", b="completed"))
    said = cli("wait", "a", "b")
    assert said.code == 0
    assert said.out == "WORKFLOW ID\tTYPE\tSTATUS\tRUN ID\na\tOrder\tcompleted\t01a\nb\tOrder\tcompleted\t01b\n"
    assert said.err == "a is completed\nb is completed\n"
    asked = [(call.id, call.wait, call.stuck, call.until, call.timeout_ms) for call in fake.asked("result")]
    assert asked == [
        ("a", False, False, [], None), ("b", False, False, [], None),
        ("01a", True, False, [], None), ("01b", True, False, [], None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        (("completed", "failed"), 10),
        (("timed_out", "failed"), 10),
        (("cancelled", "timed_out"), 13),
        (("cancelled", "terminated"), 12),
        (("cancelled", "completed"), 11),
    ],
)
def test_the_most_severe_outcome_counts(cli: Cli, daemon: Start, ends: tuple[str, str], code: int) -> None:
    daemon(result=runs(a=ends[0], b=ends[1]))
    said = cli("wait", "a", "b")
    assert said.code == code
    assert said.err.count("error[") == sum(end != "completed" for end in ends)
    in_json = cli("wait", "a", "b", "-o", "json")
    assert (in_json.code, in_json.err) == (code, "")
    document: Any = in_json.json
    assert (document["schema"], document["exit"]) == ("wfctl.outcomes/1", code)
    assert [item["status"] for item in document["items"]] == list(ends)


def test_the_ids_may_come_from_stdin_and_each_counts_once(cli: Cli, daemon: Start) -> None:
    fake = daemon(result=runs(a="completed", b="completed"))
    said = cli("wait", "-", "01a", "-o", "id", stdin="a\nb\na\n")
    assert said == (0, "01a\n01b\n", "")
    assert [call.id for call in fake.asked("result") if call.wait] == ["01a", "01b"]
    assert cli("wait", "-").code == 2


def test_an_unknown_run_is_an_error_before_anything_is_waited_for(cli: Cli, daemon: Start) -> None:
    fake = daemon(result=runs(a="completed"))
    said = cli("wait", "a", "nothing")
    assert (said.code, said.out) == (4, "")
    assert said.err.startswith("error[run_not_found]: no run 'nothing'")
    assert not [call for call in fake.asked("result") if call.wait]


def test_a_status_that_is_reached_is_success_whatever_it_is(cli: Cli, daemon: Start) -> None:
    fake = daemon(result=runs(a="waiting", b="failed"))
    assert cli("wait", "a", "b", "--for", "waiting,Failed").code == 0
    assert fake.asked("result")[-1].until == ["waiting", "failed"]


def test_a_run_that_closed_otherwise_counts_by_its_outcome_and_as_a_conflict_if_it_completed(
    cli: Cli, daemon: Start
) -> None:
    daemon(result=runs(a="completed", b="failed"))
    said = cli("wait", "a", "--for", "waiting")
    assert said.code == 5
    assert said.err == ("error[run_closed]: Order a completed; it will not be waiting\n  try: wfctl history a\n")
    assert cli("wait", "a", "b", "--for", "stuck").code == 10


def test_an_unknown_status_is_refused_with_the_nearest(cli: Cli, daemon: Start) -> None:
    daemon()
    said = cli("wait", "a", "--for", "complete")
    assert said.code == 2
    assert "did you mean 'completed'?" in said.err


def test_what_is_open_when_the_time_is_up_is_not_finished(cli: Cli, daemon: Start) -> None:
    fake = daemon(result=runs(a="completed", b="running"))
    said = cli("wait", "a", "b", "--timeout", "5s")
    assert said.code == 14
    assert "error[not_finished]: Order b is still running" in said.err
    assert 0 < fake.asked("result")[-1].timeout_ms <= 5_000
    lines: Any = cli("wait", "a", "b", "--timeout", "5s", "-o", "jsonl").lines
    assert [(line["workflow_id"], line["exit"]) for line in lines] == [("a", 0), ("b", 14)]


def test_stuck_is_waited_out_unless_it_shall_fail(cli: Cli, daemon: Start) -> None:
    fake = daemon(result=lambda call: outcome("a", "stuck", stuck_reason="no step 'pay'"))
    waited = cli("wait", "a", "--timeout", "1s")
    assert waited.code == 14
    assert waited.err.startswith("a is stuck; more: wfctl show a\n")
    said = cli("wait", "a", "--fail-if-stuck")
    assert said.code == 15
    assert "no step 'pay'" in said.err
    assert [call.wait for call in fake.asked("result")] == [False, True, False]


def test_any_ends_with_the_first_and_by_its_outcome_alone(cli: Cli, daemon: Start) -> None:
    release = threading.Event()

    def answer(call: Result) -> Outcome:
        if call.wait and call.id == "01b":
            release.wait(10)
        return runs(a="failed", b="running")(call)

    fake = daemon(result=answer)
    said = cli("wait", "a", "b", "--any", "-o", "id")
    release.set()
    assert (said.code, said.out) == (10, "01a\n")
    fake.answers["result"] = lambda call: outcome(call.id, "completed" if call.id == "a" else "running")
    assert cli("wait", "b", "a", "--any").code == 0
    assert not [call for call in fake.asked("result")[-2:] if call.wait]


def test_of_several_that_have_ended_before_any_takes_the_one_that_was_named_first(cli: Cli, daemon: Start) -> None:
    ends = {"a": "running", "b": "completed", "c": "failed"}
    fake = daemon(result=lambda call: outcome(call.id, ends[call.id]))
    assert cli("wait", "a", "b", "c", "--any", "-o", "id") == (0, "01b\n", "")
    assert cli("wait", "a", "c", "b", "--any", "-o", "id") == (10, "01c\n", "")
    said = cli("wait", "c", "b", "--any")
    assert (said.code, said.err.count("error["), said.err.splitlines()[0]) == (10, 1, "c is failed")
    document: Any = cli("wait", "b", "c", "a", "--any", "-o", "json").json
    assert (document["exit"], document["total"]) == (0, 3)
    lines: Any = cli("wait", "b", "c", "a", "--any", "-o", "jsonl").lines
    assert [line["workflow_id"] for line in lines] == ["b", "c", "a"]
    assert not [call for call in fake.asked("result") if call.wait]


def test_a_daemon_that_ends_a_wait_early_is_waited_for(
    cli: Cli, daemon: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfctl.cli.shell.RECONNECT_S", 0.0)
    daemon(result=runs(a="completed", b="running"), status=DaemonDownError("the daemon is stopping"))
    said = cli("wait", "a", "b", "-o", "jsonl")
    assert said.code == 3
    assert [line["workflow_id"] for line in map(msgspec.json.decode, said.out.splitlines())] == ["a"]
    assert "the daemon went away" in said.err


def test_thousands_of_runs_are_waited_for_on_one_connection(cli: Cli, daemon: Start) -> None:
    ids = [f"r{number}" for number in range(5_000)]
    fake = daemon(result=runs(**dict.fromkeys(ids, "completed")))
    said = cli("wait", "-", "-o", "id", stdin="\n".join(ids))
    assert said.code == 0
    assert said.out.split() == [f"01{id}" for id in ids]
    assert len(fake.asked("hello")) == 1
