"""`decide`: what a stimulus does to a run. Pure and total.

`TABLE` has a cell for every (phase, stimulus): the function that decides it, or `Ignored` with the reason why nothing happens.
Cells write records through the `Decision`, which folds each into the state at once, so a cell sees what it has decided so far.
"""

from __future__ import annotations

from typing import Any

from wfctl.values.failure import Failure
from wfctl.values.runinfo import ParentInfo, ScheduleInfo
from wfctl.values.status import Status
from wfctl.values.times import format_duration
from wfd.core import records as r, stimuli as s
from wfd.core.actions import Action
from wfd.core.apply import born
from wfd.core.decision import BEGUN, Cell, Decision, Ignored
from wfd.core.reopen import reopen
from wfd.core.state import PHASES, Closed, Parent, Phase, Raw, Run, Sleeping, Stepping, Stuck, Waiting


def open_run(
    key: int, run_id: str, workflow_id: str, workflow_type: str, handler: str, input: Raw, timeout_ms: int | None,
    parent: Run | None, now: int, on_completed_step: str | None = None, on_parent_close: str = "abandon",
    begins_at: int | None = None, schedule: ScheduleInfo | None = None,
) -> Decision:  # fmt: skip
    """A new run, its start handler begun, or to begin at `begins_at`; its timeout counts from there. `parent` is the run that
    starts it, `schedule` the one that does, `handler` the name of the start handler."""
    later = begins_at if begins_at is not None and begins_at > now else None
    began = r.StepStarted(1, "start", handler) if later is None else None
    info: ParentInfo | None = None
    link: Parent | None = None
    root, root_id, depth = key, run_id, 0
    if parent is not None:
        info = ParentInfo(parent.run_id, parent.workflow_id, parent.workflow_type)
        link, root, root_id, depth = Parent(parent.key, info), parent.root, parent.root_id, parent.depth + 1
    started = r.RunStarted(
        workflow_type,
        workflow_id,
        input,
        info,
        None if timeout_ms is None else (later or now) + timeout_ms,
        on_completed_step,
        on_parent_close,
        later,
        None if later is None else handler,
        schedule,
    )
    run = born(started, key, run_id, link, root, root_id, depth, now, began)
    if began is None:
        return Decision(run, now, 0, [started])
    return Decision(run, now, 0, [started, began], BEGUN)


def decide(run: Run, stimulus: s.Stimulus, now: int) -> Decision:
    """What `stimulus` at instant `now` (UTC epoch ms) does to `run`. Deterministic; raises for no stimulus in any phase."""
    phase = run.phase
    draft = Decision(run, now, run.seq)
    CELLS[type(phase)][type(stimulus)](draft, phase, stimulus)
    return draft


# -- a handler runs ------------------------------------------------------------------------------


_STALE = "a stale execution speaks"


def _stale(draft: Decision, phase: Stepping, stimulus: Any) -> bool:
    """An execution that is no longer the current one has nothing to say: its step was begun again, or its run moved on."""
    if stimulus.step == phase.step and stimulus.attempt == phase.attempt:
        return False
    draft.ignored = _STALE
    return True


def _returned(draft: Decision, phase: Stepping, returned: s.StepReturned) -> None:
    if returned.step != phase.step or returned.attempt != phase.attempt:
        draft.ignored = _STALE
        return
    directive, cancel = returned.directive, draft.run.cancel
    put: dict[str, Raw] = {}
    for name, value in returned.put.items():
        put[name] = Raw(value)
    if directive == "step" and returned.after_ms is not None:
        wake_at = draft.now + returned.after_ms
        draft.record(r.StepCompleted(phase.step, directive, put, returned.deleted, returned.name, wake_at))
        if cancel is not None:
            draft.close(r.RunCancelled(cancel))
        return
    draft.records.append(r.StepCompleted(phase.step, directive, put, returned.deleted))
    if directive == "complete":
        draft.close(r.RunCompleted(Raw(returned.value)))
    elif directive == "fail":
        draft.close(r.RunFailed(returned.failure or Failure("Failed", "")))
    elif cancel is not None and directive in ("step", "wait"):
        # What the handler wrote while it cleaned up is kept, but a cancelled run begins nothing more.
        draft.close(r.RunCancelled(cancel))
    elif directive == "step":
        draft.begin("step", returned.name)
    elif directive == "wait":
        _wait(draft, returned)
    else:
        raise AssertionError(f"unknown directive {directive!r}")


