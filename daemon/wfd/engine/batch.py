"""Decisions that commit together, and the unit they become.

A batch changes the runs in memory at once, and its unit is submitted before anything else is decided for them: memory is
ahead of the disk by exactly the units on their way, in order.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from wfctl.values.failure import Failure
from wfctl.values.runinfo import ScheduleInfo
from wfctl.values.signature import unbound
from wfctl.values.status import Status
from wfd.core import records as r, state, stimuli as s
from wfd.core.actions import CLOSE
from wfd.core.decide import decide, open_run
from wfd.core.draft import Decision
from wfd.core.state import Raw, Run
from wfd.engine.memory import Live
from wfd.engine.outcomes import child_outcome
from wfd.store.rows import HistoryRow, InboxRow, RunRow, ScheduleRow, Unit
from wfd.supervisor import Catalog

_encode = msgspec.json.Encoder().encode
# A step begins on the code that serves its type at that moment; which it then ran on is known when it ends.
_BEGUN = frozenset({r.StepStarted, r.RunResumed})
# What changes more than the run and its history: the store, the inbox.
_BESIDES = frozenset({r.StepStarted, r.StepCompleted, r.RunResumed, r.EventReceived, r.ChildClosedRecord})
_ENDED = frozenset({r.StepCompleted, r.StepFailed, r.StepTimedOutRecord, r.StepInterrupted})


class Change(msgspec.Struct):
    """One decision for one run; `before` is its seq before it, 0 for a run that is new, and `was` its status, None then.
    `reopens`: it was closed before."""

    live: Live
    before: int
    decision: Decision
    was: Status | None = None
    reopens: bool = False


class Batch:
    """`now` is the instant of all its decisions, `catalog` the code as of then."""

    __slots__ = ("_catalog", "changes", "now", "schedules", "touched")

    def __init__(self, now: int, catalog: Catalog) -> None:
        self.now = now
        self._catalog = catalog
        self.changes: list[Change] = []
        self.touched: dict[int, Live] = {}
        # By ID: a schedule's row (None: it is removed), and the version it had before.
        self.schedules: dict[str, tuple[ScheduleRow | None, int]] = {}

    def open(
        self,
        *,
        key: int,
        run_id: str,
        workflow_id: str,
        workflow_type: str,
        handler: str,
        input: bytes,
        timeout_ms: int | None,
        parent: Live | None = None,
        on_completed_step: str | None = None,
        on_parent_close: str = "abandon",
        begins_at: int | None = None,
        schedule: ScheduleInfo | None = None,
    ) -> Live:
        """A new run, its start handler begun, or to begin at `begins_at`."""
        decision = open_run(
            key=key, run_id=run_id, workflow_id=workflow_id, workflow_type=workflow_type, handler=handler,
            input=Raw(input), timeout_ms=timeout_ms, parent=None if parent is None else parent.run, now=self.now,
            on_completed_step=on_completed_step, on_parent_close=on_parent_close, begins_at=begins_at, schedule=schedule,
        )  # fmt: skip
        live = Live(decision.run, {}, parent)
        live.children = {}
        self._add(live, 0, decision)
        return live

    def decide(self, live: Live, stimulus: s.Stimulus, *, cause: bool = False) -> Decision:
        """What `stimulus` does to `live`. A run that it closes is told to its parent in the same unit.

        `cause` puts it before what the batch has decided for other runs, so that revisions tell causes before effects.
        """
        before = live.run
        known = before.key in self.touched
        decision = decide(before, stimulus, self.now)
        self.touched[before.key] = live
        if decision.records:
            live.run = decision.run
            reopens = before.closed and not decision.run.closed
            self._add(live, before.seq, decision, before.status, first=cause and not known, reopens=reopens)
            if type(stimulus) is s.StepReturned:
                live.write(stimulus.put, stimulus.deleted)
            elif type(stimulus) is s.RetryAsked and stimulus.point is not None:
                live.write(stimulus.point.put, stimulus.point.deleted)
                live.logged = 0
            if reopens and live.parent is not None:
                self.decide(live.parent, s.ChildReopened(before.run_id, before.workflow_id))
        if live.parent is not None and CLOSE in decision.actions:
            self.decide(live.parent, self._child_closed(decision.run, live.parent.run))
        return decision

    def _child_closed(self, run: Run, parent: Run) -> s.ChildClosed:
        step = run.on_completed_step
        if step is None:
            return s.ChildClosed(run.run_id, run.workflow_id, run.status)
        spec = self._catalog.step_handler(parent.workflow_type, "step", step)
        if spec is not None and spec.params:
            outcome = Raw(_encode({spec.params[0].name: child_outcome(run)}))
        else:  # what the parameter is called is known when the code is back, which the parent waits for
            outcome = Raw(unbound(msgspec.Raw(_encode(child_outcome(run))), True))
        return s.ChildClosed(run.run_id, run.workflow_id, run.status, step, outcome)

    def _add(
        self,
        live: Live,
        before: int,
        decision: Decision,
        was: Status | None = None,
        *,
        first: bool = False,
        reopens: bool = False,
    ) -> None:
        self.touched[live.run.key] = live
        change = Change(live, before, decision, was, reopens)
        if first:
            self.changes.insert(0, change)
        else:
            self.changes.append(change)

    def unit(self, next_rev: Callable[[], int]) -> Unit:
        """The rows of all decisions."""
        unit = Unit(schedules=self.schedules)
        bases: dict[int, tuple[int, Status | None]] = {}
        reopened: set[int] = set()
        more: set[int] = set()
        for change in self.changes:
            key = change.live.run.key
            bases.setdefault(key, (change.before, change.was))
            if change.reopens:
                reopened.add(key)
            if not all(map(_only_in_history, change.decision.records)):
                more.add(key)
            self._records(unit, change, next_rev)
        for key, (base, was) in bases.items():
            if key not in more:
                unit.runs_passed.append((key, self.touched[key].run.seq, base))
                continue
            row = row_of(self.touched[key].run)
            unit.count(row.type, was, row.status)
            if base == 0:
                unit.runs_new.append(row)
            elif key in reopened:
                unit.runs_reopened.append((row, base))
            else:
                unit.runs_changed.append((row, base))
        return unit

    def _records(self, unit: Unit, change: Change, next_rev: Callable[[], int]) -> None:
        live, seq = change.live, change.before
        key = live.run.key
        for record in change.decision.records:
            seq += 1
            source = None
            kind = type(record)
            if kind in _BEGUN:
                source = self._catalog.owner_of(live.run.workflow_type).source_hash
            elif kind in _ENDED:
                source = live.source
            row = HistoryRow(next_rev(), key, seq, self.now, record.KIND, r.encode(record), source or None)
            unit.history.append(row)
            if kind not in _BESIDES:
                continue
            if isinstance(record, r.StepStarted):
                if record.event is not None:
                    _take(unit, key, record.event)
            elif isinstance(record, (r.StepCompleted, r.RunResumed)):
                for name in record.deleted:
                    unit.store[key, name] = None
                for name, value in record.put.items():
                    unit.store[key, name] = bytes(value).decode()
                if isinstance(record, r.RunResumed):
                    for event in record.requeued:
                        payload = bytes(event.payload).decode()
                        unit.inbox_add.append(InboxRow(key, event.seq, event.at, event.name, payload, event.step))
            elif isinstance(record, r.EventReceived) and record.refused is None:
                unit.inbox_add.append(InboxRow(key, seq, self.now, record.name, bytes(record.payload).decode()))
            elif isinstance(record, r.ChildClosedRecord) and record.step is not None and record.refused is None:
                outcome = bytes(record.outcome).decode()
                unit.inbox_add.append(InboxRow(key, seq, self.now, "child.closed", outcome, record.step))


def _only_in_history(record: r.Record) -> bool:
    """Whether nothing of the run's row but its version tells of this: its operations are read back from its history."""
    return isinstance(record, r.Operation) and (type(record) is not r.ChildStarted or record.existing)


