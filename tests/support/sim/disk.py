"""What is on the simulated disk: plain tables, and the rules of the schema. A unit that breaks one is a bug of the engine.

Times and files are not known here: `writer` says when something commits, `reader` when it is seen.
"""

from __future__ import annotations

import msgspec

from wfd.core import state
from wfd.core.records import KINDS, Record, decode
from wfd.store.batch import Batch
from wfd.store.rows import CHANGES, Changed, HistoryRow, InboxRow, LogRow, RunRow, ScheduleRow

CLOSED = ("completed", "failed", "cancelled", "terminated", "timed_out")


class BrokenRule(Exception):
    """A commit that the database would refuse as a contradiction."""


class Disk:
    """The tables by run key. Rows are shared with the engine, which never changes a row that it has handed over."""

    def __init__(self) -> None:
        self.runs: dict[int, RunRow] = {}
        self.history: dict[int, list[HistoryRow]] = {}
        self.logs: dict[int, list[LogRow]] = {}
        self.store: dict[int, dict[str, str]] = {}
        self.meta: dict[str, str] = {}
        self.schedules: dict[str, ScheduleRow] = {}
        self.inbox: dict[int, dict[int, InboxRow]] = {}
        self.children: dict[int, list[int]] = {}
        self.open_ids: dict[str, int] = {}
        self.run_ids: dict[str, int] = {}
        self.rev = 0
        self.commits = 0
        self._decoded: dict[int, Record] = {}

    # -- one commit ----------------------------------------------------------------------------

    def commit(self, batch: Batch) -> None:
        """All of it, or BrokenRule and nothing that could still be used."""
        newest = self._check_revs(batch)
        # Changes first: an ID may have closed and been started again within the batch, or its run re-opened.
        for key, change in sorted(batch.changed.items(), key=lambda change: change[0] in batch.reopened):
            self._change(key, change, reopened=key in batch.reopened)
        for key, (seq, expected) in batch.passed.items():
            before = self.runs.get(key)
            at = None if before is None else before.seq
            _holds(at == expected, f"run {key} is at {at}, its operations were decided at {expected}")
            assert before is not None
            self.runs[key] = msgspec.structs.replace(before, seq=seq)
        for row in batch.fresh.values():
            self._create(row)
        for record in (HistoryRow(*recorded) for recorded in batch.history):
            rows = self.history.setdefault(record.run, [])
            _holds(record.seq == len(rows) + 1, f"record {record.seq} of run {record.run} follows number {len(rows)}")
            _holds(record.kind in KINDS, f"unknown kind {record.kind}")
            rows.append(record)
        for line in batch.logs:
            self.logs.setdefault(line.run, []).append(line)
        for (run, key), value in batch.store.items():
            if value is None:
                self.store.setdefault(run, {}).pop(key, None)
            else:
                self.store.setdefault(run, {})[key] = value
        for event in batch.events.values():
            inbox = self.inbox.setdefault(event.run, {})
            _holds(event.seq not in inbox, f"event {event.seq} of run {event.run} is in the inbox twice")
            inbox[event.seq] = event
        for run, seq in batch.gone:
            gone = self.inbox.get(run, {}).pop(seq, None)
            _holds(gone is not None, f"event {seq} of run {run} is handed over and not in the inbox")
        for id, (schedule, expected) in batch.schedules.items():
            self._change_schedule(id, schedule, expected)
        self._check_touched(batch)
        self.rev = newest
        self.commits += 1

    def _change_schedule(self, id: str, row: ScheduleRow | None, expected: int) -> None:
        before = self.schedules.pop(id, None)
        at = 0 if before is None else before.version
        _holds(at == expected, f"schedule {id} is at {at}, its change was decided at {expected}")
        if row is not None:
            self.schedules[id] = row

    def _check_revs(self, batch: Batch) -> int:
        newest = self.rev
        for rev in sorted([*(record[0] for record in batch.history), *(line.rev for line in batch.logs)]):
            _holds(rev > newest, f"revision {rev} comes after {newest}")
            newest = rev
        return newest

    def _change(self, key: int, change: Changed, *, reopened: bool) -> None:
        before, expected = self.runs.get(key), change[1]
        at = None if before is None else before.seq
        _holds(at == expected, f"run {key} is at {at}, its change was decided at {expected}")
        assert before is not None
        row = msgspec.structs.replace(before, **dict(zip(CHANGES, change[2:], strict=True)))
        stays = before.closed_at is None or row.status == before.status or reopened
        _holds(stays, f"run {row.key} was {before.status}")
        self.runs[row.key] = row
        if before.closed_at is None and row.closed_at is not None:
            del self.open_ids[row.workflow_id]
        elif before.closed_at is not None and row.closed_at is None:
            _holds(row.workflow_id not in self.open_ids, f"workflow ID {row.workflow_id} has two open runs")
            self.open_ids[row.workflow_id] = row.key
        _check_row(row)

    def _create(self, row: RunRow) -> None:
        _holds(row.key not in self.runs, f"run {row.key} is there already")
        _holds(row.run_id not in self.run_ids, f"run ID {row.run_id} is used twice")
        _holds(row.parent is None or row.parent in self.runs, f"run {row.key} has no parent {row.parent}")
        self.runs[row.key] = row
        self.run_ids[row.run_id] = row.key
        if row.closed_at is None:
            taken = self.open_ids.setdefault(row.workflow_id, row.key)
            _holds(taken == row.key, f"workflow ID {row.workflow_id} has two open runs")
        if row.parent is not None:
            self.children.setdefault(row.parent, []).append(row.key)
        _check_row(row)

    def _check_touched(self, batch: Batch) -> None:
        for key in (*batch.fresh, *batch.changed, *batch.passed):
            row = self.runs[key]
            last = len(self.history.get(key, ()))
            _holds(row.seq == last, f"run {key} is at {row.seq}, its history at {last}")
            _holds(row.queued == len(self.inbox.get(key, ())), f"run {key} counts {row.queued} events in its inbox")

    # -- looking at it -------------------------------------------------------------------------

    def records(self, key: int, after: int = 0) -> list[tuple[HistoryRow, Record]]:
        """The run's records after number `after`, as the core reads them."""
        return [(row, self._record(row)) for row in self.history.get(key, [])[after:]]

    def _record(self, row: HistoryRow) -> Record:
        record = self._decoded.get(row.rev)
        if record is None:
            record = self._decoded[row.rev] = decode(row.kind, row.data)
        return record

    def phase(self, key: int) -> state.Phase:
        return state.parse(self.runs[key].state).phase


def _holds(rule: bool, what: str) -> None:
    if not rule:
        raise BrokenRule(what)


def _check_row(row: RunRow) -> None:
    """The checks of the schema."""
    closed = row.status in CLOSED
    _holds((row.closed_at is not None) == closed, f"run {row.key} is {row.status}, closed at {row.closed_at}")
    _holds(row.wake_at is None or not closed, f"closed run {row.key} has a deadline")
    _holds(row.status != "sleeping" or row.wake_at is not None, f"run {row.key} sleeps for ever")
    _holds(row.status != "stuck" or row.reason is not None, f"run {row.key} is stuck for no reason")
    _holds(row.status == "waiting" or row.waiting_for is None, f"run {row.key} is {row.status} and waits")
    _holds(row.status == "completed" or row.result is None, f"run {row.key} is {row.status} with a result")
    _holds(row.error is None or closed, f"open run {row.key} has an error")
    _holds(0 <= row.open_children <= row.children, f"run {row.key}: {row.open_children} of {row.children} open")
    _holds(row.on_parent_close in ("abandon", "cancel", "terminate"), f"run {row.key}: {row.on_parent_close}")
    _holds((row.parent is None) == (row.root == row.key) == (row.depth == 0), f"run {row.key} has no place in a tree")