def _wait(draft: Decision, returned: s.StepReturned) -> None:
    timeout = returned.after_ms
    draft.record(
        r.WaitStarted(
            None if returned.names is None else list(returned.names),
            None if timeout is None else draft.now + timeout,
            returned.name or None,
        )
    )
    _hand_over(draft)


def _hand_over(draft: Decision) -> None:
    """Begin the handler of the first event in the inbox that the wait takes, if there is one."""
    run = draft.run
    if not run.inbox:
        return
    phase = run.phase
    assert type(phase) is Waiting
    for event in run.inbox:
        if phase.takes(event):
            if event.step is None:
                draft.begin("event", event.name, event.seq)
            else:
                draft.begin("step", event.step, event.seq)
            return


def _raised(draft: Decision, phase: Stepping, raised: s.StepRaised) -> None:
    if _stale(draft, phase, raised):
        return
    if raised.cancelled and draft.run.cancel is not None:
        draft.record(r.StepInterrupted(phase.step, phase.attempt, "cancelled"))
        draft.close(r.RunCancelled(draft.run.cancel))
        return
    draft.record(r.StepFailed(phase.step, raised.failure))
    draft.close(r.RunFailed(raised.failure))


def _step_timed_out(draft: Decision, phase: Stepping, late: s.StepTimedOut) -> None:
    if _stale(draft, phase, late):
        return
    draft.record(r.StepTimedOutRecord(phase.step, late.timeout_ms))
    draft.do(Action.ABANDON)
    draft.close(
        r.RunFailed(
            Failure(
                "StepTimeoutError",
                f"{phase.kind} handler {phase.handler!r} ran longer than its timeout of "
                f"{format_duration(late.timeout_ms)}{phase.still_to_come(draft.now)}",
                "wfctl.errors.StepTimeoutError",
            )
        )
    )


def _lost(draft: Decision, phase: Stepping, lost: s.StepLost) -> None:
    if _stale(draft, phase, lost):
        return
    draft.record(r.StepInterrupted(phase.step, phase.attempt, lost.reason, lost.crash))
    again = draft.run.phase
    assert isinstance(again, Stepping)
    if again.crashes >= lost.limit:
        draft.record(
            r.RunStuck(
                f"{phase.kind} handler {phase.handler!r} ended its worker {again.crashes} times; "
                f"the last time: {lost.reason}"
            )
        )
    else:
        draft.do(Action.DISPATCH)


def _unfit(draft: Decision, phase: Stepping, unfit: s.StepUnfit) -> None:
    if _stale(draft, phase, unfit):
        return
    draft.record(r.RunStuck(unfit.reason, unfit.needs))


def _operation(draft: Decision, phase: Stepping, asked: s.OperationAsked) -> None:
    if asked.step != phase.step or asked.attempt != phase.attempt:
        draft.ignored = _STALE
        return
    if (begun := asked.begun) is not None:
        if begun.over:
            draft.record(begun)
        else:  # what it alone would leave of the operation is not seen: it has ended as well
            draft.records.append(begun)
    draft.record(asked.record)


def _cancel_running(draft: Decision, phase: Stepping, asked: s.CancelAsked) -> None:
    if draft.run.cancel is not None:
        draft.ignored = "its cancellation is under way"
        return
    draft.record(r.RunCancelRequested(asked.reason))
    draft.do(Action.CANCEL_HANDLER)


# -- any open phase ------------------------------------------------------------------------------


def _queue(draft: Decision, phase: Phase, arrived: s.EventArrived) -> None:
    draft.record(r.EventReceived(arrived.name, arrived.payload, arrived.sender, id=arrived.id))


def _cancel_idle(draft: Decision, phase: Phase, asked: s.CancelAsked) -> None:
    draft.record(r.RunCancelRequested(asked.reason))
    draft.close(r.RunCancelled(asked.reason))


