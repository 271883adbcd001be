"""The unit that decisions become: the rows of all that was decided in one turn of the loop."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from wfctl.values.failure import Failure
from wfd.core import records as r, state
from wfd.core.state import Run
from wfd.engine.batch import Batch, Change
from wfd.store.batch import follows, take_schedule
from wfd.store.needs import counted
from wfd.store.rows import Changed, InboxRow, RunRow, Unit

_encode = msgspec.json.Encoder().encode
# A step begins on the code that serves its type at that moment; which it then ran on is known when it ends.
_BEGUN = frozenset({r.StepStarted, r.RunResumed})
_ENDED = frozenset({r.StepCompleted, r.StepFailed, r.StepTimedOutRecord, r.StepInterrupted})
# What changes more than the run and its history: the store, the inbox.
_BESIDES = frozenset({r.StepStarted, r.StepCompleted, r.RunResumed, r.EventReceived, r.ChildClosedRecord})
# By type of record: its kind, and whether it is an operation, begins or ends a step, changes more.
_TAKEN: dict[type[r.Record], tuple[str, bool, bool, bool, bool]] = {
    record: (kind, record in r.OPERATIONS, record in _BEGUN, record in _ENDED, record in _BESIDES)
    for kind, record in r.KINDS.items()
}


def unit_of(batches: Iterable[Batch], rev: int) -> tuple[Unit, int]:
    """The rows of these batches, in the order in which they were decided, and the last revision that they take after `rev`.

    What has become of a run is written once, however often it was decided about. Raises StorageError where memory is ahead of
    these: then something was decided and never committed, and memory is not to be believed.
    """
    rows = _Rows(rev)
    for batch in batches:
        for change in batch.changes:
            rows.take(batch, change)
        for _, line in batch.lines:
            rows.rev += 1
            line.rev = rows.rev
            rows.unit.logs.append(line)
        for id, (schedule, before) in batch.schedules.items():
            take_schedule(rows.unit.schedules, id, schedule, before)
    return rows.finish(), rows.rev


class _Rows:
    """`rev` is the newest revision given out."""

    __slots__ = ("_arrived", "_at", "_first", "_gone", "_more", "_reopened", "rev", "unit")

    def __init__(self, rev: int) -> None:
        self.rev = rev
        self.unit = Unit()
        self._first: dict[int, Change] = {}
        # The seq of each run as of the newest decision taken.
        self._at: dict[int, int] = {}
        # Of which runs more than the version tells of what was decided; and which were closed before.
        self._more: set[int] = set()
        self._reopened: set[int] = set()
        self._arrived: dict[tuple[int, int], InboxRow] = {}
        self._gone: dict[tuple[int, int], None] = {}

    def take(self, batch: Batch, change: Change) -> None:
        """The rows of one decision's records. Operations change nothing else of their run: they are read back from its history."""
        live, seq, rev, now = change.live, change.before, self.rev, batch.now
        key, add = live.run.key, self.unit.history.append
        if key not in self._first:
            self._first[key] = change
        elif self._at[key] != seq:
            follows(key, self._at[key], seq)
        if change.reopens:
            self._reopened.add(key)
        for record in change.decision.records:
            seq += 1
            rev += 1
            source = None
            kind, operation, begins, ends, besides = _TAKEN[type(record)]
            if not operation:
                self._more.add(key)
                if begins:
                    source = batch.catalog.owner_of(live.run.workflow_type).source_hash or None
                elif ends:
                    source = live.source or None
                if besides:
                    self._besides(key, seq, now, record)
            elif type(record) is r.ChildStarted and not record.existing:
                self._more.add(key)
            add((rev, key, seq, now, kind, _encode(record).decode(), source))
        self.rev = rev
        self._at[key] = seq

    def _besides(self, key: int, seq: int, now: int, record: r.Record) -> None:
        """What a record changes of the store and the inbox."""
        if type(record) is r.StepStarted:
            # An event that comes and is handed over in one unit never stands in the inbox.
            if record.event is not None and self._arrived.pop((key, record.event), None) is None:
                self._gone[key, record.event] = None
        elif type(record) is r.StepCompleted or type(record) is r.RunResumed:
            store = self.unit.store
            for name in record.deleted:
                store[key, name] = None
            for name, value in record.put.items():
                store[key, name] = bytes(value).decode()
            if type(record) is r.RunResumed:
                for event in record.requeued:
                    payload = bytes(event.payload).decode()
                    self._arrive(InboxRow(key, event.seq, event.at, event.name, payload, event.step))
        elif type(record) is r.EventReceived and record.refused is None:
            self._arrive(InboxRow(key, seq, now, record.name, bytes(record.payload).decode()))
        elif type(record) is r.ChildClosedRecord and record.step is not None and record.refused is None:
            self._arrive(InboxRow(key, seq, now, "child.closed", bytes(record.outcome).decode(), record.step))

    def _arrive(self, row: InboxRow) -> None:
        where = row.run, row.seq
        if where in self._gone:
            del self._gone[where]  # it goes and comes back: on disk it stays
        else:
            self._arrived[where] = row

    def finish(self) -> Unit:
        """The unit, with what has become of each run."""
        unit, more = self.unit, self._more
        unit.inbox_add += self._arrived.values()
        unit.inbox_del += self._gone
        for key, change in self._first.items():
            live, before = change.live, change.before
            run = live.run
            if run.seq != self._at[key]:
                follows(key, run.seq, self._at[key])
            if key not in more:
                unit.runs_passed.append((key, run.seq, before))
                continue
            now = _, status, _, _ = counted(run)
            unit.count(live.counted, now)
            live.counted = now
            if before == 0:
                unit.runs_new.append(row_of(run, status))
            elif key in self._reopened:
                unit.runs_reopened.append(changed_of(run, status, before))
            else:
                unit.runs_changed.append(changed_of(run, status, before))
        return unit


