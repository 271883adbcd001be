"""A batch: the units of one commit, coalesced, and written with prepared statements.

Coalescing: of several versions of a run only the last is written, and checked against the version before the first; a
store key keeps its last value; an event that comes and goes in the batch is never written. The tables end up as if each
unit had been committed alone.
"""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from wfctl.errors import StorageError
from wfd.store import queries
from wfd.store.rows import CHANGES, Changed, Counted, InboxRow, LogRow, Recorded, RunRow, ScheduleRow, Unit

WRITE = queries.load("write")
# As many rows are added at once: a fifth to a third of what one costs is the statement, which opens the table and all its indexes.
_TOGETHER = 8
# Where a change has what: behind the key and the seq before.
_KEY, _BEFORE, _SEQ = 0, 1, 2
_WAITING, _STATUS, _CLOSED, _ERROR, _REASON, _TIMES = (
    2 + CHANGES.index(name) for name in ("waiting_for", "status", "closed_at", "error", "reason", "deadline")
)
# Where a new run has, as a rule, nothing any more.
_LATER = RunRow.__struct_fields__.index("deadline")
_NOTHING_LATER = (None,) * (len(RunRow.__struct_fields__) - _LATER)
# The indexed columns of open runs by key, as last written: the status, the deadline and the time to wake at.
Standing = dict[int, tuple[str, int | None, int | None]]
MAX_STANDING = 20_000
_rev: Callable[[LogRow], int] = operator.attrgetter("rev")
_tuple: Callable[[Any], tuple[Any, ...]] = msgspec.structs.astuple


def _many(sql: str) -> str:
    """What `sql` does for a row, for eight at once. A row that must not be ends the whole commit, or SQLite would copy each page it
    touches to take these eight back."""
    into, _, rest = sql.partition("values (")
    row, _, more = rest.partition(")")
    rows = ", ".join([f"({row})"] * _TOGETHER)
    return f"{into.replace('insert', 'insert or rollback', 1)}values {rows}{more}"


MANY = {
    name: _many(WRITE[name]) for name in ("run_begun", "run_new", "history_new", "log_new", "value_put", "event_new")
}


