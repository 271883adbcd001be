"""The unit that decisions become: the rows of all that was decided in one turn of the loop, or in a part of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from wfctl.values.status import Status
from wfd.core import records as r
from wfd.core.state import Closed, Raw, Run, Sleeping, Stepping, Stuck, Waiting, dump
from wfd.engine.batch import Batch, Change
from wfd.engine.memory import Live
from wfd.store.batch import follows, take_schedule
from wfd.store.needs import counted
from wfd.store.rows import Changed, InboxRow, RunRow, Unit

_encode = msgspec.json.Encoder().encode
_COMPLETED = Status.COMPLETED
# Looked at for every record: one look-up each.
_STARTED, _ENDED, _CHILD_STARTED = r.StepStarted, r.StepCompleted, r.ChildStarted
# What changes the store or the inbox, or is of the code of a step.
_BESIDES = (
    r.StepStarted, r.StepCompleted, r.StepFailed, r.StepTimedOutRecord, r.StepInterrupted, r.RunResumed, r.EventReceived,
    r.ChildClosedRecord,
)  # fmt: skip
# By type of record: its kind, and whether it is one of those, or an operation.
_TAKEN: dict[type[r.Record], tuple[str, bool, bool]] = {
    record: (kind, record in _BESIDES, record in r.OPERATIONS) for kind, record in r.KINDS.items()
}


def unit_of(batches: Iterable[Batch], rev: int) -> tuple[Unit, int]:
    """The rows of these batches, in the order in which they were decided, and the last revision that they take after `rev`.

    What has become of a run is written once, however often it was decided about. Raises StorageError where memory is ahead of
    these: then something was decided and never committed, and memory is not to be believed.
    """
    rows = _Rows()
    rev = rows.take(batches, rev)
    return rows.finish(), rev


class _Rows:
    __slots__ = ("_arrived", "_first", "_gone", "_newest", "_passed", "_reopened", "unit")

    def __init__(self) -> None:
        self.unit = Unit()
        # By run, the newest decision taken; where that is not the first, the seq before that one, and whether it was closed then.
        self._newest: dict[int, Change] = {}
        self._first: dict[int, int] = {}
        self._reopened: set[int] = set()
        # Of which runs nothing but the version tells of what was decided.
        self._passed: set[int] = set()
        self._arrived: dict[tuple[int, int], InboxRow] = {}
        self._gone: dict[tuple[int, int], None] = {}

    def take(self, batches: Iterable[Batch], rev: int) -> int:
        """The rows of all that was decided and logged after revision `rev`; the newest they take. Operations change nothing else of
        their run: they are read back from its history."""
        unit, newest, passed = self.unit, self._newest, self._passed
        add, encode = unit.history.append, _encode
        record: Any  # of the class that it is looked up by
        for batch in batches:
            now = batch.now
            for change in batch.changes:
                live, decision = change.live, change.decision
                key, seq = live.run.key, decision.before
                again = key in newest
                if again:
                    self._again(key, seq)
                newest[key] = change
                for record in decision.records:
                    seq += 1
                    rev += 1
                    what = type(record)
                    kind, besides, operation = _TAKEN[what]
                    if not besides:
                        source = None
                    elif what is _STARTED:
                        # That which serves its type at this moment; what it then ran on is known when it ends.
                        owner = batch.catalog.owners.get(live.run.workflow_type)
                        source = (owner or batch.catalog).source_hash or None
                        if record.event is not None:
                            self._hand_over(key, record.event)
                    elif what is _ENDED:
                        source = live.source or None
                        if record.put or record.deleted:
                            self._written(key, record.put, record.deleted)
                    else:
                        source = self._besides(batch, live, key, seq, record)
                    add((rev, key, seq, now, kind, encode(record).decode(), source))
                # An operation is decided by itself.
                if not operation or (what is _CHILD_STARTED and not record.existing):
                    if again:
                        passed.discard(key)
                elif not again:
                    passed.add(key)
            if batch.lines:
                for _, line in batch.lines:
                    rev += 1
                    line.rev = rev
                    unit.logs.append(line)
            if batch.schedules is not None:
                for id, (schedule, before) in batch.schedules.items():
                    take_schedule(unit.schedules, id, schedule, before)
        return rev

    def _again(self, key: int, seq: int) -> None:
        """More was decided about a run, at `seq`."""
        before = self._newest[key]
        follows(key, before.decision.run.seq, seq)
        self._first.setdefault(key, before.decision.before)
        if before.reopens:
            self._reopened.add(key)

    def _besides(self, batch: Batch, live: Live, key: int, seq: int, record: r.Record) -> str | None:
        """Take what a rarer record changes of the store and the inbox. The hash of the code that a step goes on with, or has ended
        on."""
        if type(record) is r.EventReceived:
            if record.refused is None:
                self._arrive(InboxRow(key, seq, batch.now, record.name, str(record.payload, "utf-8")))
        elif type(record) is r.ChildClosedRecord:
            if record.step is not None and record.refused is None:
                outcome = str(record.outcome, "utf-8")
                self._arrive(InboxRow(key, seq, batch.now, "child.closed", outcome, record.step))
        elif type(record) is r.RunResumed:
            self._written(key, record.put, record.deleted)
            for event in record.requeued:
                payload = str(event.payload, "utf-8")
                self._arrive(InboxRow(key, event.seq, event.at, event.name, payload, event.step))
            return batch.catalog.owner_of(live.run.workflow_type).source_hash or None
        else:
            return live.source or None
        return None

    def _written(self, key: int, put: Mapping[str, Raw], deleted: Sequence[str]) -> None:
        store = self.unit.store
        if deleted:
            for name in deleted:
                store[key, name] = None
        for name, value in put.items():
            store[key, name] = str(value, "utf-8")

    def _hand_over(self, key: int, event: int) -> None:
        # One that comes and is handed over in one unit never stands in the inbox.
        if self._arrived.pop((key, event), None) is None:
            self._gone[key, event] = None

    def _arrive(self, row: InboxRow) -> None:
        where = row.run, row.seq
        if where in self._gone:
            del self._gone[where]  # it goes and comes back: on disk it stays
        else:
            self._arrived[where] = row

    def finish(self) -> Unit:
        """The unit, with what has become of each run."""
        unit, first, passed, reopened = self.unit, self._first, self._passed, self._reopened
        changed = unit.runs_changed.append
        unit.inbox_add += self._arrived.values()
        unit.inbox_del += self._gone
        for key, change in self._newest.items():
            live, decision = change.live, change.decision
            run, before = live.run, decision.before
            if run is not decision.run:
                follows(key, run.seq, decision.run.seq)
            if key in first:
                before = first[key]
            if key in passed:
                unit.runs_passed.append((key, run.seq, before))
                continue
            now = counted(run)
            if now != live.counted:
                unit.count(live.counted, now)
                live.counted = now
            status = now[1]
            if before == 0:
                unit.runs_new.append(row_of(run, status))
            elif change.reopens or key in reopened:
                unit.runs_reopened.append(changed_of(run, status, before))
            else:
                changed(changed_of(run, status, before))
        return unit


def row_of(run: Run, status: str) -> RunRow:
    """The row of a run that is new: who it is, and what a change has."""
    (
        key, _, seq, step, attempt, saved, children, open_children, queued, waiting_for, _, closed_at, result, error, reason,
        deadline, wake_at,
    ) = changed_of(run, status, 0)  # fmt: skip
    return RunRow(
        key, run.run_id, run.workflow_id, run.workflow_type, None if run.parent is None else run.parent.key, run.root,
        run.depth, str(run.input, "utf-8"), run.started_at, run.on_parent_close, status, seq, step, attempt, saved, children,
        open_children, queued, deadline, wake_at, closed_at, waiting_for, result, error, reason,
    )  # fmt: skip


def changed_of(run: Run, status: str, before: int) -> Changed:
    """What changes of a run that was at seq `before` and is in `status`: its saved state, and the columns that queries and
    listings need."""
    phase, deadline = run.phase, run.deadline
    if type(phase) is Stepping:  # as nearly all
        return (
            run.key, before, run.seq, run.handler, phase.attempt, dump(run), run.children, run.open_children,
            len(run.inbox), None, status, None, None, None, run.cancel, deadline, deadline,
        )  # fmt: skip
    step, attempt = run.handler, 1
    waiting_for = result = error = reason = closed_at = wake_at = None
    if type(phase) is Closed:
        closed_at, reason = phase.at, phase.reason
        if phase.error is not None:
            error = _encode(phase.error).decode()
        if phase.status is _COMPLETED:
            result = str(phase.result, "utf-8")
    else:
        wake_at = run.wake_at
        if type(phase) is Waiting:
            waiting_for = None if phase.names is None else _encode(phase.names).decode()
        elif type(phase) is Sleeping:
            step = phase.handler
        else:
            assert type(phase) is Stuck
            reason, attempt = phase.reason, phase.resume.attempt
    return (
        run.key, before, run.seq, step, attempt, dump(run), run.children, run.open_children, len(run.inbox), waiting_for,
        status, closed_at, result, error, reason, deadline, wake_at,
    )  # fmt: skip
