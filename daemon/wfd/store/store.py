"""The store as the daemon starts and stops it: the writer first and last, the reader between."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from wfd.runtime.background import begin_writing
from wfd.runtime.lifecycle import Service
from wfd.store.connect import BUSY_MS, SCHEMA_VERSION, Durability, explain, wal_of
from wfd.store.copy import Copy
from wfd.store.reader import Reader
from wfd.store.writer import Writer


class Store(Service):
    """`writer` and `reader` of one database file. With `held` a process of its own writes it, which inherits these descriptors."""

    schema_version = SCHEMA_VERSION

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "full",
        before_commit: Callable[[int], None] | None = None,
        busy_ms: int = BUSY_MS,
        held: Callable[[], Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.path = path
        self.writer = Writer(path, durability=durability, before_commit=before_commit, busy_ms=busy_ms, held=held)
        self.reader = Reader(path)
        # Who keeps a long log from being cut, as far as one can see (`upkeep`).
        self.log_readers: list[str] = []
        self._file: int | None = None

    async def _start(self) -> None:
        await self.writer.start()
        try:
            await self.reader.start()
            try:
                self._file = os.open(self.path, os.O_RDONLY)
            except OSError as error:
                await self.reader.stop()
                raise explain(error, self.path, "open") from error
        except BaseException:
            await self.writer.stop()
            raise

    async def _stop(self) -> None:
        # The reader first: a log that nobody reads can be copied into the database and emptied.
        await self.reader.stop()
        await self.writer.stop()
        if self._file is not None:
            # Not before: to close a file gives up all locks that this process has on it, SQLite's as well.
            os.close(self._file)
            self._file = None

    def write_back(self) -> None:
        """Have the disk begin with what was written to the database's file (see `begin_writing`). To be over before `stop`."""
        if self._file is not None:
            begin_writing(self._file)

    @property
    def displaced(self) -> str:
        """That the file is not where the next daemon looks for it; empty where it is."""
        if self._file is None:
            return ""
        ours = os.fstat(self._file)
        try:
            there = self.path.stat()
        except FileNotFoundError:
            there = None
        except OSError:
            return ""  # nobody can say
        if there is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
            return ""
        how = "moved: move it back" if ours.st_nlink else "deleted: what is in it goes when the daemon stops"
        return f"the database is not at {self.path} any more, where the next daemon looks for it; it was {how}"

    def copy(self, target: Path, *, force: bool = False) -> Copy:
        """A copy into `target` that can be begun. It reads on a connection of its own: others are not held up by it."""
        return Copy(self.path, target, force=force)

    def size_bytes(self) -> int:
        """What the database takes on disk, its write-ahead log included."""
        files = (self.path, wal_of(self.path))
        return sum(file.stat().st_size for file in files if file.exists())

    def log_bytes(self) -> int:
        """What of that is the write-ahead log."""
        try:
            return wal_of(self.path).stat().st_size
        except FileNotFoundError:
            return 0


async def open_store(
    path: Path,
    *,
    before_commit: Callable[[int], None] | None = None,
    busy_ms: int = BUSY_MS,
    held: Callable[[], Sequence[int]] | None = None,
) -> Store:
    """Open the database at `path`, made or migrated as needed; to be closed with `stop`.

    Raises StorageError (not a database, not ours, locked, disk), IncompatibleError (a newer schema) or DeniedError.
    """
    store = Store(path, before_commit=before_commit, busy_ms=busy_ms, held=held)
    await store.start()
    return store
