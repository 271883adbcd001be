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
from wfd.core import records as r, state, stimuli as s
from wfd.core.actions import CLOSE
from wfd.core.decide import decide, open_run
from wfd.core.draft import Decision
from wfd.core.state import Raw, Run
from wfd.engine.memory import Live
from wfd.engine.outcomes import child_outcome
from wfd.store.needs import counted
from wfd.store.rows import Changed, InboxRow, RunRow, ScheduleRow, Unit
from wfd.supervisor import Catalog

_encode = msgspec.json.Encoder().encode
# A step begins on the code that serves its type at that moment; which it then ran on is known when it ends.
_BEGUN = frozenset({r.StepStarted, r.RunResumed})
# What changes more than the run and its history: the store, the inbox.
_BESIDES = frozenset({r.StepStarted, r.StepCompleted, r.RunResumed, r.EventReceived, r.ChildClosedRecord})
_OPERATIONS = frozenset(r.OPERATIONS)
_ENDED = frozenset({r.StepCompleted, r.StepFailed, r.StepTimedOutRecord, r.StepInterrupted})


class Change(msgspec.Struct):
    """One decision for one run; `before` is its seq before it, 0 for a run that is new. `reopens`: it was closed before."""

    live: Live
    before: int
    decision: Decision
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
            self._add(live, before.seq, decision, first=cause and not known, reopens=reopens)
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
        *,
        first: bool = False,
        reopens: bool = False,
    ) -> None:
        self.touched[live.run.key] = live
        change = Change(live, before, decision, reopens)
        if first:
            self.changes.insert(0, change)
        else:
            self.changes.append(change)

    def unit(self, next_rev: Callable[[], int]) -> Unit:
        """The rows of all decisions."""
        unit = Unit(schedules=self.schedules)
        first: dict[int, Change] = {}
        reopened: set[int] = set()
        more: set[int] = set()
        for change in self.changes:
            key = change.live.run.key
            first.setdefault(key, change)
            if change.reopens:
                reopened.add(key)
            if self._records(unit, change, next_rev):
                more.add(key)
        for key, change in first.items():
            live, before = self.touched[key], change.before
            run = live.run
            if key not in more:
                unit.runs_passed.append((key, run.seq, before))
                continue
            now = counted(run)
            unit.count(live.counted, now)
            live.counted = now
            if before == 0:
                unit.runs_new.append(row_of(run))
            elif key in reopened:
                unit.runs_reopened.append(changed_of(run, before))
            else:
                unit.runs_changed.append(changed_of(run, before))
        return unit

    def _records(self, unit: Unit, change: Change, next_rev: Callable[[], int]) -> bool:
        """The rows of one decision's records; whether more of the run's row tells of them than its version. Its operations do not:
        they are read back from its history."""
        live, seq, more = change.live, change.before, False
        key, now, history = live.run.key, self.now, unit.history
        for record in change.decision.records:
            seq += 1
            source = None
            kind = type(record)
            if kind not in _OPERATIONS:
                more = True
                if kind in _BEGUN:
                    source = self._catalog.owner_of(live.run.workflow_type).source_hash or None
                elif kind in _ENDED:
                    source = live.source or None
            elif isinstance(record, r.ChildStarted) and not record.existing:
                more = True
            history.append((next_rev(), key, seq, now, kind.KIND, r.encode(record), source))
            if kind in _BESIDES:
                self._besides(unit, key, seq, record)
        return more

    def _besides(self, unit: Unit, key: int, seq: int, record: r.Record) -> None:
        """What a record changes of the store and the inbox."""
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


def _take(unit: Unit, key: int, event: int) -> None:
    """An event that comes and is handed over in one unit never stands in the inbox."""
    for index, row in enumerate(unit.inbox_add):
        if row.run == key and row.seq == event:
            del unit.inbox_add[index]
            return
    unit.inbox_del.append((key, event))


def row_of(run: Run) -> RunRow:
    """The row of a run that is new: who it is, and what a change has."""
    (
        seq, step, attempt, waiting_for, saved, result, error, reason, children, open_children, queued, status, deadline,
        wake_at, closed_at, key, _,
    ) = changed_of(run, 0)  # fmt: skip
    return RunRow(
        key, run.run_id, run.workflow_id, run.workflow_type, None if run.parent is None else run.parent.key, run.root,
        run.depth, bytes(run.input).decode(), run.started_at, deadline, status, wake_at, closed_at, seq, step, attempt,
        waiting_for, saved, result, error, reason, children, open_children, queued, run.on_parent_close,
    )  # fmt: skip


def changed_of(run: Run, before: int) -> Changed:
    """What changes of a run that was at seq `before`: its saved state, and the columns that queries and listings need."""
    phase, step, attempt, reason = run.phase, run.handler, 1, None
    waiting_for = result = error = closed_at = None
    if isinstance(phase, state.Stepping):
        attempt, reason = phase.attempt, run.cancel
    elif isinstance(phase, state.Waiting):
        waiting_for = None if phase.names is None else _encode(phase.names).decode()
    elif isinstance(phase, state.Closed):
        closed_at, reason = phase.at, phase.reason
        error = None if phase.error is None else _failure(phase.error)
        if phase.status == "completed":
            result = bytes(phase.result).decode()
    elif isinstance(phase, state.Sleeping):
        step = phase.handler
    else:
        reason, attempt = phase.reason, phase.resume.attempt
    return (
        run.seq, step, attempt, waiting_for, state.dump(run), result, error, reason, run.children, run.open_children,
        len(run.inbox), run.status, run.deadline, run.wake_at, closed_at, run.key, before,
    )  # fmt: skip


def _failure(error: Failure) -> str:
    return _encode(error).decode()
