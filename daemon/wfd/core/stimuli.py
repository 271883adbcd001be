"""What can happen to a run. `step` and `attempt` name the execution that speaks; any other is stale."""

from __future__ import annotations

import msgspec

from wfctl.values.failure import Failure
from wfd.core.records import Operation, Record
from wfd.core.state import NULL, Event, Raw, Sleeping, Stepping, Waiting


class StepReturned(msgspec.Struct, frozen=True, gc=False):
    """The handler returned a directive: `step` (`name`, `after_ms`), `wait` (`names`, `after_ms`, `name` on timeout),
    `complete` (`value`) or `fail` (`failure`), with its store writes (JSON by key)."""

    step: int
    attempt: int
    directive: str
    name: str = ""
    names: tuple[str, ...] | None = None
    after_ms: int | None = None
    value: bytes = b"null"
    failure: Failure | None = None
    put: dict[str, bytes] = {}
    deleted: list[str] = []


class StepRaised(msgspec.Struct, frozen=True, gc=False):
    """The handler raised; `cancelled`: the CancelledError it had been sent."""

    step: int
    attempt: int
    failure: Failure
    cancelled: bool = False


class StepTimedOut(msgspec.Struct, frozen=True, gc=False):
    step: int
    attempt: int
    timeout_ms: int


class StepLost(msgspec.Struct, frozen=True, gc=False):
    """The execution ended with its process. `crash`: this handler may have been what ended it; `limit` of those and it is stuck."""

    step: int
    attempt: int
    reason: str
    crash: bool = False
    limit: int = 5


class StepUnfit(msgspec.Struct, frozen=True, gc=False):
    """The present code cannot run this step: handler or type missing, arguments no longer fit, replay disagrees. `needs` is the
    workflow type whose code that is, where it is not the run's own."""

    step: int
    attempt: int
    reason: str
    needs: str = ""


class OperationAsked(msgspec.Struct, frozen=True, gc=False):
    """The handler asked for an operation, and `record` is its outcome. `begun` tells of its beginning, where that comes with it."""

    step: int
    attempt: int
    record: Operation
    begun: Operation | None = None


class EventArrived(msgspec.Struct, frozen=True, gc=False):
    """`report`: from a child to its parent. What a closed run refuses of those, it gets if it is re-opened."""

    name: str
    payload: Raw
    sender: str | None = None
    report: bool = False
    id: str | None = None


class TimeReached(msgspec.Struct, frozen=True, gc=False):
    """The clock moved on. Says nothing of which deadline: the state knows, so a stale or doubled timer is harmless."""


class CancelAsked(msgspec.Struct, frozen=True, gc=False):
    reason: str = ""


class TerminateAsked(msgspec.Struct, frozen=True, gc=False):
    reason: str = ""


class ChildClosed(msgspec.Struct, frozen=True, gc=False):
    """`step` is the child's `on_completed_step`, `outcome` (a JSON object) the arguments it is to get."""

    run_id: str
    workflow_id: str
    status: str
    step: str | None = None
    outcome: Raw = NULL


class ChildReopened(msgspec.Struct, frozen=True, gc=False):
    run_id: str
    workflow_id: str


class CodeChanged(msgspec.Struct, frozen=True, gc=False):
    """New code is loaded that offers what this run was stuck on."""


class Point(msgspec.Struct, frozen=True, gc=False):
    """Where a run goes on, as `wfd.core.course` reads it from the history up to record number `seq`.

    `phase` is what the run was in then: its times are those of the past. `records` are those of its step. The rest is as in
    `run.resumed`.
    """

    seq: int
    phase: Stepping | Waiting | Sleeping
    records: tuple[Record, ...] = ()
    from_step: int | None = None
    put: dict[str, Raw] = {}
    deleted: list[str] = []
    requeued: list[Event] = []


class RetryAsked(msgspec.Struct, frozen=True, gc=False):
    """Somebody wants the run to go on at `point`; without one a stuck run tries its step as it is."""

    point: Point | None = None
    reason: str = ""


Stimulus = (
    StepReturned
    | StepRaised
    | StepTimedOut
    | StepLost
    | StepUnfit
    | OperationAsked
    | EventArrived
    | TimeReached
    | CancelAsked
    | TerminateAsked
    | ChildClosed
    | ChildReopened
    | CodeChanged
    | RetryAsked
)
STIMULI: tuple[type[Stimulus], ...] = (
    StepReturned,
    StepRaised,
    StepTimedOut,
    StepLost,
    StepUnfit,
    OperationAsked,
    EventArrived,
    TimeReached,
    CancelAsked,
    TerminateAsked,
    ChildClosed,
    ChildReopened,
    CodeChanged,
    RetryAsked,
)