def _take(unit: Unit, key: int, event: int) -> None:
    """An event that comes and is handed over in one unit never stands in the inbox."""
    for index, row in enumerate(unit.inbox_add):
        if row.run == key and row.seq == event:
            del unit.inbox_add[index]
            return
    unit.inbox_del.append((key, event))


def row_of(run: Run) -> RunRow:
    """The run's row: its saved state, and the columns that queries and listings need."""
    phase = run.phase
    row = RunRow(
        run.key, run.run_id, run.workflow_id, run.workflow_type, None if run.parent is None else run.parent.key,
        run.root, run.depth, bytes(run.input).decode(), run.started_at, run.deadline, str(run.status), run.wake_at,
        None, run.seq, run.handler, 1, None, state.dump(run), None, None, None, run.children, run.open_children,
        len(run.inbox), run.on_parent_close,
    )  # fmt: skip
    match phase:
        case state.Stepping():
            row.attempt = phase.attempt
            row.reason = run.cancel
        case state.Waiting(names=names):
            row.waiting_for = None if names is None else _encode(names).decode()
        case state.Sleeping():
            row.step = phase.handler
        case state.Stuck():
            row.reason, row.attempt = phase.reason, phase.resume.attempt
        case state.Closed():
            row.closed_at, row.reason = phase.at, phase.reason
            row.error = None if phase.error is None else _failure(phase.error)
            if phase.status == "completed":
                row.result = bytes(phase.result).decode()
    return row


def _failure(error: Failure) -> str:
    return _encode(error).decode()
