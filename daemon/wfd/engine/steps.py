"""What happened in a run as the lines of its tree: steps, waits and delays, condensed from history records. Pure."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from wfctl.protocol.views import TreeStep, TriesView
from wfctl.values.failure import Failure
from wfctl.values.status import Status
from wfctl.values.times import format_duration
from wfd.store.rows import StepRecord

_CLOSINGS = {
    "run.completed": Status.COMPLETED,
    "run.failed": Status.FAILED,
    "run.cancelled": Status.CANCELLED,
    "run.terminated": Status.TERMINATED,
    "run.timed_out": Status.TIMED_OUT,
}


class _Phase(msgspec.Struct):
    """What a re-opened run goes on with: a step, a wait or a delay."""

    phase: str
    kind: str = "step"
    handler: str = ""
    deadline: int | None = None
    wake_at: int | None = None


class _Data(msgspec.Struct):
    """The fields of all the records that are looked at here; each has a few of them."""

    step: int = 0
    kind: str = "step"
    handler: str | None = None
    attempt: int = 1
    next: str = ""
    wake_at: int | None = None
    begins_at: int | None = None
    names: list[str] | None = None
    deadline: int | None = None
    error: Failure | None = None
    reason: str = ""
    timeout_ms: int = 0
    phase: _Phase | None = None
    from_step: int | None = None
    cancelling: bool = False
    # Of a task's records.
    key: str = ""
    name: str = ""
    max_attempts: int | None = None
    retry_at: int | None = None


class _Task(msgspec.Struct):
    """What is known of a task that was tried more than once, or failed."""

    name: str
    attempt: int = 1
    max_attempts: int | None = None
    retry_at: int | None = None
    open: bool = True
    error: str | None = None


class _Line(msgspec.Struct):
    """A line in the making."""

    name: str
    kind: str
    status: Status
    started_at: int
    seq: int
    ended_at: int | None = None
    attempts: int = 1
    error: str | None = None
    wake_at: int | None = None
    names: list[str] | None = None
    tasks: dict[str, _Task] = {}

    def end(self, status: Status, at: int, error: str | None = None) -> None:
        self.status, self.ended_at = status, at
        self.error = error or self.error
        if self.kind not in ("sleep", "wait"):
            self.wake_at = None

    def tries(self) -> TriesView | None:
        """Of the task that matters most, if one does."""
        open_ = [] if self.ended_at is not None else [task for task in self.tasks.values() if task.open]
        waiting = [task for task in open_ if task.retry_at is not None]
        # The error of the step is that of the task it failed of; one that it had caught is told by its number alone.
        ended_it = [task for task in self.tasks.values() if task.error is not None and task.error == self.error]
        again = [task for task in self.tasks.values() if task.attempt > 1]
        if waiting:
            task = min(waiting, key=lambda task: task.retry_at or 0)
        elif ended_it:
            task = ended_it[-1]
        elif open_:
            task = open_[-1]
        elif again:
            task = max(again, key=lambda task: task.attempt)
        else:
            return None
        return TriesView(
            task=task.name, attempt=task.attempt, max_attempts=task.max_attempts,
            retry_at=task.retry_at if waiting else None, failed=task in ended_it,
        )  # fmt: skip


_decode = msgspec.json.Decoder(_Data).decode


def tree_steps(records: Iterable[StepRecord]) -> list[TreeStep]:
    """The lines that `records` (of one run) tell of. Records whose step began before the first are passed over."""
    reading = _Reading()
    for record in sorted(records, key=operator.attrgetter("seq")):
        reading.take(record)
    return [
        TreeStep(
            name=line.name, kind=line.kind, status=line.status, started_at=line.started_at, ended_at=line.ended_at,
            attempts=line.attempts, error=line.error, wake_at=line.wake_at, waiting_for=line.names, seq=line.seq,
            tries=line.tries() if line.tasks else None,
        )
        for line in reading.lines
    ]  # fmt: skip


class _Reading:
    """The lines so far. At any time at most one of them, the last, is not ended."""

    def __init__(self) -> None:
        self.lines: list[_Line] = []
        self._interrupted = False
        # Asked to end: what goes on after being stuck still is.
        self._cancelling = False

    def take(self, record: StepRecord) -> None:
        data = _decode(record.data)
        if record.kind.startswith("task."):
            self._task(record, data)
            self._interrupted = False
            return
        if record.kind in _CLOSINGS:
            self._closed(record, data)
        else:
            handle = _RECORDS.get(record.kind)
            if handle is not None:
                handle(self, record, data)
        self._interrupted = record.kind == "step.interrupted"

    def _open(self) -> _Line | None:
        last = self.lines[-1] if self.lines else None
        return last if last is not None and last.ended_at is None else None

    def run_started(self, record: StepRecord, data: _Data) -> None:
        if data.begins_at is not None:
            self._add(data.handler or "", "sleep", Status.SLEEPING, record).wake_at = data.begins_at

    def step_started(self, record: StepRecord, data: _Data) -> None:
        before = self._open()
        if before is not None:
            before.end(Status.COMPLETED, record.at)
        self._add(data.handler or "", data.kind, Status.RUNNING, record)

    def step_completed(self, record: StepRecord, data: _Data) -> None:
        line = self._open()
        if line is not None:
            line.end(Status.FAILED if data.next == "fail" else Status.COMPLETED, record.at)
        if data.wake_at is not None:
            self._add(data.handler or "", "sleep", Status.SLEEPING, record).wake_at = data.wake_at

    def step_failed(self, record: StepRecord, data: _Data) -> None:
        line = self._open()
        if line is not None:
            line.end(Status.FAILED, record.at, None if data.error is None else str(data.error))

    def step_timed_out(self, record: StepRecord, data: _Data) -> None:
        line = self._open()
        if line is not None:
            line.end(Status.TIMED_OUT, record.at, f"took longer than {format_duration(data.timeout_ms)}")

    def step_interrupted(self, record: StepRecord, data: _Data) -> None:
        line = self._open()
        if line is not None:
            # The next attempt follows without a record of its own, unless the run closes.
            line.attempts = data.attempt + 1

    def sleep_recorded(self, record: StepRecord, data: _Data) -> None:
        """The handler sleeps: the newest of its sleeps is told."""
        line = self._open()
        if line is not None:
            line.wake_at = data.wake_at

    def wait_started(self, record: StepRecord, data: _Data) -> None:
        line = self._add("", "wait", Status.WAITING, record)
        line.name, line.names, line.wake_at = ", ".join(data.names or ["any event"]), data.names, data.deadline

    def wait_timed_out(self, record: StepRecord, data: _Data) -> None:
        line = self._open()
        if line is not None:
            line.end(Status.TIMED_OUT, record.at)

    def stuck(self, record: StepRecord, data: _Data) -> None:
        line = self._open()
        if line is not None:
            line.status, line.error = Status.STUCK, data.reason
            line.attempts -= self._interrupted

    def resumed(self, record: StepRecord, data: _Data) -> None:
        line, phase = self._open(), data.phase
        if phase is not None:
            self._cancelling = False
        if phase is not None and data.from_step is not None:
            if line is not None:
                line.end(line.status, record.at)
            self._add(phase.handler, phase.kind, Status.RUNNING, record)
            return
        if phase is not None and self.lines:
            line = self.lines[-1]
            # What had failed is done anew.
            line.tasks = {}
            line.ended_at, line.wake_at = None, phase.deadline or phase.wake_at
            if phase.phase != "stepping":
                line.status = Status.WAITING if phase.phase == "waiting" else Status.SLEEPING
                return
        if line is not None:
            line.status, line.error = Status.CANCELLING if self._cancelling else Status.RUNNING, None
            line.attempts = max(line.attempts, data.attempt)

    def cancel_requested(self, record: StepRecord, data: _Data) -> None:
        self._cancelling = True
        line = self._open()
        if line is not None and line.status is Status.RUNNING:
            line.status = Status.CANCELLING

    def _task(self, record: StepRecord, data: _Data) -> None:
        line = self._open()
        if line is None or line.kind in ("wait", "sleep"):
            return
        task = line.tasks.setdefault(data.key, _Task(data.name))
        task.attempt, task.retry_at = data.attempt, data.retry_at
        task.max_attempts = data.max_attempts or task.max_attempts
        if record.kind in ("task.completed", "task.failed"):
            task.open = False
        if record.kind == "task.failed":
            task.error = str(data.error)

    def _closed(self, record: StepRecord, data: _Data) -> None:
        line = self._open()
        if line is not None:
            line.attempts -= self._interrupted
            line.end(_CLOSINGS[record.kind], record.at)
        if self.lines and data.error is not None and self.lines[-1].status is Status.FAILED:
            self.lines[-1].error = self.lines[-1].error or str(data.error)

    def _add(self, name: str, kind: str, status: Status, record: StepRecord) -> _Line:
        line = _Line(name, kind, status, record.at, record.seq)
        self.lines.append(line)
        return line


_RECORDS: dict[str, Callable[[_Reading, StepRecord, Any], None]] = {
    "run.started": _Reading.run_started,
    "step.started": _Reading.step_started,
    "step.completed": _Reading.step_completed,
    "step.failed": _Reading.step_failed,
    "step.timed_out": _Reading.step_timed_out,
    "step.interrupted": _Reading.step_interrupted,
    "sleep.recorded": _Reading.sleep_recorded,
    "wait.started": _Reading.wait_started,
    "wait.timed_out": _Reading.wait_timed_out,
    "run.stuck": _Reading.stuck,
    "run.resumed": _Reading.resumed,
    "run.cancel_requested": _Reading.cancel_requested,
}
