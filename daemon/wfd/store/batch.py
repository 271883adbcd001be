"""A batch: the units of one commit, coalesced and written with one statement a table.

Each statement gets all its rows as one JSON array. That is not for beauty: the sqlite3 module gives up the interpreter lock
around every step of a statement, and a thread that gives it up while the event loop is busy waits a whole switch interval
to have it back. With a statement a row, 5,000 rows took 4 s beside a busy loop; with a statement a table, 38 ms.

Coalescing: of several versions of a run only the last is written, and checked against the version before the first; a
store key keeps its last value; an event that comes and goes in the batch is never written. The tables end up as if each
unit had been committed alone.
"""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from wfctl.errors import StorageError
from wfd.store import queries
from wfd.store.rows import HistoryRow, InboxRow, LogRow, RunRow, Unit

WRITE = queries.load("write")
_encode = msgspec.json.Encoder().encode
_rev: Callable[[HistoryRow | LogRow], int] = operator.attrgetter("rev")
_ROW_BYTES = 200  # what a row weighs beside its long texts, roughly; only for the size of a batch


class Batch:
    """Collects units with `add`, then `write`s them inside the caller's transaction."""

    __slots__ = ("bytes", "changed", "events", "fresh", "gone", "history", "logs", "store", "units")

    def __init__(self) -> None:
        self.units = 0
        self.bytes = 0
        self.fresh: dict[int, RunRow] = {}
        self.changed: dict[int, tuple[RunRow, int]] = {}
        self.history: list[HistoryRow] = []
        self.logs: list[LogRow] = []
        self.store: dict[tuple[int, str], str | None] = {}
        self.events: dict[tuple[int, int], InboxRow] = {}
        self.gone: list[tuple[int, int]] = []

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
            self.events[event.run, event.seq] = event
            self.bytes += len(event.payload)
        for where in unit.inbox_del:
            if self.events.pop(where, None) is None:
                self.gone.append(where)

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
        """Run the statements; the caller owns the transaction. `after` is the newest revision on disk; returns the new one."""
        newest = self._check_revs(after)
        # Changes before new runs: a workflow ID may have closed and been started again within this batch.
        if self.changed:
            _exact(
                _run(db, "update_runs", self.changed.values()), len(self.changed), "runs to change", "at their version"
            )
        _run(db, "insert_runs", self.fresh.values())
        _run(db, "insert_history", self.history)
        _run(db, "insert_logs", self.logs)
        puts = [(run, key, value) for (run, key), value in self.store.items() if value is not None]
        _run(db, "put_store", puts)
        if len(puts) < len(self.store):
            _run(db, "delete_store", [where for where, value in self.store.items() if value is None])
        _run(db, "insert_inbox", self.events.values())
        if self.gone:
            _exact(_run(db, "delete_inbox", self.gone), len(self.gone), "events to hand over", "in the inbox")
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


def _run(db: sqlite3.Connection, name: str, rows: Iterable[Any]) -> int:
    listed = list(rows)
    if not listed:
        return 0
    data = _encode(listed)
    if b"\\u0000" in data:
        # SQLite's JSON functions end a text at NUL. In JSON columns it is an escape inside an escape and stays.
        data = _encode([_visible(row) for row in msgspec.to_builtins(listed)])
    return db.execute(WRITE[name], (data.decode(),)).rowcount


def _visible(value: Any) -> Any:
    """`value` with NUL characters as the symbol for them. Only a log line or a reason can have one: names are checked."""
    if isinstance(value, str):
        return value.replace("\0", "␀")
    return [_visible(item) for item in value] if isinstance(value, list | tuple) else value


def _exact(count: int, wanted: int, what: str, where: str) -> None:
    if count != wanted:
        raise _bug(f"of {wanted} {what}, {count} were {where}")


def _bug(what: str) -> StorageError:
    return StorageError(f"refused to write what contradicts the database: {what}", hint="report this as a bug")
