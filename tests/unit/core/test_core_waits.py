"""A wait whose time is up has ended, whoever notices first."""

from __future__ import annotations

import pytest

from wfd.core import stimuli as s
from wfd.core.actions import Action
from wfd.core.decide import decide, open_run
from wfd.core.invariants import violations
from wfd.core.records import ChildStarted, RunResumed, encode
from wfd.core.state import Closed, Raw, Run, Stepping, Waiting
from wfd.engine.changes import status_after


def waiting_run(timeout_ms: int | None, on_timeout: str) -> Run:
    """Waits 100 ms for an event, from instant 1000 on."""
    run = open_run(
        key=1, run_id="R1", workflow_id="w", workflow_type="W", handler="begin", input=Raw(b"{}"),
        timeout_ms=timeout_ms, parent=None, now=1_000,
    ).run  # fmt: skip
    run = decide(run, s.OperationAsked(1, 1, ChildStarted("child:1", "R2", "child", "C")), 1_000).run
    run = decide(run, s.StepReturned(1, 1, "wait", name=on_timeout, after_ms=100), 1_000).run
    assert isinstance(run.phase, Waiting)
    return run


LATE = (
    s.EventArrived("a", Raw(b"{}"), "child"),
    s.ChildClosed("R2", "child", "completed", "heard", Raw(b"{}")),
)


@pytest.mark.parametrize("late", LATE, ids=lambda stimulus: type(stimulus).__name__)
def test_what_comes_after_the_time_was_up_finds_the_timeout_handler_at_work(late: s.Stimulus) -> None:
    decision = decide(waiting_run(None, "too_late"), late, 1_100)
    phase = decision.run.phase
    assert isinstance(phase, Stepping)
    assert phase.handler == "too_late"
    assert [event.payload for event in decision.run.inbox] == [Raw(b"{}")]
    assert decision.actions == (Action.DISPATCH,)
    assert violations(decision.run) == []


@pytest.mark.parametrize("late", LATE, ids=lambda stimulus: type(stimulus).__name__)
def test_what_comes_after_the_time_was_up_finds_the_run_closed(late: s.Stimulus) -> None:
    decision = decide(waiting_run(50, "too_late"), late, 1_100)
    assert isinstance(decision.run.phase, Closed)
    assert decision.run.inbox == ()
    assert decision.actions == (Action.CLOSE,)
    assert violations(decision.run) == []


@pytest.mark.parametrize(("directive", "after_ms"), [("step", None), ("step", 100), ("wait", None), ("wait", 100)])
def test_a_run_that_was_asked_to_end_begins_nothing_more(directive: str, after_ms: int | None) -> None:
    run = open_run(
        key=1, run_id="R1", workflow_id="w", workflow_type="W", handler="begin", input=Raw(b"{}"), timeout_ms=None,
        parent=None, now=1_000,
    ).run  # fmt: skip
    run = decide(run, s.CancelAsked("enough"), 1_000).run
    ended = decide(run, s.StepReturned(1, 1, directive, "next", after_ms=after_ms, put={"kept": b"1"}), 1_000)
    assert ended.run.status == "cancelled"
    assert ended.actions == (Action.CLOSE,)
    assert [record.KIND for record in ended.records] == ["step.completed", "run.cancelled"]


def test_a_run_that_was_asked_to_end_is_still_ending_once_it_has_been_stuck() -> None:
    run = open_run(
        key=1, run_id="R1", workflow_id="w", workflow_type="W", handler="begin", input=Raw(b"{}"), timeout_ms=None,
        parent=None, now=1_000,
    ).run  # fmt: skip
    asked = decide(run, s.CancelAsked("enough"), 1_000).run
    for resumes in (s.CodeChanged(), s.RetryAsked(reason="by me")):
        for before, cancelling in ((asked, True), (run, False)):
            stuck = decide(before, s.StepUnfit(1, 1, "no code"), 1_000).run
            decision = decide(stuck, resumes, 1_000)
            (record,) = decision.records
            assert isinstance(record, RunResumed)
            status = status_after("run.resumed", encode(record))
            assert (record.cancelling, status) == (cancelling, decision.run.status)
