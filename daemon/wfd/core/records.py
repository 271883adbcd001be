"""History records: one struct a kind. They are made only by `decide`, and are all a run's state is made of.

`KIND` is the stored name. Fields are the JSON that `wfctl history -o json` shows.
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from wfctl.errors import ErrorData
from wfctl.values.failure import Failure
from wfctl.values.runinfo import ParentInfo, ScheduleInfo
from wfd.core.state import NULL, Event, Raw, Sleeping, Stepping, Waiting

KINDS: dict[str, type[Record]] = {}


class Record(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    KIND: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if cls.__dict__.get("KIND"):
            KINDS[cls.KIND] = cls


class Operation(Record, frozen=True, kw_only=True):
    """`unaware`: failed operations of the same step, by key, of which the handler had not heard when it asked for this one.
    `over`: its sleeps whose end the handler was told of since the record before, in that order."""

    unaware: list[str] = []
    over: list[str] = []


class RunStarted(Record, frozen=True):
    """`begins_at` and `handler` are set where the start handler begins later, `schedule` where one started the run."""

    KIND = "run.started"
    workflow_type: str
    workflow_id: str
    input: Raw
    parent: ParentInfo | None = None
    deadline: int | None = None
    on_completed_step: str | None = None
    on_parent_close: str = "abandon"
    begins_at: int | None = None
    handler: str | None = None
    schedule: ScheduleInfo | None = None


class RunCompleted(Record, frozen=True):
    KIND = "run.completed"
    result: Raw = NULL


class RunFailed(Record, frozen=True):
    KIND = "run.failed"
    error: Failure


class RunCancelRequested(Record, frozen=True):
    KIND = "run.cancel_requested"
    reason: str = ""


class RunCancelled(Record, frozen=True):
    KIND = "run.cancelled"
    reason: str = ""


class RunTerminated(Record, frozen=True):
    KIND = "run.terminated"
    reason: str = ""


class RunTimedOut(Record, frozen=True):
    KIND = "run.timed_out"
    error: Failure


class RunStuck(Record, frozen=True):
    """`needs` is the workflow type whose code is at fault, where that is not the run's own."""

    KIND = "run.stuck"
    reason: str
    needs: str = ""


class RunResumed(Record, frozen=True):
    """The run goes on. One that was stuck, and whose code is back, goes on by itself: then only `attempt` is set.

    `was` is the status in which somebody asked for it (`reason`). `phase` is what a re-opened run goes on with, without
    its operations; `from_step` the step it went back to, where that is not the one that failed. `put` and `deleted` make the
    store what it was when that step began; `requeued` are the events that are in the inbox again; `deadline` is the run's new one.
    `cancelling`: it had been asked to end before it was stuck, and still is.
    """

    KIND = "run.resumed"
    attempt: int = 1
    was: str | None = None
    reason: str = ""
    phase: Stepping | Waiting | Sleeping | None = None
    from_step: int | None = None
    put: dict[str, Raw] = {}
    deleted: list[str] = []
    requeued: list[Event] = []
    deadline: int | None = None
    cancelling: bool = False


class StepStarted(Record, frozen=True):
    """`event` is the seq of the `event.received` that is handed over, `attempt` always 1: later ones follow `step.interrupted`."""

    KIND = "step.started"
    step: int
    kind: str
    handler: str
    event: int | None = None


class StepCompleted(Record, frozen=True):
    """`put` and `deleted` are the store's history; `next` the directive, `handler` and `wake_at` that of a delayed step."""

    KIND = "step.completed"
    step: int
    next: str
    put: dict[str, Raw] = {}
    deleted: list[str] = []
    handler: str | None = None
    wake_at: int | None = None


class StepFailed(Record, frozen=True):
    KIND = "step.failed"
    step: int
    error: Failure


class StepTimedOutRecord(Record, frozen=True):
    KIND = "step.timed_out"
    step: int
    timeout_ms: int


class StepInterrupted(Record, frozen=True):
    """This execution ended without a directive; unless the run closes, attempt + 1 follows. `crash`: its worker died with it."""

    KIND = "step.interrupted"
    step: int
    attempt: int
    reason: str
    crash: bool = False


class WaitStarted(Record, frozen=True):
    KIND = "wait.started"
    names: list[str] | None = None
    deadline: int | None = None
    on_timeout: str | None = None


class WaitTimedOut(Record, frozen=True):
    KIND = "wait.timed_out"


class EventReceived(Record, frozen=True):
    """`sender` is the workflow ID of the run that sent it, None for a person or program. `refused`: this run was closed;
    "parent_closed" where a child reported to it: should it be re-opened, it gets that. `id` is what its sender called it: of the
    same ID it is accepted once."""

    KIND = "event.received"
    name: str
    payload: Raw = NULL
    sender: str | None = None
    refused: str | None = None
    id: str | None = None