def row_of(run: Run, status: str) -> RunRow:
    """The row of a run that is new: who it is, and what a change has."""
    (
        seq, step, attempt, waiting_for, saved, result, error, reason, children, open_children, queued, _, deadline,
        wake_at, closed_at, key, _,
    ) = changed_of(run, status, 0)  # fmt: skip
    return RunRow(
        key, run.run_id, run.workflow_id, run.workflow_type, None if run.parent is None else run.parent.key, run.root,
        run.depth, bytes(run.input).decode(), run.started_at, deadline, status, wake_at, closed_at, seq, step, attempt,
        waiting_for, saved, result, error, reason, children, open_children, queued, run.on_parent_close,
    )  # fmt: skip


def changed_of(run: Run, status: str, before: int) -> Changed:
    """What changes of a run that was at seq `before` and is in `status`: its saved state, and the columns that queries and
    listings need."""
    phase, step, attempt, reason = run.phase, run.handler, 1, None
    waiting_for = result = error = closed_at = None
    if type(phase) is state.Stepping:
        attempt, reason = phase.attempt, run.cancel
    elif type(phase) is state.Waiting:
        waiting_for = None if phase.names is None else _encode(phase.names).decode()
    elif type(phase) is state.Closed:
        closed_at, reason = phase.at, phase.reason
        error = None if phase.error is None else _failure(phase.error)
        if phase.status == "completed":
            result = bytes(phase.result).decode()
    elif type(phase) is state.Sleeping:
        step = phase.handler
    else:
        assert type(phase) is state.Stuck
        reason, attempt = phase.reason, phase.resume.attempt
    return (
        run.seq, step, attempt, waiting_for, state.dump(run), result, error, reason, run.children, run.open_children,
        len(run.inbox), status, run.deadline, run.wake_at, closed_at, run.key, before,
    )  # fmt: skip


def _failure(error: Failure) -> str:
    return _encode(error).decode()
