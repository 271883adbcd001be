"""Keeps the write-ahead log short. The writer copies the log into the database as it commits, but begins the log anew only when at
that very moment nobody reads from it. Where reads always overlap it never would: so when the log is long, ours are held back for
as long as that takes. A reader that is not ours (a backup, a sqlite3 shell) is waited for, commits go on, and the log is cut once
it has gone.

A log that has become long meanwhile, or that a killed daemon has left so, takes seconds to copy, and its file seconds to cut. A
commit that did it would hold up all others, so from then on commits leave it to a connection that is opened here, and wait for a
last small copy and the cut of a part at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import AsyncIterator
from typing import Any

import aiosqlite

from wfctl.errors import StorageError, WfctlError, reason
from wfd.runtime.background import give_way
from wfd.runtime.clock import Clock
from wfd.runtime.periodic import Periodic
from wfd.store.connect import CHECKPOINT_PAGES, LOG_BYTES, explain
from wfd.store.log_readers import log_readers
from wfd.store.store import Store

log = logging.getLogger("wfd.store")

LOOK_MS = 1_000
# After a try in vain: somebody reads for long.
AGAIN_MS = 5_000
# Of the file of a long log, as much as is cut at a time: file systems take up to a second for some gigabytes. And what they are
# given to breathe in between.
PART_BYTES = LOG_BYTES
PART_MS = 100
# A log of so many times the limit is told of, with who reads from it.
LONG = 4
# Copies that are made one after the other, each of what was written during the one before, until commits wait for the last.
MOST_COPIES = 8
# Copies that fail one after the other, until it is left to the writer: what is in the way may be gone in a moment.
MOST_FAILURES = 3
# How long what a copy writes to the database's file is left in the system's cache. All at the end, gigabytes at times, it would be
# ahead of every commit at the disk.
WRITE_BACK_MS = 100


class Upkeep(Periodic):
    """Looks at the log of `store` every now and then; `limit` is the size that is let be."""

    def __init__(self, store: Store, clock: Clock, limit: int = LOG_BYTES) -> None:
        super().__init__(clock)
        self._store = store
        self._limit = limit
        self._failures = 0

    async def _start(self) -> None:
        with contextlib.suppress(WfctlError, OSError):  # the look says what is wrong
            if self._store.log_bytes() > self._limit:
                await self._store.writer.keep_log(True)  # or the first commit would copy it
        self.arm(LOOK_MS)

    async def _look(self) -> int:
        try:
            after = await self._shorten()
        except (WfctlError, OSError) as error:  # a TimeoutError is one of these
            log.info("the log of the database is not cut yet: %s", reason(error))
            after = AGAIN_MS
        with contextlib.suppress(OSError):  # or none would ever look again; cutting says what is wrong
            self._tell_of_readers(after == AGAIN_MS)
        return after

    async def _shorten(self) -> int:
        if not self._store.writer.keeps_log and (self._store.log_bytes() <= self._limit or await self.cut()):
            return LOOK_MS
        return await self._work_off()

    def _tell_of_readers(self, in_vain: bool) -> None:
        """Who else reads from a log that is long and was not cut: it fills the disk, and nothing here can do anything about it."""
        store, told = self._store, self._store.log_readers
        store.log_readers = []
        if in_vain and (size := store.log_bytes()) > LONG * self._limit:
            store.log_readers = log_readers(store.path, (os.getpid(), store.writer.pid))
            if store.log_readers and not told:
                who = ", ".join(store.log_readers)
                log.warning(
                    "the log of the database is %d MiB long, and is not cut as long as it is read by %s",
                    size >> 20,
                    who,
                )

    async def cut(self, size: int = 0) -> bool:
        """Cut the log to so many bytes, while nothing of ours reads; false where somebody else does."""
        async with self._store.reader.stillness():
            return await self._store.writer.shorten_log(size)

    async def _work_off(self) -> int:
        """Copy a log that commits leave alone and cut a part of it; after how many ms to look again."""
        if not await self._copied():
            return AGAIN_MS
        size = self._store.log_bytes()
        if not await self.cut(max(size - PART_BYTES, 0)):
            return AGAIN_MS
        if size > PART_BYTES:
            return PART_MS
        await self._store.writer.keep_log(False)
        return LOOK_MS

    async def _copied(self) -> bool:
        """Copy the log while commits go on, until so little is left that they can wait for it; false where somebody reads from
        it."""
        copied = 0
        for number in range(MOST_COPIES):
            # Before each copy, not for the commits alone. A log that is in the database as a whole may begin anew at any commit;
            # who begins to copy it just then takes the new one for the old (SQLite before 3.51.3), and the database is lost. After
            # this it is not whole in there until the copy is made.
            before = copied
            try:
                await self._store.writer.keep_log(True)
            except WfctlError:
                await self._leave()
                raise
            try:
                # The long one leaves the processor to whoever commits. The others are as fast as they can be: where the processors
                # never rest, each would take longer than the one before.
                pages, copied = await self._copy(_Background if number == 0 else sqlite3.Connection)
            except WfctlError:
                self._failures += 1
                if self._failures >= MOST_FAILURES:
                    await self._leave()
                raise
            self._failures = 0
            if pages - copied > CHECKPOINT_PAGES:
                return False
            # One that has begun anew meanwhile counts from its beginning.
            if copied - (before if before <= copied else 0) <= CHECKPOINT_PAGES:
                break
        return True

    async def _leave(self) -> None:
        """Leave the log to the writer. All who write wait for it then; but where the disk is full, it needs no room for that."""
        await self._store.writer.keep_log(False)
        self._failures = 0
        await self.cut()

    async def _copy(self, kind: type[sqlite3.Connection]) -> tuple[int, int]:
        """Copy as much of the log as readers allow: how many pages it had then, and how many of them are in the database now.
        `kind` is the connection that it is done on, in a thread of its own."""
        path = self._store.path
        try:
            async with (
                aiosqlite.connect(
                    f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, factory=kind
                ) as db,
                self._writing_back(),
            ):
                try:
                    ((busy, pages, copied),) = await db.execute_fetchall("pragma wal_checkpoint(passive)")
                except asyncio.CancelledError:
                    await db.interrupt()
                    raise
        except (sqlite3.Error, RuntimeError, ValueError) as error:  # no thread to be had, say
            raise explain(error, path, "write") from error
        if busy:
            # Somebody else copies it; or the writer was at the head of its index in that very moment.
            raise StorageError("the log of the database cannot be copied just now", path=str(path))
        return pages, copied

    @contextlib.asynccontextmanager
    async def _writing_back(self) -> AsyncIterator[None]:
        """Have the disk keep up with what is written to the database's file meanwhile."""
        over = asyncio.Event()
        task = asyncio.get_running_loop().create_task(self._write_back_until(over))
        try:
            yield
        finally:
            over.set()
            # Also where this is cancelled: the store is not stopped before.
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                await asyncio.wait({task})
                raise

    async def _write_back_until(self, over: asyncio.Event) -> None:
        while not over.is_set():
            try:
                await asyncio.to_thread(self._store.write_back)
            except (OSError, RuntimeError) as error:  # no thread to be had, say; the copy is as good without
                log.info("the database's file is not written while the log is copied into it: %s", reason(error))
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), WRITE_BACK_MS / 1_000)


class _Background(sqlite3.Connection):
    """A connection whose thread leaves the processor to others."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        give_way()
        super().__init__(*arguments, **named)