def _terminate(draft: Decision, phase: Phase, asked: s.TerminateAsked) -> None:
    if isinstance(phase, Stepping):
        draft.do(Action.ABANDON)
    draft.close(r.RunTerminated(asked.reason))


def _child_closed(draft: Decision, phase: Phase, child: s.ChildClosed) -> None:
    draft.record(r.ChildClosedRecord(child.run_id, child.workflow_id, child.status, child.step, child.outcome))


def _child_closed_for_waiting(draft: Decision, phase: Waiting, child: s.ChildClosed) -> None:
    if _wait_is_over(draft, phase):
        closed = draft.run.closed
        (_child_closed_for_closed if closed else _child_closed)(draft, draft.run.phase, child)
        return
    _child_closed(draft, phase, child)
    _hand_over(draft)


def _child_closed_for_closed(draft: Decision, phase: Phase, child: s.ChildClosed) -> None:
    """The record is kept, but no step runs, unless this run is re-opened."""
    if child.step is None:
        _child_closed(draft, phase, child)
    else:
        draft.record(
            r.ChildClosedRecord(
                child.run_id, child.workflow_id, child.status, child.step, child.outcome, refused="closed"
            )
        )


def _child_reopened(draft: Decision, phase: Phase, child: s.ChildReopened) -> None:
    draft.record(r.ChildResumed(child.run_id, child.workflow_id))


def _time(draft: Decision, phase: Phase, stimulus: s.TimeReached) -> None:
    """The run's own deadline comes before that of its phase, whatever order their timers fire in."""
    run = draft.run
    if run.deadline is not None and run.deadline <= draft.now:
        if isinstance(phase, Stepping):
            draft.do(Action.ABANDON)
        allowed = format_duration(run.timeout_ms or 0)
        draft.close(r.RunTimedOut(Failure("RunTimeoutError", f"the run took longer than its timeout of {allowed}")))
    elif isinstance(phase, Waiting) and phase.deadline is not None and phase.deadline <= draft.now:
        draft.record(r.WaitTimedOut())
        if phase.on_timeout is not None:
            draft.begin("step", phase.on_timeout)
            return
        what = "an event" if phase.names is None else " or ".join(repr(name) for name in phase.names)
        waited = format_duration(phase.deadline - phase.since_at)
        draft.close(r.RunTimedOut(Failure("WaitTimeoutError", f"waited {waited} for {what}, which did not come")))
    elif isinstance(phase, Sleeping) and phase.wake_at <= draft.now:
        draft.begin(phase.kind, phase.handler)
    else:
        draft.ignored = "nothing is due yet"


# -- waiting, stuck, closed ----------------------------------------------------------------------


def _wait_is_over(draft: Decision, phase: Waiting) -> bool:
    """A wait whose time is up ends now, even when its timer has not fired yet: what comes later must not slip in."""
    deadline, ends, now = phase.deadline, draft.run.deadline, draft.now
    if (deadline is None or deadline > now) and (ends is None or ends > now):
        return False
    _time(draft, phase, s.TimeReached())
    return True


def _event_for_waiting(draft: Decision, phase: Waiting, arrived: s.EventArrived) -> None:
    if _wait_is_over(draft, phase):
        if draft.run.closed:
            _event_for_closed(draft, draft.run.phase, arrived)
        else:
            _queue(draft, draft.run.phase, arrived)
        return
    _queue(draft, phase, arrived)
    _hand_over(draft)


def _resume(draft: Decision, phase: Stuck, changed: s.CodeChanged) -> None:
    draft.record(r.RunResumed(phase.resume.attempt + 1, cancelling=draft.run.cancel is not None))
    draft.do(Action.DISPATCH)


def _retry_stuck(draft: Decision, phase: Stuck, asked: s.RetryAsked) -> None:
    if asked.point is not None:
        _reopen(draft, asked.point, asked.reason)
        return
    draft.record(
        r.RunResumed(phase.resume.attempt + 1, str(Status.STUCK), asked.reason, cancelling=draft.run.cancel is not None)
    )
    draft.do(Action.DISPATCH)


