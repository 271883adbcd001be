"""History records as the lines of a tree."""

from __future__ import annotations

import json
from typing import Any

from wfctl.protocol.views import TreeStep, TriesView
from wfctl.values.status import Status
from wfd.engine.steps import tree_steps
from wfd.store.rows import StepRecord

Told = tuple[str, dict[str, Any]]


def _lines(*told: Told, first: int = 2) -> list[TreeStep]:
    """Lines of a run whose records come 10 ms apart, the first at 10."""
    return tree_steps(
        StepRecord(1, first + index, 10 * (index + 1), kind, json.dumps(data))
        for index, (kind, data) in enumerate(told)
    )


def started(step: int, handler: str, kind: str = "step", **more: Any) -> Told:
    return ("step.started", {"step": step, "kind": kind, "handler": handler, **more})


def completed(step: int, next: str, **more: Any) -> Told:
    return ("step.completed", {"step": step, "next": next, **more})


def _facts(line: TreeStep) -> tuple[str, str, str, int | None]:
    return (line.name, line.kind, line.status, line.ended_at)


def test_a_step_is_a_line_from_its_start_to_its_end() -> None:
    begin, pay = _lines(started(1, "begin", "start"), completed(1, "step"), started(2, "pay"))
    assert _facts(begin) == ("begin", "start", "completed", 20)
    assert _facts(pay) == ("pay", "step", "running", None)
    assert (begin.seq, begin.started_at, pay.seq) == (2, 10, 4)


def test_a_wait_lasts_until_the_step_that_its_event_begins() -> None:
    lines = _lines(
        started(1, "begin", "start"),
        completed(1, "wait"),
        ("wait.started", {"names": ["paid", "refused"], "deadline": 99}),
        started(2, "paid", "event", event=5),
        completed(2, "complete"),
        ("run.completed", {}),
    )
    assert [_facts(line) for line in lines] == [
        ("begin", "start", "completed", 20),
        ("paid, refused", "wait", "completed", 40),
        ("paid", "event", "completed", 50),
    ]
    assert (lines[1].waiting_for, lines[1].wake_at) == (["paid", "refused"], 99)


def test_a_wait_for_anything_says_so_and_is_open_as_long_as_nothing_comes() -> None:
    (wait,) = _lines(("wait.started", {}))
    assert _facts(wait) == ("any event", "wait", "waiting", None)
    assert wait.waiting_for is None


def test_a_wait_whose_time_is_up_ends_timed_out() -> None:
    wait, late = _lines(("wait.started", {"deadline": 15}), ("wait.timed_out", {}), started(2, "late"))
    assert _facts(wait) == ("any event", "wait", "timed_out", 20)
    assert late.status == Status.RUNNING


def test_a_delay_is_a_line_of_its_own_until_its_step_begins() -> None:
    lines = _lines(
        started(1, "begin", "start"), completed(1, "step", handler="remind", wake_at=500), started(2, "remind")
    )
    assert [_facts(line) for line in lines] == [
        ("begin", "start", "completed", 20),
        ("remind", "sleep", "completed", 30),
        ("remind", "step", "running", None),
    ]
    assert lines[1].wake_at == 500


def test_a_running_step_tells_until_when_its_handler_sleeps() -> None:
    sleeps = ("sleep.recorded", {"key": "s", "wake_at": 500})
    cut = ("step.interrupted", {"step": 1, "attempt": 1, "reason": "its worker died"})
    (line,) = _lines(started(1, "begin", "start"), sleeps, cut)
    assert (line.status, line.wake_at) == ("running", 500)
    (line,) = _lines(started(1, "begin", "start"), sleeps, completed(1, "complete"), ("run.completed", {}))
    assert (line.status, line.wake_at) == ("completed", None)


def test_attempts_are_counted_on_one_line() -> None:
    (line,) = _lines(
        started(1, "begin", "start"),
        ("step.interrupted", {"step": 1, "attempt": 1, "reason": "its worker died"}),
        ("step.interrupted", {"step": 1, "attempt": 2, "reason": "its worker died"}),
    )
    assert (line.status, line.attempts) == ("running", 3)


def test_an_interruption_that_ends_the_run_is_no_further_attempt() -> None:
    (line,) = _lines(
        started(1, "begin", "start"),
        ("run.cancel_requested", {"reason": ""}),
        ("step.interrupted", {"step": 1, "attempt": 1, "reason": "cancelled"}),
        ("run.cancelled", {}),
    )
    assert (line.status, line.attempts, line.ended_at) == ("cancelled", 1, 40)


