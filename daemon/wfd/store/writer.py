"""The one writer: a connection on its own thread, the only one that writes or checkpoints.

Units commit in the order they are submitted. What waits when a commit ends goes into the next, so a lone unit pays one
fsync and a thousand share one. After a failed commit nothing is written any more until `reset`: what memory has decided
since is built on what disk does not have.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from wfctl.errors import StorageError, WfctlError
from wfd.runtime.lifecycle import Service
from wfd.store.batch import WRITE, Batch
from wfd.store.connect import BUSY_MS, connect_writer, explain
from wfd.store.rows import Unit

Done = Callable[[BaseException | None], None]

MAX_UNITS = 2_000
MAX_BYTES = 8 << 20


class WriterStats(msgspec.Struct):
    """Counts since the start: commits, the units in them, and the units of the newest one."""

    commits: int = 0
    units: int = 0
    last_batch: int = 0


class _Work(msgspec.Struct, frozen=True):
    unit: Unit
    done: Done
    term: int


class _Order(msgspec.Struct, frozen=True):
    """Something else for the thread to do in its turn; the answer goes to `future`, on the loop. None: end."""

    run: Callable[[], object] | None
    future: asyncio.Future[object]


class Writer(Service):
    """Made and used on the event loop; `start` opens the database (and creates or migrates it).

    `failure` is why nothing can be written, None while all is well. `before_commit` is for tests: it is called in the
    writer's thread with the number of the commit that is about to happen, and may raise or block.
    """

    def __init__(
        self, path: Path, *, before_commit: Callable[[int], None] | None = None, busy_ms: int = BUSY_MS
    ) -> None:
        super().__init__()
        self.path = path
        self.failure: WfctlError | None = None
        self.stats = WriterStats()
        self._before_commit = before_commit
        self._busy_ms = busy_ms
        self._items: queue.SimpleQueue[_Work | _Order] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        # Each reset begins a new term. A unit of an earlier term was decided on memory that is thrown away by now.
        self._term = 0
        self._loop: asyncio.AbstractEventLoop
        # The thread's own:
        self._db: sqlite3.Connection | None = None
        self._broken: WfctlError | None = None
        self._valid_term = 0
        self._rev = 0

    # -- on the event loop ---------------------------------------------------------------------

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._work, name="wfd-writer", daemon=True)
        self._thread.start()
        try:
            await self._order(self._open)
        except BaseException:
            await self._end()
            raise

    def submit(self, unit: Unit, done: Done) -> None:
        """Commit `unit` after all submitted before it, then call `done` on the loop: with None, or with why it is not
        on disk. The rows belong to the writer from here on."""
        self._items.put(_Work(unit, done, self._term))

    async def flush(self) -> None:
        """Return when everything submitted so far is on disk; raise the failure if it is not."""
        settled: asyncio.Future[None] = self._loop.create_future()

        def done(error: BaseException | None) -> None:
            if settled.cancelled():
                return
            if error is None:
                settled.set_result(None)
            else:
                settled.set_exception(error)

        self.submit(Unit(), done)
        await settled

    async def reset(self) -> None:
        """Write again after a failure, once memory has been thrown away: reopen, and prove it with a small commit.

        Units submitted before this returns still get the failure. Raises why it still cannot be written.
        """
        await self._order(self._reopen)
        # Set on the loop: until its caller goes on from here, submit still stamps the term that is over.
        self._term = self._valid_term
        self.failure = None

    async def checkpoint(self) -> None:
        """Copy the log into the database file as far as readers allow."""
        await self._order(lambda: self._connection().execute("pragma wal_checkpoint(passive)").fetchall())

    async def _stop(self) -> None:
        with contextlib.suppress(WfctlError):
            await self.flush()
        await self._end()

    async def _end(self) -> None:
        await self._order(None)
        assert self._thread is not None
        self._thread.join()

    async def _order(self, run: Callable[[], object] | None) -> None:
        future: asyncio.Future[object] = self._loop.create_future()
        self._items.put(_Order(run, future))
        await future

    # -- in the thread -------------------------------------------------------------------------

    def _work(self) -> None:
        item: _Work | _Order | None = None
        while True:
            item = item or self._items.get()
            if isinstance(item, _Order):
                if not self._obey(item):
                    return
                item = None
            else:
                item = self._commit_from(item)

    def _obey(self, order: _Order) -> bool:
        error: WfctlError | None = None
        try:
            if order.run is None:
                self._close()
            else:
                order.run()
        except Exception as raised:
            error = explain(raised, self.path, "write")
        self._tell(_settle, order.future, error)
        return order.run is not None

    def _commit_from(self, first: _Work) -> _Work | _Order | None:
        """Commit `first` and what waits behind it; return the item that ended the batch, if one did."""
        batch = Batch()
        works: list[_Work] = []
        item: _Work | _Order | None = first
        error: WfctlError | None = None
        while isinstance(item, _Work):
            works.append(item)
            if item.term != self._valid_term and self._broken is None:
                error = error or StorageError("a change was decided before the writer was reset", hint="try again")
                break
            if error is None and self._broken is None:
                try:
                    batch.add(item.unit)
                except Exception as raised:
                    error = explain(raised, self.path, "write")
            if batch.units >= MAX_UNITS or batch.bytes >= MAX_BYTES:
                item = None
                break
            try:
                item = self._items.get_nowait()
            except queue.Empty:
                item = None
        return item