def _retry_closed(draft: Decision, phase: Closed, asked: s.RetryAsked) -> None:
    if phase.status not in (Status.FAILED, Status.TIMED_OUT) or asked.point is None:
        draft.ignored = f"the run is {phase.status}"
    else:
        _reopen(draft, asked.point, asked.reason)


def _reopen(draft: Decision, point: s.Point, reason: str) -> None:
    reopen(draft, point, reason)
    if isinstance(draft.run.phase, Waiting):
        _hand_over(draft)


def _event_for_closed(draft: Decision, phase: Phase, arrived: s.EventArrived) -> None:
    """The sender is told. A child that closed its eyes to its parent's end leaves a trace in both histories."""
    draft.refused = True
    if arrived.sender is not None:
        why = "parent_closed" if arrived.report else "closed"
        draft.record(r.EventReceived(arrived.name, arrived.payload, arrived.sender, refused=why))


_NO_HANDLER = Ignored(f"no handler of this run is running: {_STALE}")
_CLOSED = Ignored("the run is closed, and stays so")

TABLE: dict[tuple[type[Phase], type[s.Stimulus]], Cell] = {
    (Stepping, s.StepReturned): _returned,
    (Stepping, s.StepRaised): _raised,
    (Stepping, s.StepTimedOut): _step_timed_out,
    (Stepping, s.StepLost): _lost,
    (Stepping, s.StepUnfit): _unfit,
    (Stepping, s.OperationAsked): _operation,
    (Stepping, s.EventArrived): _queue,
    (Stepping, s.TimeReached): _time,
    (Stepping, s.CancelAsked): _cancel_running,
    (Stepping, s.TerminateAsked): _terminate,
    (Stepping, s.ChildClosed): _child_closed,
    (Stepping, s.CodeChanged): Ignored("its step runs already"),
    (Stepping, s.RetryAsked): Ignored("its step runs already"),
    (Waiting, s.EventArrived): _event_for_waiting,
    (Waiting, s.TimeReached): _time,
    (Waiting, s.CancelAsked): _cancel_idle,
    (Waiting, s.TerminateAsked): _terminate,
    (Waiting, s.ChildClosed): _child_closed_for_waiting,
    (Waiting, s.CodeChanged): Ignored("a wait needs no code"),
    (Waiting, s.RetryAsked): Ignored("nothing of it has failed"),
    (Sleeping, s.EventArrived): _queue,
    (Sleeping, s.TimeReached): _time,
    (Sleeping, s.CancelAsked): _cancel_idle,
    (Sleeping, s.TerminateAsked): _terminate,
    (Sleeping, s.ChildClosed): _child_closed,
    (Sleeping, s.CodeChanged): Ignored("a delay needs no code"),
    (Sleeping, s.RetryAsked): Ignored("nothing of it has failed"),
    (Stuck, s.EventArrived): _queue,
    (Stuck, s.TimeReached): _time,
    (Stuck, s.CancelAsked): _cancel_idle,
    (Stuck, s.TerminateAsked): _terminate,
    (Stuck, s.ChildClosed): _child_closed,
    (Stuck, s.CodeChanged): _resume,
    (Stuck, s.RetryAsked): _retry_stuck,
    (Closed, s.EventArrived): _event_for_closed,
    (Closed, s.ChildClosed): _child_closed_for_closed,
    (Closed, s.TimeReached): _CLOSED,
    (Closed, s.CancelAsked): _CLOSED,
    (Closed, s.TerminateAsked): _CLOSED,
    (Closed, s.CodeChanged): _CLOSED,
    (Closed, s.RetryAsked): _retry_closed,
    **{(phase, s.ChildReopened): _child_reopened for phase in PHASES},
    **{
        (phase, spoken): _NO_HANDLER
        for phase in (Waiting, Sleeping, Stuck, Closed)
        for spoken in (
            s.StepReturned,
            s.StepRaised,
            s.StepTimedOut,
            s.StepLost,
            s.StepUnfit,
            s.OperationAsked,
        )
    },
}
# The same by phase, then by stimulus: to look up two types takes less than to make, hash and compare a pair of them.
CELLS: dict[type[Phase], dict[type[s.Stimulus], Cell]] = {
    phase: {stimulus: TABLE[phase, stimulus] for stimulus in s.STIMULI} for phase in PHASES
}