def test_a_step_that_is_being_cancelled_says_so() -> None:
    (line,) = _lines(started(1, "begin", "start"), ("run.cancel_requested", {}))
    assert _facts(line) == ("begin", "start", "cancelling", None)


def test_a_failure_is_told_on_the_step_that_had_it() -> None:
    error = {"type": "CardDeclined", "message": "limit exceeded"}
    (line,) = _lines(started(1, "pay"), ("step.failed", {"step": 1, "error": error}), ("run.failed", {"error": error}))
    assert _facts(line) == ("pay", "step", "failed", 20)
    assert line.error == "CardDeclined: limit exceeded"


def test_a_step_that_decides_to_fail_shows_why() -> None:
    (line,) = _lines(
        started(1, "pay"), completed(1, "fail"), ("run.failed", {"error": {"type": "Failed", "message": "no stock"}})
    )
    assert (line.status, line.error) == ("failed", "Failed: no stock")


def test_a_step_over_its_time_shows_how_long_it_had() -> None:
    (line,) = _lines(
        started(1, "pay"),
        ("step.timed_out", {"step": 1, "timeout_ms": 1_500}),
        ("run.failed", {"error": {"type": "StepTimeoutError", "message": "x"}}),
    )
    assert (line.status, line.error, line.ended_at) == ("timed_out", "took longer than 1.5s", 20)


def test_a_stuck_step_shows_why_and_forgets_it_when_it_goes_on() -> None:
    told = (started(1, "pay"), ("run.stuck", {"reason": "no step 'pay'"}))
    (stuck,) = _lines(*told)
    assert (stuck.status, stuck.error, stuck.ended_at) == ("stuck", "no step 'pay'", None)
    (again,) = _lines(*told, ("run.resumed", {"attempt": 2}))
    assert (again.status, again.error, again.attempts) == ("running", None, 2)


FAILED: Told = ("run.failed", {"error": {"type": "Boom", "message": "x"}})


def test_a_step_that_is_begun_again_is_one_line() -> None:
    told = (started(1, "begin", "start"), completed(1, "step"), started(2, "pay"), ("step.failed", {"step": 2}), FAILED)
    assert _lines(*told)[1].status == "failed"
    phase = {"phase": "stepping", "step": 2, "kind": "step", "handler": "pay", "since": 4, "attempt": 2}
    _, again = _lines(*told, ("run.resumed", {"attempt": 2, "was": "failed", "phase": phase}))
    assert (again.status, again.ended_at, again.error, again.attempts) == ("running", None, None, 2)


def test_a_step_that_was_gone_back_to_is_a_new_line() -> None:
    told = (started(1, "begin", "start"), completed(1, "step"), started(2, "pay"), ("run.stuck", {"reason": "gone"}))
    phase = {"phase": "stepping", "step": 3, "kind": "start", "handler": "begin", "since": 6}
    lines = _lines(*told, ("run.resumed", {"was": "stuck", "phase": phase, "from_step": 1}))
    assert [(line.name, line.status, line.ended_at) for line in lines] == [
        ("begin", "completed", 20), ("pay", "stuck", 50), ("begin", "running", None),
    ]  # fmt: skip


def test_a_wait_and_a_delay_that_go_on_are_open_again() -> None:
    wait: Told = ("wait.started", {"names": ["paid"], "deadline": 15})
    phase = {"phase": "waiting", "epoch": 1, "since_at": 40, "names": ["paid"], "deadline": 55}
    (line,) = _lines(wait, ("wait.timed_out", {}), ("run.timed_out", {}), ("run.resumed", {"phase": phase}))
    assert (line.status, line.ended_at, line.wake_at) == ("waiting", None, 55)
    phase = {"phase": "sleeping", "epoch": 1, "handler": "pay", "wake_at": 99}
    delay = completed(1, "step", handler="pay", wake_at=99)
    (line,) = _lines(delay, ("run.timed_out", {}), ("run.resumed", {"phase": phase}))
    assert (line.status, line.ended_at, line.wake_at) == ("sleeping", None, 99)


