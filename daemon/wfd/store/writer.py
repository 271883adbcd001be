"""The one writer: a connection on its own thread, the only one that writes or checkpoints.

Units commit in the order they are submitted. What waits when a commit ends goes into the next, so a lone unit pays one
fsync and a thousand share one. After a failed commit nothing is written any more until `reset`: what memory has decided
since is built on what disk does not have.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from wfctl.errors import StorageError, WfctlError
from wfd.runtime.lifecycle import Service
from wfd.store import purge
from wfd.store.batch import WRITE, Batch, prepare
from wfd.store.connect import BUSY_MS, Durability, connect_writer, empty_log, explain
from wfd.store.rows import Unit

Done = Callable[[BaseException | None], None]
AnswerT = TypeVar("AnswerT")

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
    future: asyncio.Future[Any]


class Writer(Service):
    """Made and used on the event loop; `start` opens the database (and creates or migrates it).

    `failure` is why nothing can be written, None while all is well. `before_commit` is for tests: it is called in the
    writer's thread with the number of the commit that is about to happen, and may raise or block.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "full",
        before_commit: Callable[[int], None] | None = None,
        busy_ms: int = BUSY_MS,
    ) -> None:
        super().__init__()
        self.path = path
        self.failure: WfctlError | None = None
        self.stats = WriterStats()
        self._durability: Durability = durability
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
        self._last: WfctlError | None = None
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
        if self._thread is None:
            error = StorageError(f"the database {self.path} is closed", path=str(self.path))
            asyncio.get_running_loop().call_soon(done, error)
        else:
            self._items.put(_Work(unit, done, self._term))

    async def flush(self) -> None:
        """Return when everything submitted so far is on disk; raise the failure if it is not."""
        settled: asyncio.Future[object] = self._loop.create_future()
        self.submit(Unit(), functools.partial(_settle, settled))
        await settled

    async def reset(self) -> None:
        """Write again after a failure, once memory has been thrown away: reopen, and prove it with a small commit.

        Units submitted before this returns still get the failure. Raises why it still cannot be written.
        """
        await self._order(self._reopen)
        # Set on the loop: until its caller goes on from here, submit still stamps the term that is over.
        self._term = self._valid_term
        self.failure = None

    async def note(self, key: str, value: str) -> None:
        """Keep a fact about the database itself, in a commit of its own."""
        await self._order(lambda: self._connection().execute(WRITE["note"], (key, value)))

    async def checkpoint(self) -> None:
        """Copy the log into the database file as far as readers allow."""
        await self._order(lambda: self._connection().execute("pragma wal_checkpoint(passive)").fetchall())

    async def empty_log(self) -> bool:
        """Copy the whole log into the database file and cut it to nothing; false where somebody reads from it still."""
        return await self._order(lambda: empty_log(self._connection(), self._busy_ms))

    async def remove(self, removal: purge.Removal) -> purge.Removed:
        """Take closed runs away for good, in a commit of their own behind what was submitted before."""
        return await self._order(functools.partial(self._remove, removal))

    async def give_back(self, pages: int) -> purge.Room:
        """Return up to so many free pages of the file to the file system, where it can; 0 only tells the room."""
        return await self._order(lambda: purge.give_back(self._connection(), pages))

    async def _stop(self) -> None:
        with contextlib.suppress(WfctlError):
            await self.flush()
        await self._end()

    async def _end(self) -> None:
        await self._order(None)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    async def _order(self, run: Callable[[], AnswerT] | None) -> AnswerT:
        future: asyncio.Future[AnswerT] = self._loop.create_future()
        self._items.put(_Order(run, future))
        return await future

    # -- in the thread -------------------------------------------------------------------------

    def _work(self) -> None:
        item: _Work | _Order | None = None
        while True:
            item = item or self._items.get()
            if isinstance(item, _Order):
                if not self._obey(item):
                    return
                item = None
            elif self._takes(item):
                item = self._commit_from(item)
            else:
                self._tell(self._answer, [item], self._broken or self._last)
                item = None

    def _takes(self, work: _Work) -> bool:
        return self._broken is None and work.term == self._valid_term

    def _obey(self, order: _Order) -> bool:
        error: WfctlError | None = None
        answer: object = None
        try:
            if order.run is None:
                self._close()
            else:
                answer = order.run()
        except Exception as raised:
            error = explain(raised, self.path, "write")
        self._tell(_settle, order.future, error, answer)
        return order.run is not None

    def _commit_from(self, first: _Work) -> _Work | _Order | None:
        """Commit `first` and what waits behind it. Returns the item that could not be part of it, if one was taken."""
        batch = Batch()
        works = [first]
        left: _Work | _Order | None = None
        try:
            batch.add(first.unit)
            while batch.units < MAX_UNITS and batch.bytes < MAX_BYTES:
                try:
                    item = self._items.get_nowait()
                except queue.Empty:
                    break
                if isinstance(item, _Order) or not self._takes(item):
                    left = item
                    break
                works.append(item)
                batch.add(item.unit)
            if not batch.empty:
                self._commit(batch)
        except BaseException as raised:
            self._fail(works, raised)
        else:
            self.stats.units += len(works)
            self.stats.last_batch = len(works)
            self._tell(self._answer, works, None)
        return left

    def _commit(self, batch: Batch) -> None:
        if self._before_commit is not None:
            self._before_commit(self.stats.commits + 1)
        self._rev = batch.write(self._connection(), self._rev)
        self.stats.commits += 1

    def _remove(self, removal: purge.Removal) -> purge.Removed:
        if self._broken is not None:
            raise self._broken
        if self._before_commit is not None:
            self._before_commit(self.stats.commits + 1)
        removed = purge.remove(self._connection(), removal)
        self.stats.commits += 1
        return removed

    def _fail(self, works: list[_Work], raised: BaseException) -> None:
        self._broken = self._last = explain(raised, self.path, "write")
        self._broken.__cause__ = raised if raised is not self._broken else None
        if self._db is not None and self._db.in_transaction:
            # Where even this fails, closing the connection in `_reopen` gives the transaction up.
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("rollback")
        self._tell(self._answer, works, self._broken)

    def _tell(self, fn: Callable[..., None], *args: object) -> None:
        # The loop is closed only where nobody waits for the answer any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(fn, *args)

    def _answer(self, works: list[_Work], error: WfctlError | None) -> None:
        """On the loop: the answers of one batch, in order."""
        if error is not None and works[0].term == self._term:
            self.failure = error
        for work in works:
            try:
                work.done(error)
            except Exception as raised:
                self._loop.call_exception_handler(
                    {"message": "a callback of the writer failed", "exception": raised, "callback": work.done}
                )

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise self._broken or StorageError(f"the database {self.path} is not open", path=str(self.path))
        return self._db

    def _open(self) -> None:
        self._db = connect_writer(self.path, self._busy_ms, self._durability)
        prepare(self._db)
        purge.prepare(self._db)
        self._rev = self._db.execute(WRITE["last_rev"]).fetchone()[0]

    def _reopen(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        self._open()
        db = self._connection()
        db.execute("begin immediate")
        db.execute(WRITE["touch"], (str(self.stats.commits),))
        db.execute("commit")
        if self._broken is not None:
            self._broken = None
            self._valid_term += 1

    def _close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            # Best effort: with a reader still open the log stays, and the next start reads it.
            with contextlib.suppress(sqlite3.Error):
                db.execute("pragma wal_checkpoint(truncate)").fetchall()
            db.close()


def _settle(future: asyncio.Future[Any], error: BaseException | None, answer: object = None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(answer)
    else:
        future.set_exception(error)
