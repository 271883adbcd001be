"""Fold one record into a run's state. The only place where a state changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from wfctl.values.status import Status
from wfd.core import records as r
from wfd.core.operations import RESULTS, folded, slept
from wfd.core.state import (
    Closed,
    Event,
    Parent,
    Phase,
    Raw,
    Run,
    Saved,
    Sleeping,
    Stepping,
    Stuck,
    Waiting,
    with_result,
)

replace = msgspec.structs.replace
R = TypeVar("R", bound=r.Record)
FOLDS: dict[type[r.Record], Callable[[Run, Any, int, int], Run]] = {}


def _folds(kind: type[R]) -> Callable[[Callable[[Run, R, int, int], Run]], Callable[[Run, R, int, int], Run]]:
    def register(fold: Callable[[Run, R, int, int], Run]) -> Callable[[Run, R, int, int], Run]:
        FOLDS[kind] = fold
        return fold

    return register


def apply(run: Run, record: r.Record, at: int) -> Run:
    """`run` after `record`, which becomes number `run.seq + 1` of its history."""
    return FOLDS[type(record)](run, record, run.seq + 1, at)


def born(
    record: r.RunStarted, key: int, run_id: str, parent: Parent | None, root: int, root_id: str, depth: int, at: int,
    began: r.StepStarted | None = None,
) -> Run:  # fmt: skip
    """The state after a run's first record; with the second, that its start handler `began`, after both."""
    phase: Phase
    if began is None:
        phase = Sleeping(0, record.handler or "", at if record.begins_at is None else record.begins_at, "start")
        seq, steps, handler = 1, 0, None
    else:
        phase, seq, steps, handler = Stepping(1, "start", began.handler, 2), 2, 1, began.handler
    return Run(
        phase, seq, steps, handler, (), 0, 0, None, record.deadline, key, run_id, record.workflow_id, record.workflow_type,
        record.input, at, parent, root, root_id, depth, record.on_completed_step, record.on_parent_close, None,
        record.begins_at, record.schedule,
    )  # fmt: skip


@_folds(r.StepStarted)
def _step_started(run: Run, record: r.StepStarted, seq: int, at: int) -> Run:
    step, handler, event = record.step, record.handler, record.event
    if event is None:
        return replace(run, phase=Stepping(step, record.kind, handler, seq), seq=seq, steps=step, handler=handler)
    inbox, index = run.inbox, 0
    while inbox[index].seq != event:
        index += 1
    phase = Stepping(step, record.kind, handler, seq, {}, inbox[index].payload, event)
    inbox = inbox[:index] + inbox[index + 1 :]
    return replace(run, phase=phase, seq=seq, steps=step, handler=handler, inbox=inbox)


@_folds(r.StepCompleted)
def _step_completed(run: Run, record: r.StepCompleted, seq: int, at: int) -> Run:
    if record.wake_at is not None:
        return replace(run, seq=seq, phase=Sleeping(record.step, record.handler or "", record.wake_at))
    return replace(run, seq=seq)


@_folds(r.StepInterrupted)
def _step_interrupted(run: Run, record: r.StepInterrupted, seq: int, at: int) -> Run:
    phase = run.phase
    assert isinstance(phase, Stepping)
    return replace(run, seq=seq, phase=replace(phase, attempt=record.attempt + 1, crashes=phase.crashes + record.crash))


def _only_counts(run: Run, record: r.Record, seq: int, at: int) -> Run:
    return replace(run, seq=seq)


FOLDS[r.StepFailed] = FOLDS[r.StepTimedOutRecord] = FOLDS[r.WaitTimedOut] = _only_counts


@_folds(r.WaitStarted)
def _wait_started(run: Run, record: r.WaitStarted, seq: int, at: int) -> Run:
    names = None if record.names is None else tuple(record.names)
    return replace(run, seq=seq, phase=Waiting(run.steps, at, names, record.deadline, record.on_timeout))


@_folds(r.EventReceived)
def _event_received(run: Run, record: r.EventReceived, seq: int, at: int) -> Run:
    if record.refused is not None:
        return replace(run, seq=seq)
    return replace(run, seq=seq, inbox=(*run.inbox, Event(seq, record.name, record.payload, at)))


@_folds(r.RunCancelRequested)
def _cancel_requested(run: Run, record: r.RunCancelRequested, seq: int, at: int) -> Run:
    return replace(run, seq=seq, cancel=record.reason)


_COMPLETED = Status.COMPLETED


def _closed(run: Run, seq: int, at: int, status: Status, **how: Any) -> Run:
    # The clock may have been set back meanwhile; no run ends before it began.
    return replace(run, seq=seq, phase=Closed(status, max(at, run.started_at), **how))