def test_what_is_open_when_the_run_closes_ends_with_it() -> None:
    for kind, status in (
        ("run.terminated", "terminated"),
        ("run.timed_out", "timed_out"),
        ("run.cancelled", "cancelled"),
    ):
        for told in (started(1, "pay"), ("wait.started", {}), completed(1, "step", handler="x", wake_at=5)):
            (line,) = _lines(told, (kind, {}))
            assert (line.status, line.ended_at) == (status, 20)


def test_a_record_whose_step_began_before_the_first_is_passed_over() -> None:
    (line,) = _lines(completed(7, "step"), ("run.resumed", {}), started(8, "pay"), first=500)
    assert (line.name, line.seq) == ("pay", 502)


def test_records_that_are_no_steps_are_passed_over() -> None:
    assert _lines(("event.received", {"name": "x"}), ("task.completed", {"key": "k"})) == []


# -- how often tasks were tried ----------------------------------------------------------------------

DECLINED = {"type": "CardDeclined", "message": "limit exceeded"}


def tried(kind: str, attempt: int, key: str = "k", **more: Any) -> Told:
    return (f"task.{kind}", {"key": key, "name": f"task-{key}", "attempt": attempt, **more})


def failed_once(attempt: int, retry_at: int, key: str = "k", **more: Any) -> Told:
    return tried("attempt_failed", attempt, key, retry_at=retry_at, error=DECLINED, **{"max_attempts": 5, **more})


def test_a_step_tells_which_of_its_tasks_is_tried_again_soonest() -> None:
    (line,) = _lines(started(1, "pay"), failed_once(1, 900), failed_once(2, 500, "other"))
    assert line.tries == TriesView(task="task-other", attempt=2, max_attempts=5, retry_at=500)
    assert line.status == Status.RUNNING


def test_a_task_that_is_tried_again_waits_no_more_and_knows_how_often_it_may_be() -> None:
    (line,) = _lines(started(1, "pay"), failed_once(1, 20), tried("started", 2))
    assert line.tries == TriesView(task="task-k", attempt=2, max_attempts=5)


def test_a_step_tells_after_how_many_tries_the_task_failed_that_it_failed_of() -> None:
    given_up = tried("failed", 5, error=DECLINED, max_attempts=5)
    failed = ("step.failed", {"step": 1, "error": DECLINED})
    (line,) = _lines(started(1, "pay"), failed_once(4, 20), given_up, failed)
    assert line.tries == TriesView(task="task-k", attempt=5, max_attempts=5, failed=True)
    # Its handler had caught that, and failed of something else.
    other = ("step.failed", {"step": 1, "error": {"type": "KeyError", "message": "'x'"}})
    (line,) = _lines(started(1, "pay"), given_up, other)
    assert line.tries == TriesView(task="task-k", attempt=5, max_attempts=5)


def test_a_step_that_is_over_tells_which_task_was_tried_most() -> None:
    (line,) = _lines(
        started(1, "pay"), failed_once(1, 20), tried("completed", 2), failed_once(2, 30, "o"), tried("completed", 3, "o"),
        completed(1, "complete"),
    )  # fmt: skip
    assert line.tries == TriesView(task="task-o", attempt=3, max_attempts=5)
    (line,) = _lines(started(1, "pay"), completed(1, "complete"))
    assert line.tries is None


def test_what_was_recorded_before_the_number_of_attempts_was_is_told_without_it() -> None:
    (line,) = _lines(
        started(1, "pay"), ("task.attempt_failed", {"key": "k", "name": "charge", "attempt": 1, "retry_at": 90})
    )
    assert line.tries == TriesView(task="charge", attempt=1, retry_at=90)


def test_a_step_that_is_begun_anew_forgets_the_tries_before() -> None:
    reopened = ("run.resumed", {"was": "failed", "phase": {"phase": "stepping", "handler": "pay"}})
    failed = ("step.failed", {"step": 1, "error": DECLINED})
    (line,) = _lines(started(1, "pay"), tried("failed", 5, error=DECLINED), failed, ("run.failed", {}), reopened)
    assert line.tries is None


def test_a_step_that_is_being_cancelled_still_is_once_it_has_been_stuck() -> None:
    (line,) = _lines(
        started(1, "pay"),
        ("run.cancel_requested", {}),
        ("run.stuck", {"reason": "no code"}),
        ("run.resumed", {"attempt": 2}),
    )
    assert line.status == Status.CANCELLING