class Batch:
    """Collects units with `add`, then `write`s them inside the caller's transaction."""

    __slots__ = ("changed", "events", "fresh", "gone", "history", "logs", "passed", "reopened", "schedules", "store",
                 "totals")  # fmt: skip

    def __init__(self) -> None:
        self.fresh: dict[int, RunRow] = {}
        self.changed: dict[int, Changed] = {}
        self.passed: dict[int, tuple[int, int]] = {}
        self.history: list[Recorded] = []
        self.logs: list[LogRow] = []
        self.store: dict[tuple[int, str], str | None] = {}
        self.events: dict[tuple[int, int], InboxRow] = {}
        self.gone: dict[tuple[int, int], None] = {}
        self.reopened: dict[int, None] = {}
        self.totals: dict[Counted, int] = {}
        self.schedules: dict[str, tuple[ScheduleRow | None, int]] = {}

    @property
    def empty(self) -> bool:
        return not (
            self.history or self.changed or self.passed or self.fresh or self.store or self.events or self.gone or self.logs
            or self.schedules
        )  # fmt: skip

    def add(self, unit: Unit) -> None:
        """Take in the next unit. Raises StorageError where it cannot follow those before it: that is a bug of ours."""
        for row in unit.runs_new:
            if row.key in self.fresh:
                raise _bug(f"run {row.key} is new twice")
            self.fresh[row.key] = row
        changed, fresh, passed = self.changed, self.fresh, self.passed
        for change in unit.runs_changed:
            key = change[_KEY]
            if key in changed or key in fresh or key in passed:
                self._change(change)
            else:
                changed[key] = change
        for change in unit.runs_reopened:
            self._change(change)
            if change[_KEY] in self.changed:
                self.reopened[change[_KEY]] = None
        for key, seq, expected in unit.runs_passed:
            if key in changed or key in fresh or key in passed:
                self._pass(key, seq, expected)
            else:
                passed[key] = seq, expected
        self.history += unit.history
        if unit.logs:
            self.logs += unit.logs
        if unit.store:
            self.store |= unit.store
        for event in unit.inbox_add:
            where = event.run, event.seq
            if where in self.gone:
                del self.gone[where]  # it goes and comes back: on disk it stays
            else:
                self.events[where] = event
        for where in unit.inbox_del:
            if self.events.pop(where, None) is None:
                self.gone[where] = None
        for name, number in unit.totals.items():
            self.totals[name] = self.totals.get(name, 0) + number
        for id, (schedule, expected) in unit.schedules.items():
            take_schedule(self.schedules, id, schedule, expected)

    def _change(self, change: Changed) -> None:
        key, expected = change[_KEY], change[_BEFORE]
        if (row := self.fresh.get(key)) is not None:
            follows(key, row.seq, expected)
            # The rows are the unit's, and stay as they are.
            self.fresh[key] = msgspec.structs.replace(row, **dict(zip(CHANGES, change[_SEQ:], strict=True)))
        elif (before := self.changed.get(key)) is not None:
            follows(key, before[_SEQ], expected)
            self.changed[key] = key, before[_BEFORE], *change[_SEQ:]
        elif (passed := self.passed.pop(key, None)) is not None:
            follows(key, passed[0], expected)
            self.changed[key] = key, passed[1], *change[_SEQ:]
        else:
            self.changed[key] = change

    def _pass(self, key: int, seq: int, expected: int) -> None:
        """Of a run that is in the batch already."""
        if (row := self.fresh.get(key)) is not None:
            follows(key, row.seq, expected)
            self.fresh[key] = msgspec.structs.replace(row, seq=seq)
        elif (before := self.changed.get(key)) is not None:
            follows(key, before[_SEQ], expected)
            self.changed[key] = key, before[_BEFORE], seq, *before[_SEQ + 1 :]
        else:
            passed = self.passed[key]
            follows(key, passed[0], expected)
            self.passed[key] = seq, passed[1]

    def write(self, db: sqlite3.Cursor, after: int, standing: Standing) -> int:
        """Write everything, or raise. `after` is the newest revision on disk; returns the new one."""
        newest = self._check_revs(after)
        self._write_runs(db, standing)
        _put(db, "history_new", self.history)
        if self.logs:
            # A NUL would end the text for whoever reads it with the sqlite3 program.
            _put(db, "log_new", [_tuple(_visible(line)) for line in self.logs])
        if self.store:
            put = [(run, key, value) for (run, key), value in self.store.items() if value is not None]
            _put(db, "value_put", put)
            if len(put) != len(self.store):
                _each(db, "value_deleted", (where for where, value in self.store.items() if value is None))
        if self.events:
            _put(db, "event_new", list(map(_tuple, self.events.values())))
        if self.gone and _each(db, "event_gone", self.gone) != len(self.gone):
            raise _bug("an event that is handed over is not in the inbox")
        for id, (schedule, expected) in self.schedules.items():
            _write_schedule(db, id, schedule, expected)
        if self.totals:
            # A number for whether it is at the top: for a bool Python would look for methods that adapt it.
            changes = [(type, status, +top, needs, by) for (type, status, top, needs), by in self.totals.items() if by]
            _each(db, "total_changed", changes)
        return newest

    def _write_runs(self, db: sqlite3.Cursor, standing: Standing) -> None:
        run_on: list[Changed] = []
        wait_on: list[Changed] = []
        turn: list[Changed] = []
        complete: list[Changed] = []
        close: list[Changed] = []
        change: list[Changed] = []
        open_again: list[Changed] = []
        for key, row in self.changed.items():
            # A slice is made with more work than all of these.
            _, _, _, _, _, _, _, _, _, waiting_for, status, closed_at, result, error, reason, deadline, wake_at = row
            if reason is not None:
                row = (*row[:_REASON], _seen(reason), *row[_REASON + 1 :])
            stood = standing.get(key)
            if stood is None or stood[1] != deadline or stood[2] != wake_at:
                (open_again if key in self.reopened and closed_at is None else change).append(row)
            # What is not bound costs nothing: None costs as much as four numbers, as Python asks how to adapt it.
            elif error is not None or reason is not None:
                close.append(row[:_TIMES])
            elif closed_at is not None or result is not None:
                complete.append(row[:_ERROR])
            elif stood[0] != status:
                turn.append(row[:_CLOSED])
            else:
                if waiting_for is None:
                    run_on.append(row[:_WAITING])
                else:
                    wait_on.append(row[:_STATUS])
                continue
            if closed_at is None:
                standing[key] = status, deadline, wake_at
            else:
                standing.pop(key, None)
        passed = [(key, *seqs) for key, seqs in self.passed.items()]
        # Runs that are open again come last, new ones included: a workflow ID may have closed and been taken again in this batch.
        for name, rows in (
            ("run_changed", change), ("run_closed", close), ("run_completed", complete), ("run_turned", turn),
            ("run_waits_on", wait_on), ("run_runs_on", run_on), ("run_passed", passed), ("run_changed", open_again),
        ):  # fmt: skip
            if rows and _each(db, name, rows) != len(rows):
                raise _bug("a run is not at the version its change was decided on")
        if self.fresh:
            begun: list[tuple[Any, ...]] = []
            whole: list[tuple[Any, ...]] = []
            for key, new in self.fresh.items():
                if new.closed_at is None:
                    standing[key] = new.status, new.deadline, new.wake_at
                values = _tuple(new)
                if values[_LATER:] == _NOTHING_LATER:
                    begun.append(values[:_LATER])
                else:
                    whole.append(values)
            _put(db, "run_begun", begun)
            _put(db, "run_new", whole)
        if len(standing) > MAX_STANDING:
            standing.clear()

    def _check_revs(self, after: int) -> int:
        """Followers ask for what is newer than the last they saw, so a revision must never appear below one that is out."""
        newest = after
        self.history.sort()  # the revision is what they begin with
        self.logs.sort(key=_rev)
        if self.history:
            newest = max(newest, _check_rev(self.history[0][0], after, self.history[-1][0]))
        if self.logs:
            newest = max(newest, _check_rev(self.logs[0].rev, after, self.logs[-1].rev))
        return newest