class ChildStarted(Operation, frozen=True):
    KIND = "child.started"
    key: str
    run_id: str
    workflow_id: str
    workflow_type: str
    value: Raw = NULL
    existing: bool = False


class ChildClosedRecord(Record, frozen=True):
    """`step` is the child's `on_completed_step`, which gets `outcome` as its arguments once this run waits. `refused`: this
    run was closed; should it be re-opened, the step runs then."""

    KIND = "child.closed"
    run_id: str
    workflow_id: str
    status: str
    step: str | None = None
    outcome: Raw = NULL
    refused: str | None = None


class ChildResumed(Record, frozen=True):
    """A child that had closed was re-opened: its end will be told once more."""

    KIND = "child.resumed"
    run_id: str
    workflow_id: str


class ChildCancelRequested(Operation, frozen=True):
    """The handler asked the child to end. `closed`: how it had ended by then, so that nothing came of it."""

    KIND = "child.cancel_requested"
    key: str
    run_id: str
    workflow_id: str
    reason: str = ""
    closed: str | None = None


class ChildTerminated(Operation, frozen=True):
    """The handler ended the child. `closed` as in `ChildCancelRequested`."""

    KIND = "child.terminated"
    key: str
    run_id: str
    workflow_id: str
    reason: str = ""
    closed: str | None = None


class ChildResultRecorded(Operation, frozen=True):
    """What a wait for the child's result was answered with: its `ChildOutcome`, whatever becomes of the child later. `asked` is how
    many records its step had when it was asked for."""

    KIND = "child.result_recorded"
    key: str
    run_id: str
    workflow_id: str
    status: str
    outcome: Raw = NULL
    asked: int = 0


class ParentEventSent(Operation, frozen=True):
    """`outcome`: dispatched, queued, or parent_closed."""

    KIND = "parent_event.sent"
    key: str
    event: str
    outcome: str


class EventSent(Operation, frozen=True):
    KIND = "event.sent"
    key: str
    event: str
    workflow_id: str
    run_id: str
    outcome: str


class TimestampRecorded(Operation, frozen=True):
    KIND = "timestamp.recorded"
    key: str
    value: Raw


class RandomRecorded(Operation, frozen=True):
    KIND = "random.recorded"
    key: str
    value: Raw


class UuidRecorded(Operation, frozen=True):
    KIND = "uuid.recorded"
    key: str
    value: Raw


class SleepRecorded(Operation, frozen=True):
    KIND = "sleep.recorded"
    key: str
    wake_at: int


class TaskStarted(Operation, frozen=True):
    """An attempt begins. A task that was cut short by a crash begins the same attempt once more."""

    KIND = "task.started"
    key: str
    name: str
    attempt: int
    arguments: Raw = NULL


class TaskAttemptFailed(Operation, frozen=True):
    """Another attempt follows at `retry_at`. `max_attempts` is how many there are at most; None in what older versions recorded."""

    KIND = "task.attempt_failed"
    key: str
    name: str
    attempt: int
    error: Failure
    retry_at: int
    max_attempts: int | None = None


class TaskCompleted(Operation, frozen=True):
    KIND = "task.completed"
    key: str
    name: str
    attempt: int
    result: Raw = NULL


class TaskFailed(Operation, frozen=True):
    """The last attempt failed; the handler gets the error. `max_attempts` as in `TaskAttemptFailed`: an error that is not to be
    tried again comes before it."""

    KIND = "task.failed"
    key: str
    name: str
    attempt: int
    error: Failure
    max_attempts: int | None = None


class OperationRefused(Operation, frozen=True):
    """An operation that was answered with an error, which is as much a value as any other: replay raises it again."""

    KIND = "operation.refused"
    key: str
    operation: str
    name: str
    error: ErrorData


OPERATIONS: tuple[type[Operation], ...] = (
    ChildStarted,
    ChildCancelRequested,
    ChildTerminated,
    ChildResultRecorded,
    ParentEventSent,
    EventSent,
    TimestampRecorded,
    RandomRecorded,
    UuidRecorded,
    SleepRecorded,
    TaskStarted,
    TaskAttemptFailed,
    TaskCompleted,
    TaskFailed,
    OperationRefused,
)

_encode = msgspec.json.Encoder().encode
_decoders: dict[str, msgspec.json.Decoder[Any]] = {}


def encode(record: Record) -> str:
    return _encode(record).decode()


def decode(kind: str, data: str) -> Record:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(KINDS[kind])
    record: Record = decoder.decode(data)
    return record
