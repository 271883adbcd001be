"""The recorded operations of one step, from its records: what replaying them gives back, and which a re-opened step keeps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from wfctl.values.failure import Failure
from wfctl.values.opkeys import CLEANUP_MARK, branch_of
from wfctl.values.status import Status
from wfd.core import records as r
from wfd.core.state import NULL, OpResult, Raw

_encode = msgspec.json.Encoder().encode
_TASKS = (r.TaskStarted, r.TaskAttemptFailed, r.TaskCompleted, r.TaskFailed)


def _alone(record: r.ChildCancelRequested | r.ChildTerminated, place: float) -> OpResult:
    return OpResult(record.key, NULL, place)


def _with_value(
    record: r.ChildStarted | r.TimestampRecorded | r.RandomRecorded | r.UuidRecorded, place: float
) -> OpResult:
    return OpResult(record.key, record.value, place)


def _with_end(record: r.ChildResultRecorded, place: float) -> OpResult:
    # To a step that is re-opened it is a failure like any other: by then the child may have gone on.
    failure = None if record.status == Status.COMPLETED else Failure(record.status, record.workflow_id)
    return OpResult(record.key, record.outcome, place, failure=failure)


@functools.cache  # there are but a handful
def _told(outcome: str) -> Raw:
    return Raw(_encode({"outcome": outcome}))


def _with_outcome(record: r.ParentEventSent | r.EventSent, place: float) -> OpResult:
    return OpResult(record.key, _told(record.outcome), place)


# What replaying the operation that a record, which is at `place`, tells of gives back.
RESULTS: dict[type[r.Operation], Callable[[Any, float], OpResult]] = {
    r.ChildStarted: _with_value,
    r.ChildCancelRequested: _alone,
    r.ChildTerminated: _alone,
    r.ChildResultRecorded: _with_end,
    r.ParentEventSent: _with_outcome,
    r.EventSent: _with_outcome,
    r.TimestampRecorded: _with_value,
    r.RandomRecorded: _with_value,
    r.UuidRecorded: _with_value,
    r.SleepRecorded: lambda record, place: OpResult(record.key, NULL, place, open=True, due_at=record.wake_at),
    r.TaskStarted: lambda record, place: OpResult(record.key, NULL, place, record.attempt - 1, open=True),
    r.TaskAttemptFailed: lambda record, place: OpResult(
        record.key, NULL, place, record.attempt, open=True, due_at=record.retry_at
    ),
    r.TaskCompleted: lambda record, place: OpResult(record.key, record.result, place, record.attempt),
    r.TaskFailed: lambda record, place: OpResult(record.key, NULL, place, record.attempt, failure=record.error),
    r.OperationRefused: lambda record, place: OpResult(record.key, NULL, place, error=record.error),
}


def slept(ops: Mapping[str, OpResult], record: r.Operation, place: int) -> list[OpResult]:
    """The sleeps that were over before `record`, which is at `place`: each has its own place right before it."""
    parts = len(record.over) + 1
    return [OpResult(key, NULL, place - 1 + part / parts) for part, key in enumerate(record.over, 1) if key in ops]


class _Trace(msgspec.Struct):
    """Where among the records of its step an operation began, and where what is known of it was recorded."""

    began: int
    known: int
    task: bool
    branch: str
    unaware: list[str]


def folded(records: Iterable[r.Record]) -> dict[str, OpResult]:
    """The operations by key, from the records after the step's beginning, oldest first."""
    ops: dict[str, OpResult] = {}
    traces: dict[str, _Trace] = {}
    for position, record in enumerate(records, 1):
        if isinstance(record, r.RunResumed) and record.phase is not None:
            _reopened(ops, traces)
            continue
        if not isinstance(record, r.Operation):
            continue
        result = RESULTS[type(record)](record, position)
        key = result.key
        ops |= {one.key: one for one in slept(ops, record, position)}
        ops[key] = result
        trace = traces.get(key)
        if trace is None:
            began = record.asked if isinstance(record, r.ChildResultRecorded) else position
            traces[key] = _Trace(began, position, isinstance(record, _TASKS), branch_of(key), record.unaware)
        else:
            trace.known = position
    return ops


def _reopened(ops: dict[str, OpResult], traces: dict[str, _Trace]) -> None:
    """Take out what a re-opened step is to do anew: the failures that nothing followed, and tasks cut short.

    What began after a failure shows that the handler had caught it and gone on: that failure stays, or what followed could not be
    replayed. So does a task that the handler's main line left behind, but all its attempts are to come again. What was asked
    for to clean up after a cancellation goes too: nobody is cancelled any more.
    """
    for key in [key for key in ops if key.startswith(CLEANUP_MARK)]:
        del ops[key], traces[key]
    begun = {trace.branch: trace for trace in reversed(traces.values())}
    newest = max((trace.began for trace in traces.values()), default=-1)
    for key, trace in list(traces.items()):
        op = ops[key]
        cut_short = op.open and trace.task
        if op.error is None and op.failure is None and not cut_short:
            continue
        followed = newest > trace.known and any(_follows(one, key, trace, begun) for one in traces.values())
        if not followed or (cut_short and trace.branch):
            del ops[key], traces[key]
        elif cut_short:
            ops[key] = OpResult(key, NULL, trace.known, open=True)


def _follows(one: _Trace, key: str, failure: _Trace, begun: dict[str, _Trace]) -> bool:
    """Whether `one` was asked for in the light of a failure. A branch that was there before just goes on beside it."""
    if one.began <= failure.known or key in one.unaware:
        return False
    first = begun[one.branch]
    beside = one.branch not in ("", failure.branch)
    return not (beside and (first.began < failure.known or key in first.unaware))