def take_schedule(
    known: dict[str, tuple[ScheduleRow | None, int]], id: str, row: ScheduleRow | None, expected: int
) -> None:
    """Take a change of a schedule, decided at version `expected`, in with those before it: only the last is written."""
    if id in known:
        before, first = known[id]
        if (0 if before is None else before.version) != expected:
            raise _bug(f"schedule {id!r} is not at the version {expected} its change was decided at")
        expected = first
    known[id] = row, expected


def _check_rev(first: int, after: int, last: int) -> int:
    if first <= after:
        raise _bug(f"revision {first} comes after {after} was committed")
    return last


def _write_schedule(db: sqlite3.Cursor, id: str, row: ScheduleRow | None, expected: int) -> None:
    """Compare and set: that a time is dealt with once rests on it."""
    if row is None:
        done = db.execute(WRITE["schedule_gone"], (id, expected)).rowcount if expected else 1
    elif expected:
        values = (row.version, row.type, row.paused, row.next_at, row.state, id, expected)
        done = db.execute(WRITE["schedule_changed"], values).rowcount
    else:
        done = db.execute(WRITE["schedule_new"], _tuple(row)).rowcount
    if done != 1:
        raise _bug(f"schedule {id!r} is not at the version {expected} its change was decided at")


def _put(db: sqlite3.Cursor, name: str, rows: list[Any]) -> None:
    """Add rows, eight at a time."""
    rest = len(rows) % _TOGETHER
    if len(rows) > rest:
        db.executemany(MANY[name], _joined(rows))
    if rest:
        _each(db, name, rows[-rest:])


def _joined(rows: list[Any]) -> Iterator[list[Any]]:
    """The values of eight rows each; leaves the rest out."""
    for a, b, c, d, e, f, g, h in zip(*[iter(rows)] * _TOGETHER, strict=False):
        yield [*a, *b, *c, *d, *e, *f, *g, *h]


def _each(db: sqlite3.Cursor, name: str, rows: Iterable[Any]) -> int:
    """Run a statement once for each of `rows`; how many rows of the table that touched."""
    return db.executemany(WRITE[name], rows).rowcount


def _visible(line: LogRow) -> LogRow:
    return msgspec.structs.replace(line, message=_seen(line.message)) if "\0" in line.message else line


def _seen(text: str | None) -> str | None:
    """`text` with NUL characters as the symbol for them. Only a log line or a reason can have one: names are checked."""
    return text.replace("\0", "␀") if text and "\0" in text else text


def follows(key: int, at: int, expected: int) -> None:
    """Raises StorageError where a run is not at the seq `expected`."""
    if at != expected:
        raise _bug(f"run {key} is at {at}, its change was decided at {expected}")


def _bug(what: str) -> StorageError:
    return StorageError(f"refused to write what contradicts the database: {what}", hint="report this as a bug")
