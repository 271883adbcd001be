"""What is known of a run. Each phase owns its data; there are no fields that are only sometimes true.

Values (`input`, payloads, results) are JSON text as `msgspec.Raw` and are never opened here. Times are UTC epoch milliseconds.

`gc=False`, here as in records, stimuli and decisions: what never changes refers to what was there before it, so that none of it is
ever part of a cycle, and the collector need not know of the thousands that come and go in a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from wfctl.errors import ErrorData
from wfctl.values.failure import Failure
from wfctl.values.runinfo import ParentInfo, ScheduleInfo
from wfctl.values.status import Status
from wfctl.values.times import format_duration

Raw = msgspec.Raw
NULL = Raw(b"null")
EMPTY = Raw(b"{}")


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event in the inbox. `seq` is that of its `event.received` in the run's history: its identity.

    `step` is set for the outcome of a child that was started with `on_completed_step`: not an event handler but that step
    runs, whatever names the wait has, and `seq` is that of the `child.closed`.
    """

    seq: int
    name: str
    payload: Raw
    at: int
    step: str | None = None


class OpResult(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A recorded operation of the current step: what asking for `key` again returns (JSON) or raises.

    `open`: begun, and without an outcome yet: a task whose attempts failed `attempts` times, or a sleep. `due_at` is when the
    sleep, or the delay before the next attempt, is over. `failure` is what a task that failed for good raises. `place` is that
    of its newest record among those of its step; that of a sleep which is over is between two of them.
    """

    key: str
    value: Raw = NULL
    place: float = 0
    attempts: int = 0
    error: ErrorData | None = None
    open: bool = False
    due_at: int | None = None
    failure: Failure | None = None


class Ops(Mapping[str, OpResult]):
    """Operations by key, in the order in which they began, where they are so many that a dict of them is not copied for each: one
    step may start ten thousand children. Never changes; what `having` gives shares nearly everything with it."""

    __slots__ = ("_newest", "_others")

    def __init__(self, others: Mapping[str, OpResult], newest: Mapping[str, OpResult]) -> None:
        self._others = others
        self._newest = newest

    def having(self, result: OpResult) -> Ops:
        """These with one more, or with a newer result of one of them."""
        newest = {**self._newest, result.key: result}
        return Ops(self._others, newest) if len(newest) < _APART else Ops({**self._others, **newest}, {})

    def __getitem__(self, key: str) -> OpResult:
        found = self._newest.get(key)
        return self._others[key] if found is None else found

    def __iter__(self) -> Iterator[str]:
        return iter({**self._others, **self._newest})

    def __len__(self) -> int:
        return len({**self._others, **self._newest})

    def __bool__(self) -> bool:
        return bool(self._newest or self._others)


_APART = 64


class Stepping(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag="stepping", tag_field="phase"):
    """A handler runs, or is queued for a worker. `since` is the seq of its `step.started`, or of the `run.resumed` that went
    back to it; `reopened` that of the newest `run.resumed` that re-opened the run in it. `kwargs` are what an event handler is
    given, or a step that hears of a child's end; a start handler is given the run's input.

    `ops`, by key, are rebuilt from the history records after `since` and are not part of the saved state. `crashes` counts
    the executions that took their worker with them.
    """

    step: int
    kind: str
    handler: str
    since: int
    ops: Mapping[str, OpResult] = {}
    kwargs: Raw = EMPTY
    event: int | None = None
    attempt: int = 1
    crashes: int = 0
    reopened: int | None = None

    def still_to_come(self, now: int) -> str:
        """What a step that timed out was waiting for: retries that outlive their step are a mistake worth telling."""
        for op in self.ops.values():
            if op.open and op.attempts and op.due_at is not None and op.due_at > now:
                due = format_duration(op.due_at - now)
                return (
                    f", while a task waited for attempt {op.attempts + 1}, due in {due}: its retries outlive the step"
                )
        return ""


class Waiting(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag="waiting", tag_field="phase"):
    """For an event. `names` None takes any; `epoch` is the step whose directive began the wait."""

    epoch: int
    since_at: int
    names: tuple[str, ...] | None = None
    deadline: int | None = None
    on_timeout: str | None = None

    def takes(self, event: Event) -> bool:
        return self.names is None or event.step is not None or event.name in self.names


class Sleeping(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag="sleeping", tag_field="phase"):
    """Until the delayed step `handler` is due; `kind` is start where the run has not begun yet."""

    epoch: int
    handler: str
    wake_at: int
    kind: str = "step"


class Stuck(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag="stuck", tag_field="phase"):
    """Open, but its step cannot run on the present code. `resume` is what goes on once it can; `needs` is the workflow type whose
    code that is, where it is not the run's own."""

    reason: str
    resume: Stepping
    since_at: int
    needs: str = ""


class Closed(msgspec.Struct, frozen=True, omit_defaults=True, gc=False, tag="closed", tag_field="phase"):
    status: Status
    at: int
    result: Raw = NULL
    error: Failure | None = None
    reason: str | None = None


Phase = Stepping | Waiting | Sleeping | Stuck | Closed
_RUNNING, _CANCELLING = Status.RUNNING, Status.CANCELLING
_STATUSES: dict[type[Phase], Status] = {
    Waiting: Status.WAITING, Sleeping: Status.SLEEPING, Stuck: Status.STUCK
}  # fmt: skip
PHASES: tuple[type[Phase], ...] = (Stepping, Waiting, Sleeping, Stuck, Closed)


class Parent(msgspec.Struct, frozen=True, gc=False):
    key: int
    info: ParentInfo


class Run(msgspec.Struct, frozen=True, gc=False):
    """One run: who it is, how far its history goes (`seq`), and its phase.

    `steps` counts the steps begun; with the attempt it names one execution, so that what an earlier one still says is
    recognised as stale. `cancel` is the reason of a requested cancellation ("" when none was given). `on_completed_step`
    names the parent's step that hears how this run ends; `on_parent_close` is abandon, cancel or terminate. `reopened_at` is
    when it was last re-opened by a person: its `deadline` counts from there, or else from `begins_at`, where it was to begin later
    than it was started. `schedule` is the one that started it, and for which time.
    """

    # What changes most comes first: the further behind a field is, the longer `replace` takes to find it.
    phase: Phase
    seq: int
    steps: int
    handler: str | None
    inbox: tuple[Event, ...]
    open_children: int
    children: int
    cancel: str | None
    deadline: int | None
    key: int
    run_id: str
    workflow_id: str
    workflow_type: str
    input: Raw
    started_at: int
    parent: Parent | None
    root: int
    root_id: str
    depth: int
    on_completed_step: str | None = None
    on_parent_close: str = "abandon"
    reopened_at: int | None = None
    begins_at: int | None = None
    schedule: ScheduleInfo | None = None

    def given(self, step: Stepping) -> Raw:
        """The arguments (a JSON object) that this step of it has."""
        return self.input if step.kind == "start" else step.kwargs

    @property
    def timeout_ms(self) -> int | None:
        """How long the run may take from its beginning, or from its last re-opening."""
        if self.deadline is None:
            return None
        begun = self.started_at if self.begins_at is None else self.begins_at
        return self.deadline - (begun if self.reopened_at is None else self.reopened_at)

    @property
    def status(self) -> Status:
        phase = self.phase
        if type(phase) is Stepping:
            return _RUNNING if self.cancel is None else _CANCELLING
        return phase.status if type(phase) is Closed else _STATUSES[type(phase)]

    @property
    def closed(self) -> bool:
        return type(self.phase) is Closed

    @property
    def wake_at(self) -> int | None:
        """The earliest instant at which time alone changes this run."""
        phase = self.phase
        due: int | None = None
        if type(phase) is Stepping:  # as nearly all that are asked
            return self.deadline
        if type(phase) is Waiting:
            due = phase.deadline
        elif type(phase) is Sleeping:
            due = phase.wake_at
        elif type(phase) is Closed:
            return None
        if self.deadline is None:
            return due
        return self.deadline if due is None else min(due, self.deadline)


class Saved(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What of a run's state its row holds besides the columns that queries need."""

    phase: Phase
    steps: int = 0
    handler: str | None = None
    cancel: str | None = None
    children: int = 0
    open_children: int = 0
    on_completed_step: str | None = None
    on_parent_close: str = "abandon"
    reopened_at: int | None = None
    begins_at: int | None = None
    schedule: ScheduleInfo | None = None


_encode_saved = msgspec.json.Encoder().encode
_decode_saved = msgspec.json.Decoder(Saved).decode
_replace = msgspec.structs.replace


def dump(run: Run) -> str:
    """The run's saved state as JSON text. Operations stay in the history, events in the inbox."""
    phase = run.phase
    if type(phase) is Stepping:
        if phase.ops:
            phase = _replace(phase, ops={})
    elif type(phase) is Stuck:
        phase = _replace(phase, resume=_replace(phase.resume, ops={}))
    return _encode_saved(
        Saved(
            phase, run.steps, run.handler, run.cancel, run.children, run.open_children, run.on_completed_step,
            run.on_parent_close, run.reopened_at, run.begins_at, run.schedule,
        )
    ).decode()  # fmt: skip


def with_result(step: Stepping, result: OpResult) -> Stepping:
    """The step after one of its operations was recorded."""
    ops: Mapping[str, OpResult] = step.ops
    if type(ops) is Ops:
        ops = ops.having(result)
    elif len(ops) < _APART:
        ops = {**ops, result.key: result}
    else:
        ops = Ops(ops, {result.key: result})
    return _replace(step, ops=ops)


def parse(text: str) -> Saved:
    return _decode_saved(text)
