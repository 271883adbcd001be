"""A batch: the units of one commit, coalesced, and written by a single statement.

The statement hands all rows over as JSON to a trigger (`sql/write.sql`). That is not for beauty. The sqlite3 module gives
up the interpreter lock around every step of a statement, and a thread that gives it up while the event loop is busy gets it
back late: after a switch interval at best, and only by luck where the loop polls often. Measured beside a loop that never
idles, 30,000 units took 70 s with a statement a table, more with one a row, and 7 s with one in all (1 to 3 s with
`sys.setswitchinterval(0.0001)`); beside an idle loop 0.9 s.

Coalescing: of several versions of a run only the last is written, and checked against the version before the first; a
store key keeps its last value; an event that comes and goes in the batch is never written. The tables end up as if each
unit had been committed alone.
"""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Callable
from typing import Any

import msgspec

from wfctl.errors import StorageError
from wfd.store import queries
from wfd.store.rows import HistoryRow, InboxRow, LogRow, RunRow, Unit

WRITE = queries.load("write")
# The views and triggers that a commit is made of.
COMMIT = ("batch", "changed_runs", "change_runs", "commit")
_encode = msgspec.json.Encoder().encode
_rev: Callable[[HistoryRow | LogRow], int] = operator.attrgetter("rev")
_ROW_BYTES = 200  # what a row weighs beside its long texts, roughly; only for the size of a batch


class Batch:
    """Collects units with `add`, then `write`s them inside the caller's transaction."""

    __slots__ = (
        "bytes",
        "changed",
        "events",
        "fresh",
        "gone",
        "history",
        "logs",
        "reopened",
        "store",
        "totals",
        "units",
    )

    def __init__(self) -> None:
        self.units = 0
        self.bytes = 0
        self.fresh: dict[int, RunRow] = {}
        self.changed: dict[int, tuple[RunRow, int]] = {}
        self.history: list[HistoryRow] = []
        self.logs: list[LogRow] = []
        self.store: dict[tuple[int, str], str | None] = {}
        self.events: dict[tuple[int, int], InboxRow] = {}
        self.gone: dict[tuple[int, int], None] = {}
        self.reopened: dict[int, None] = {}
        self.totals: dict[tuple[str, str], int] = {}

    @property
    def empty(self) -> bool:
        return not (self.history or self.changed or self.fresh or self.store or self.events or self.gone or self.logs)

    def add(self, unit: Unit) -> None:
        """Take in the next unit. Raises StorageError where it cannot follow those before it: that is a bug of ours."""
        self.units += 1
        for row in unit.runs_new:
            if row.key in self.fresh:
                raise _bug(f"run {row.key} is new twice")
            self.fresh[row.key] = row
            self.bytes += _ROW_BYTES + len(row.input)
        for row, expected in unit.runs_changed:
            self._change(row, expected)
        for row, expected in unit.runs_reopened:
            self._change(row, expected)
            if row.key in self.changed:
                self.reopened[row.key] = None
        for record in unit.history:
            self.bytes += len(record.data)
        self.history += unit.history
        if unit.logs:
            self.logs += unit.logs
            self.bytes += sum(len(line.message) for line in unit.logs)
        if unit.store:
            self.store |= unit.store
            self.bytes += sum(len(value) for value in unit.store.values() if value is not None)
        for event in unit.inbox_add:
            where = event.run, event.seq
            if where in self.gone:
                del self.gone[where]  # it goes and comes back: on disk it stays
            else:
                self.events[where] = event
            self.bytes += len(event.payload)
        for where in unit.inbox_del:
            if self.events.pop(where, None) is None:
                self.gone[where] = None
        for name, change in unit.totals.items():
            self.totals[name] = self.totals.get(name, 0) + change

    def _change(self, row: RunRow, expected: int) -> None:
        key = row.key
        before = self.fresh.get(key)
        first = expected
        if before is not None:
            self.fresh[key] = row
        else:
            earlier = self.changed.get(key)
            if earlier is not None:
                before, first = earlier
            self.changed[key] = (row, first)
        if before is not None and before.seq != expected:
            raise _bug(f"run {key} is at {before.seq}, its change was decided at {expected}")
        self.bytes += _ROW_BYTES + len(row.state) + len(row.result or "") + len(row.error or "")

    def write(self, db: sqlite3.Connection, after: int) -> int:
        """Commit everything, or raise. `after` is the newest revision on disk; returns the new one."""
        newest = self._check_revs(after)
        puts = [(run, key, value) for (run, key), value in self.store.items() if value is not None]
        deletes = [where for where, value in self.store.items() if value is None]
        open_again = {key: self.changed[key] for key in self.reopened if self.changed[key][0].closed_at is None}
        rows = (
            [change for key, change in self.changed.items() if key not in open_again],
            list(open_again.values()),
            list(self.fresh.values()),
            self.history,
            self.logs,
            puts,
            deletes,
            list(self.events.values()),
            list(self.gone),
            [(*name, change) for name, change in self.totals.items() if change],
        )
        db.execute(WRITE["insert"], [_json(table) for table in rows])
        return newest

    def _check_revs(self, after: int) -> int:
        """Followers ask for what is newer than the last they saw, so a revision must never appear below one that is out."""
        newest = after
        for rows in (self.history, self.logs):
            if not rows:
                continue
            rows.sort(key=_rev)
            if rows[0].rev <= after:
                raise _bug(f"revision {rows[0].rev} comes after {after} was committed")
            newest = max(newest, rows[-1].rev)
        return newest


def prepare(db: sqlite3.Connection) -> None:
    """Make what `write` needs on its connection."""
    for name in COMMIT:
        db.execute(WRITE[name])


def _json(rows: list[Any]) -> str | None:
    if not rows:
        return None
    data = _encode(rows)
    if b"\\u0000" in data:
        # SQLite's JSON functions end a text at NUL. In JSON columns it is an escape inside an escape and stays.
        data = _encode([_visible(row) for row in msgspec.to_builtins(rows)])
    return data.decode()


def _visible(value: Any) -> Any:
    """`value` with NUL characters as the symbol for them. Only a log line or a reason can have one: names are checked."""
    if isinstance(value, str):
        return value.replace("\0", "␀")
    return [_visible(item) for item in value] if isinstance(value, list | tuple) else value


def _bug(what: str) -> StorageError:
    return StorageError(f"refused to write what contradicts the database: {what}", hint="report this as a bug")