@_folds(r.RunCompleted)
def _completed(run: Run, record: r.RunCompleted, seq: int, at: int) -> Run:
    return replace(run, seq=seq, phase=Closed(_COMPLETED, max(at, run.started_at), record.result))


@_folds(r.RunFailed)
def _failed(run: Run, record: r.RunFailed, seq: int, at: int) -> Run:
    return _closed(run, seq, at, Status.FAILED, error=record.error)


@_folds(r.RunCancelled)
def _cancelled(run: Run, record: r.RunCancelled, seq: int, at: int) -> Run:
    return _closed(run, seq, at, Status.CANCELLED, reason=record.reason)


@_folds(r.RunTerminated)
def _terminated(run: Run, record: r.RunTerminated, seq: int, at: int) -> Run:
    return _closed(run, seq, at, Status.TERMINATED, reason=record.reason)


@_folds(r.RunTimedOut)
def _timed_out(run: Run, record: r.RunTimedOut, seq: int, at: int) -> Run:
    return _closed(run, seq, at, Status.TIMED_OUT, error=record.error)


@_folds(r.RunStuck)
def _stuck(run: Run, record: r.RunStuck, seq: int, at: int) -> Run:
    phase = run.phase
    assert isinstance(phase, Stepping)
    return replace(run, seq=seq, phase=Stuck(record.reason, phase, at, record.needs))


@_folds(r.RunResumed)
def _resumed(run: Run, record: r.RunResumed, seq: int, at: int) -> Run:
    """Of a re-opened run the operations of its step are still missing: `refold` adds them."""
    if record.phase is None:
        phase = run.phase
        assert isinstance(phase, Stuck)
        return replace(run, seq=seq, phase=replace(phase.resume, attempt=record.attempt, crashes=0))
    run = replace(
        run, seq=seq, phase=record.phase, cancel=None, deadline=record.deadline, reopened_at=at,
        inbox=tuple(sorted((*run.inbox, *record.requeued), key=lambda event: event.seq)),
    )  # fmt: skip
    if not isinstance(record.phase, Stepping):
        return run
    return replace(run, steps=record.phase.step, handler=record.phase.handler)


@_folds(r.ChildClosedRecord)
def _child_closed(run: Run, record: r.ChildClosedRecord, seq: int, at: int) -> Run:
    inbox = run.inbox
    if record.step is not None and record.refused is None:
        inbox = (*inbox, Event(seq, "child.closed", record.outcome, at, record.step))
    return replace(run, seq=seq, open_children=run.open_children - 1, inbox=inbox)


@_folds(r.ChildResumed)
def _child_resumed(run: Run, record: r.ChildResumed, seq: int, at: int) -> Run:
    return replace(run, seq=seq, open_children=run.open_children + 1)


def _operation(run: Run, record: r.Operation, seq: int, at: int) -> Run:
    phase = run.phase
    assert type(phase) is Stepping
    place = seq - phase.since
    if record.over:
        for one in slept(phase.ops, record, place):
            phase = with_result(phase, one)
    phase = with_result(phase, RESULTS[type(record)](record, place))
    if type(record) is r.ChildStarted and not record.existing:
        return replace(run, seq=seq, phase=phase, children=run.children + 1, open_children=run.open_children + 1)
    return replace(run, seq=seq, phase=phase)


for _kind in r.OPERATIONS:
    FOLDS[_kind] = _operation


def refold(saved: Run, since: Iterable[r.Record]) -> Run:
    """`saved` with the operations of its current step, from the history records after its `since`."""
    phase = saved.phase.resume if isinstance(saved.phase, Stuck) else saved.phase
    if not isinstance(phase, Stepping):
        return saved
    stepping = replace(phase, ops=folded(since))
    if isinstance(saved.phase, Stuck):
        return replace(saved, phase=replace(saved.phase, resume=stepping))
    return replace(saved, phase=stepping)


def rebuilt(
    saved: Saved, *, key: int, run_id: str, workflow_id: str, workflow_type: str, input: Raw, started_at: int,
    parent: Parent | None, root: int, root_id: str, depth: int, deadline: int | None, seq: int, inbox: Iterable[Event],
) -> Run:  # fmt: skip
    """A run from its row, its inbox and its saved state; `refold` adds the operations of the current step."""
    return Run(
        key=key, run_id=run_id, workflow_id=workflow_id, workflow_type=workflow_type, input=input,
        started_at=started_at, parent=parent, root=root, root_id=root_id, depth=depth, phase=saved.phase,
        deadline=deadline, seq=seq, steps=saved.steps, handler=saved.handler, inbox=tuple(inbox),
        cancel=saved.cancel, children=saved.children, open_children=saved.open_children,
        on_completed_step=saved.on_completed_step, on_parent_close=saved.on_parent_close,
        reopened_at=saved.reopened_at, begins_at=saved.begins_at, schedule=saved.schedule,
    )  # fmt: skip
