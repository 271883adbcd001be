"""A run's course as its history tells it: the steps that led to where it is, and the points from which it can go on. Pure.

A run that went back to an earlier step has left those after it behind: they are in the history, and not in the course.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from wfd.core import records as r
from wfd.core.state import EMPTY, Event, Raw, Sleeping, Stepping, Waiting
from wfd.core.stimuli import Point


class Execution(msgspec.Struct):
    """A step of the course. `seq` is the record that began it, `attempt` the newest, `event` what was handed over to it."""

    step: int
    kind: str
    handler: str
    seq: int
    event: int | None = None
    attempt: int = 1


class Course:
    """`take` every record that `KINDS` names, oldest first; then ask for points. `seq` is the run's newest record.

    `steps` are those of the course, `standing` is what the run was in last: a closed run, before it closed.
    """

    def __init__(self, seq: int) -> None:
        self.steps: list[Execution] = []
        self.standing: Execution | Waiting | Sleeping | None = None
        self._seq = seq
        self._begun = 0
        self._changes: list[tuple[int, dict[str, Raw], list[str]]] = []
        self._events: dict[int, Event] = {}
        # What children reported while this run was closed.
        self._missed: dict[int, tuple[str, Event]] = {}

    def take(self, seq: int, at: int, record: r.Record) -> None:
        match record:
            case r.RunStarted(begins_at=int() as begins_at):
                self.standing = Sleeping(0, record.handler or "", begins_at, "start")
            case r.StepStarted():
                self._begin(Execution(record.step, record.kind, record.handler, seq, record.event))
            case r.StepInterrupted():
                self.steps[-1].attempt = record.attempt + 1
            case r.StepCompleted():
                self._changes.append((seq, record.put, record.deleted))
                if record.wake_at is not None:
                    self.standing = Sleeping(record.step, record.handler or "", record.wake_at)
            case r.WaitStarted():
                names = None if record.names is None else tuple(record.names)
                self.standing = Waiting(self._begun, at, names, record.deadline, record.on_timeout)
            case r.EventReceived():
                self._report(record.refused, record.sender or "", Event(seq, record.name, record.payload, at))
            case r.ChildClosedRecord(step=str() as step):
                self._report(record.refused, record.run_id, Event(seq, "child.closed", record.outcome, at, step))
            case r.ChildResumed():
                # Its end is told once more: an earlier one that nobody heard is out of date.
                for missed, (child, event) in list(self._missed.items()):
                    if child == record.run_id and event.step is not None:
                        del self._missed[missed]
            case r.RunResumed():
                self._resumed(seq, record)

    def _begin(self, execution: Execution) -> None:
        self.steps.append(execution)
        self.standing = execution
        self._begun = execution.step

    def _report(self, refused: str | None, sender: str, event: Event) -> None:
        if refused is None:
            self._events[event.seq] = event
        elif event.step is not None or refused == "parent_closed":
            self._missed[event.seq] = sender, event

    def _resumed(self, seq: int, record: r.RunResumed) -> None:
        phase = record.phase
        if phase is None:
            self.steps[-1].attempt = record.attempt
            return
        self._changes.append((seq, record.put, record.deleted))
        for event in record.requeued:
            self._events[event.seq] = event
            self._missed.pop(event.seq, None)
        if not isinstance(phase, Stepping):
            self.standing = phase
        elif record.from_step is None:
            self.steps[-1].attempt = record.attempt
            self.standing = self.steps[-1]
        else:
            del self.steps[self._index(record.from_step) :]
            self._begin(Execution(phase.step, phase.kind, phase.handler, seq, phase.event))

    def _index(self, step: int) -> int:
        return next(index for index, execution in enumerate(self.steps) if execution.step == step)

    # -- points ------------------------------------------------------------------------------

    def failed(self, records: Iterable[r.Record]) -> Point:
        """Where it stopped: `records` are those of its step, where it stopped in one."""
        standing = self.standing
        assert standing is not None
        missed = self._requeued([])
        if not isinstance(standing, Execution):
            return Point(self._seq, standing, requeued=missed)
        phase = self._stepping(standing, standing.step, standing.attempt + 1)
        put, deleted = self._back_to(standing)
        return Point(self._seq, phase, tuple(records), None, put, deleted, missed)

    def back_to(self, target: Execution) -> Point:
        """The beginning of an earlier step: a new one of its kind, with what it was given and the store it found."""
        phase = self._stepping(target, self._begun + 1, 1)
        put, deleted = self._back_to(target)
        after = self.steps[self._index(target.step) + 1 :]
        again = self._requeued([execution.event for execution in after if execution.event is not None])
        return Point(self._seq, phase, (), target.step, put, deleted, again)

    def find(self, name: str) -> Execution | None:
        """The newest step of the course with this handler, or this number."""
        for execution in reversed(self.steps):
            if execution.handler == name:
                return execution
        return next((execution for execution in self.steps if str(execution.step) == name), None)

    def _stepping(self, of: Execution, step: int, attempt: int) -> Stepping:
        kwargs = EMPTY if of.event is None else self._events[of.event].payload
        return Stepping(step, of.kind, of.handler, of.seq, {}, kwargs, of.event, attempt)

    def _requeued(self, events: list[int]) -> list[Event]:
        """These events, and what children reported in vain, in the order in which they came."""
        found = [self._events[seq] for seq in events] + [event for _, event in self._missed.values()]
        return sorted(found, key=lambda event: event.seq)

    def _back_to(self, target: Execution) -> tuple[dict[str, Raw], list[str]]:
        """What turns the store as it is into the store that `target` found."""
        then = self._store(target.seq)
        now = self._store(self._seq)
        put = {key: value for key, value in then.items() if key not in now or bytes(now[key]) != bytes(value)}
        return put, [key for key in now if key not in then]

    def _store(self, seq: int) -> dict[str, Raw]:
        store: dict[str, Raw] = {}
        for when, put, deleted in self._changes:
            if when <= seq:
                for key in deleted:
                    store.pop(key, None)
                store.update(put)
        return store


KINDS: tuple[str, ...] = tuple(
    record.KIND
    for record in (
        r.RunStarted,
        r.StepStarted,
        r.StepInterrupted,
        r.StepCompleted,
        r.WaitStarted,
        r.EventReceived,
        r.ChildClosedRecord,
        r.ChildResumed,
        r.RunResumed,
    )
)
