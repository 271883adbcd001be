"""Reads: a few read-only connections, each on its own thread through aiosqlite. Never writes, never checkpoints.

This module holds what the engine needs to go on with its runs; what people look at is in `browse.py`.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiosqlite
import msgspec

from wfctl.errors import StorageError
from wfd.runtime.lifecycle import Service
from wfd.store import queries
from wfd.store.connect import BUSY_MS, explain, read_only_uri
from wfd.store.rows import HistoryRow, InboxRow, Loaded, Match, RunRef, RunRow, ScheduleRow

READ = queries.load("read")
_VIEW = queries.load("needs")["view"]
MIN_PREFIX = 4
MAX_CANDIDATES = 6
_CONNECTIONS = 2
_CHUNK = 20_000
STILL_S = 0.5
_RUN_COLUMNS = len(RunRow.__struct_fields__)
_pairs = msgspec.json.Decoder(list[tuple[str, str]])
_events = msgspec.json.Decoder(list[InboxRow])

Row = tuple[Any, ...]


class Snapshot:
    """A connection inside one read transaction: all its queries see the same commit."""

    __slots__ = ("_db",)

    def __init__(self, db: aiosqlite.Connection) -> None:
        self._db = db

    async def all(self, sql: str, parameters: Iterable[Any] | dict[str, Any] = ()) -> list[Row]:
        rows: list[Row] = list(await self._db.execute_fetchall(sql, parameters))  # type: ignore[arg-type]
        return rows

    async def one(self, sql: str, parameters: Iterable[Any] | dict[str, Any] = ()) -> Row | None:
        rows = await self.all(sql, parameters)
        return rows[0] if rows else None


class Reader(Service):
    """To be started after the writer, which makes the file, and stopped before it.

    `uri` is how the file is opened where no writer has it.
    """

    def __init__(self, path: Path, uri: str | None = None) -> None:
        super().__init__()
        self.path = path
        self._uri = uri or read_only_uri(path)
        self._connections = 0
        self._free: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()

    async def _start(self) -> None:
        try:
            for _ in range(_CONNECTIONS):
                db = await aiosqlite.connect(self._uri, uri=True, isolation_level=None, timeout=BUSY_MS / 1_000)
                self._connections += 1
                self._free.put_nowait(db)
                await db.execute(_VIEW)
        except (sqlite3.Error, OSError) as error:
            await self._stop()
            raise explain(error, self.path, "read") from error

    async def _stop(self) -> None:
        count, self._connections = self._connections, 0
        for _ in range(count):
            # Behind those who waited before: reads that were asked for in time are answered.
            await (await self._free.get()).close()

    async def _take(self) -> aiosqlite.Connection:
        if not self._connections:
            raise StorageError(f"the database {self.path} is closed", path=str(self.path))
        return await self._free.get()

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Snapshot]:
        """One read transaction. Keep it short: while it lasts, the log behind it cannot be reused."""
        db = await self._take()
        try:
            try:
                await db.execute("begin")
                yield Snapshot(db)
            finally:
                # The connection's thread does things in order, so this also ends what a cancelled caller had begun, even the
                # `begin` that it did not wait for. Without a transaction it does nothing.
                await db.rollback()
        except (sqlite3.Error, OSError) as error:
            raise explain(error, self.path, "read") from error
        finally:
            self._free.put_nowait(db)

    @asynccontextmanager
    async def stillness(self) -> AsyncIterator[None]:
        """Nothing is read meanwhile: who wants to read waits. Raises TimeoutError where a read takes longer than `STILL_S`."""
        taken: list[aiosqlite.Connection] = []
        try:
            try:
                async with asyncio.timeout(STILL_S):
                    while len(taken) < self._connections:
                        taken.append(await self._take())
            except TimeoutError:
                raise TimeoutError(f"a read of the daemon's own takes longer than {STILL_S:g} s") from None
            yield
        finally:
            for db in taken:
                self._free.put_nowait(db)

    async def all(self, sql: str, parameters: Iterable[Any] | dict[str, Any] = ()) -> list[Row]:
        """The rows of one statement, which is a snapshot by itself."""
        db = await self._take()
        try:
            return await Snapshot(db).all(sql, parameters)
        except (sqlite3.Error, OSError) as error:
            raise explain(error, self.path, "read") from error
        finally:
            self._free.put_nowait(db)

    # -- runs ----------------------------------------------------------------------------------

    async def load_run(self, key: int) -> Loaded | None:
        """The run with its store and inbox, or None."""
        rows = await self.all(READ["load_run"], (key,))
        return _loaded(rows[0]) if rows else None

    async def load_in(self, snapshot: Snapshot, key: int) -> Loaded | None:
        """As `load_run`, in a snapshot that is read for other things too."""
        row = await snapshot.one(READ["load_run"], (key,))
        return None if row is None else _loaded(row)

    async def history_in(self, snapshot: Snapshot, key: int, seq: int) -> list[HistoryRow]:
        """As `history_after`, in a snapshot."""
        return [HistoryRow(*row) for row in await snapshot.all(READ["history_after"], (key, seq))]

    async def history_after(self, key: int, seq: int) -> list[HistoryRow]:
        """The run's records after number `seq`, oldest first."""
        return [HistoryRow(*row) for row in await self.all(READ["history_after"], (key, seq))]

    async def course(self, key: int, kinds: Iterable[str]) -> list[HistoryRow]:
        """The run's records of these kinds, oldest first."""
        names = msgspec.json.encode(list(kinds)).decode()
        return [HistoryRow(*row) for row in await self.all(READ["course"], (key, names))]

    async def logged_since(self, key: int, seq: int) -> list[tuple[str, str]]:
        """Level and message of the lines that the run has logged since its record number `seq`."""
        return [(level, message) for level, message in await self.all(READ["logged_since"], (key, seq))]

    async def find_child(self, parent_key: int, workflow_id: str) -> RunRow | None:
        """The newest run of `workflow_id` that this parent run started, or None."""
        rows = await self.all(READ["find_child"], (workflow_id, parent_key))
        return RunRow(*rows[0]) if rows else None

    async def children_ids(self, parent_key: int) -> dict[str, tuple[int, str]]:
        """(key, run ID) by workflow ID of all children; where there were several runs of one, the newest."""
        rows = await self.all(READ["children_ids"], (parent_key,))
        return {workflow_id: (key, run_id) for workflow_id, key, run_id in rows}

    async def bound_children(self, parent_key: int) -> list[tuple[int, str]]:
        """(key, "cancel" or "terminate") of open children that do not outlive their parent."""
        return [(key, how) for key, how in await self.all(READ["bound_children"], (parent_key,))]

    async def orphans(self) -> list[tuple[int, str]]:
        """The same of every parent that has closed."""
        return [(key, how) for key, how in await self.all(READ["orphans"])]

    # -- recovery and timers -------------------------------------------------------------------

    async def open_workflow_ids(self) -> dict[str, int]:
        """The key of every open run by its workflow ID, read in chunks so that a hundred thousand do not stop the loop."""
        found: dict[str, int] = {}
        async with self.snapshot() as snapshot:
            after = ""
            while chunk := await snapshot.all(READ["open_workflow_ids"], (after, _CHUNK)):
                found.update(chunk)
                after = chunk[-1][0]
        return found

    async def max_key(self) -> int:
        return await self._number("max_key")

    async def max_rev(self) -> int:
        """The newest revision of history and logs; 0 in a new database."""
        return await self._number("max_rev")

    async def max_run_id(self) -> str | None:
        """The greatest run ID: new ones go on after it even if the clock was set back."""
        value = (await self.all(READ["max_run_id"]))[0][0]
        return None if value is None else str(value)

    async def meta(self, key: str) -> str | None:
        """A fact about the database itself, as the writer noted it."""
        rows = await self.all(READ["meta"], (key,))
        return str(rows[0][0]) if rows else None

    async def _number(self, name: str) -> int:
        return int((await self.all(READ[name]))[0][0])

    async def recoverable(self) -> list[int]:
        """Keys of the runs whose step was with a worker, oldest first: to be dispatched again."""
        async with self.snapshot() as snapshot:
            running = await snapshot.all(READ["runs_of_status"], ("running",))
            cancelling = await snapshot.all(READ["runs_of_status"], ("cancelling",))
        return sorted(key for key, _ in running + cancelling)

    async def stuck_runs(self) -> list[tuple[int, str]]:
        """(key, workflow type) of the stuck runs, oldest first."""
        return [(key, kind) for key, kind in await self.all(READ["runs_of_status"], ("stuck",))]

    async def due(self, now_ms: int, limit: int, after: tuple[int, int] = (0, 0)) -> list[tuple[int, int]]:
        """(wake_at, key) of the next runs whose `wake_at` has come, the longest due first."""
        words = {"now": now_ms, "at": after[0], "key": after[1], "limit": limit}
        return [(at, key) for at, key in await self.all(READ["due"], words)]

    async def next_wake(self, after_ms: int = -1) -> int | None:
        """The earliest `wake_at` of all runs that is later than `after_ms`."""
        value = (await self.all(READ["next_wake"], (after_ms,)))[0][0]
        return None if value is None else int(value)

    # -- schedules -----------------------------------------------------------------------------

    async def schedules(self) -> list[ScheduleRow]:
        """All schedules, by ID."""
        rows = await self.all(READ["schedules"])
        return [
            ScheduleRow(id, version, type, bool(paused), at, state) for id, version, type, paused, at, state in rows
        ]

    async def statuses_of(self, run_ids: Iterable[str]) -> dict[str, str]:
        """The status of each of these runs that is there, by run ID."""
        return dict(await self.all(READ["statuses_of"], (msgspec.json.encode(list(run_ids)).decode(),)))

    # -- ids -----------------------------------------------------------------------------------

    async def resolve(self, text: str, *, exact: bool = False) -> list[Match]:
        """The runs `text` may mean; one if it is clear, none if it is unknown, at most six.

        An exact workflow ID means its open run; then an exact run ID; then the newest run of a workflow ID; then what is alone in
        starting with `text` (at least four characters; case counts in workflow IDs, not in run IDs). With `exact` just the run of
        that run ID.
        """
        if exact:
            return [_match(row) for row in await self.all(READ["by_run_id"], (text,))]
        run_id = text.upper() if text.isascii() else text
        async with self.snapshot() as snapshot:
            named = await snapshot.one(READ["by_workflow_id"], (text,))
            if named is None or _match(named).closed:
                named = await snapshot.one(READ["by_run_id"], (run_id,)) or named
            if named is not None:
                return [_match(named)]
            if len(text) < MIN_PREFIX:
                return []
            found: dict[int, Match] = {}
            for (workflow_id,) in await snapshot.all(READ["workflow_ids_by_prefix"], (text, MAX_CANDIDATES)):
                row = await snapshot.one(READ["by_workflow_id"], (workflow_id,))
                if row is not None:
                    found[row[0]] = _match(row)
            for row in await snapshot.all(READ["by_run_id_prefix"], (run_id, MAX_CANDIDATES)):
                found.setdefault(row[0], _match(row))
        return list(found.values())[:MAX_CANDIDATES]

    async def beginning(self, snapshot: Snapshot, text: str, limit: int, *, open: bool) -> list[int]:
        """The runs whose workflow ID begins with `text`, of each the open one or else the newest, and those whose run ID does, by
        their IDs: the first `limit` of either, and the last. With `open` no run for a workflow ID that has no open one."""
        workflow_ids = "open_keys_beginning" if open else "keys_beginning"
        keys: dict[int, None] = {}
        for name, begun in (
            (workflow_ids, text),
            ("run_ids_beginning", text.upper() if text.isascii() else text),
        ):
            keys.update((key, None) for (key,) in await snapshot.all(READ[name], {"text": begun, "limit": limit}))
        return list(keys)

    async def newest_of(self, workflow_id: str) -> int | None:
        """The open run of this workflow ID, else its newest."""
        rows = await self.all(READ["by_workflow_id"], (workflow_id,))
        return _match(rows[0]).key if rows else None

    async def key_of(self, run_id: str) -> int | None:
        """The run of exactly this run ID, whatever workflow IDs there are."""
        rows = await self.all(READ["by_run_id"], (run_id,))
        return _match(rows[0]).key if rows else None

    async def accepted(self, key: int, event_id: str) -> bool:
        """Whether the run has accepted an event of this ID."""
        return bool(await self.all(READ["event_of_id"], (key, event_id)))

    async def newest_workflow_ids(self, limit: int) -> list[str]:
        """Workflow IDs of the newest runs: where a mistyped one is looked for."""
        return [value for (value,) in await self.all(READ["newest_workflow_ids"], (limit,))]


def _match(row: Row) -> Match:
    key, run_id, workflow_id, closed = row
    return Match(key, run_id, workflow_id, bool(closed))


def _loaded(row: Row) -> Loaded:
    run = RunRow(*row[:_RUN_COLUMNS])
    store, inbox, parent_id, parent_workflow_id, parent_type, root_id = row[_RUN_COLUMNS:]
    parent = None if run.parent is None else RunRef(run.parent, parent_id, parent_workflow_id, parent_type)
    return Loaded(run, dict(_pairs.decode(store)), _events.decode(inbox), parent, root_id)
