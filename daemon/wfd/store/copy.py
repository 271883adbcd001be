"""Copies a database into one file, whole as of one commit, and proves the copy before anybody sees it.

It only reads the database, so it goes on beside the writer; while it lasts, the log behind it cannot be reused and grows.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import sqlite3
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from wfctl.errors import (
    ConflictError,
    InvalidArgumentError,
    StorageError,
    UsageError,
    WfctlError,
)
from wfctl.values.causes import cannot
from wfctl.values.project import DATABASE_NAME, LOCK_NAME
from wfd.store.connect import explain, shm_of, wal_of
from wfd.store.inspect import Facts, State, connect_reader, inspect

# 2 MiB between two looks at whether it is still wanted, and two words about how far it is.
_PAGES = 512
_PART = ".part"
_PART_MODE = stat.S_IFREG | 0o600  # as mkstemp makes them

Told = Callable[[int, int], None]


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """The copy at `path`, and what is in it. `replaced`: a file of that name was there before."""

    path: str
    bytes: int
    runs: int
    rev: int
    newest_at: int | None
    database_schema: int
    replaced: bool


class Copy:
    """One copy under way. `run` blocks, and is for a thread or process of its own; `stop` may be called from any."""

    def __init__(self, source: Path, target: Path, *, force: bool = False) -> None:
        self._source = source
        self.target = target
        self._force = force
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Make `run` raise soon. What has been copied so far is removed."""
        self._stopped.set()

    def run(self, told: Told = lambda copied, total: None) -> Copied:
        """Copy; `told(copied, total)` is called with bytes now and then. A file at the target is replaced only with `force`.

        Raises ConflictError, NotFoundError, StorageError, DeniedError or UsageError; the target is then as it was.
        """
        try:
            self._check_target()
            connect_reader(self._source).close()
            self._sweep()
            part, claim = self._make_part()
        except OSError as error:
            raise self._cannot(error) from error
        try:
            self._copy(part, told)
            facts = self._proven(part)
            size = part.stat().st_size
            replaced = self._place(part)
        except OSError as error:
            raise self._cannot(error) from error
        finally:
            for file in (part, wal_of(part), shm_of(part), part.with_name(f"{part.name}-journal")):
                file.unlink(missing_ok=True)
            os.close(claim)
        return Copied(
            path=str(self.target),
            bytes=size,
            runs=facts.runs,
            rev=facts.rev,
            newest_at=facts.newest_at,
            database_schema=facts.schema,
            replaced=replaced,
        )

    def _check_target(self) -> None:
        target, source = self.target, self._source
        if target.is_dir():
            raise UsageError(f"{target} is a folder", hint="name the file to write", path=str(target))
        if target.exists() and not target.is_file():
            raise UsageError(f"{target} is not a regular file", hint="name the file to write", path=str(target))
        ours = {os.path.realpath(one) for one in (source, wal_of(source), shm_of(source), source.with_name(LOCK_NAME))}
        if os.path.realpath(target) in ours or (target.exists() and source.exists() and target.samefile(source)):
            raise UsageError(f"{target} belongs to the database itself", hint="name another file", path=str(target))
        with self._nobodys():
            self._check_beside()
        if not self._force and os.path.lexists(target):
            raise self._exists()

    def _check_beside(self) -> None:
        """With somebody's log or journal beside it, the copy would not be what is found under its name."""
        for name in dict.fromkeys((os.path.abspath(self.target), os.path.realpath(self.target))):
            for beside in (f"{name}-wal", f"{name}-journal"):
                if os.path.lexists(beside):
                    raise ConflictError(
                        f"{beside} is there: it is of a database that is in use or was cut short, and would be read into "
                        "the copy",
                        hint=f"name another file, or, when nothing has that database open, remove it and {beside}",
                        path=str(self.target),
                        beside=beside,
                    )

    @contextlib.contextmanager
    def _nobodys(self) -> Iterator[None]:
        """Inside, what is replaced is no other project's database that a daemon has, or begins to have."""
        target, lock = self.target, self.target.with_name(LOCK_NAME)
        if target.name != DATABASE_NAME or not lock.is_file():
            yield
            return
        held = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            if not _claimed(held):
                raise ConflictError(
                    f"{target} is the database of a daemon that runs",
                    hint="name another file, or stop that daemon with wfctl down in its project",
                    path=str(target),
                )
            yield
        finally:
            os.close(held)

    def _exists(self) -> ConflictError:
        return ConflictError(
            f"{self.target} exists; it is left as it is",
            hint="name another file, or add --force to replace it",
            path=str(self.target),
        )

    def _make_part(self) -> tuple[Path, int]:
        """The file to copy into, for its owner alone: beside the target, so that it can take its place in one step. It is claimed
        for as long as its descriptor is open, which SQLite's own locks have nothing to do with."""
        claim, name = tempfile.mkstemp(prefix=f".{self.target.name}.", suffix=_PART, dir=self.target.parent)
        _claimed(claim)
        return Path(name), claim

    def _sweep(self) -> None:
        """Remove what copies to the same target have left who were killed: files of such a name that are for their owner alone."""
        left = re.compile(rf"\.{re.escape(self.target.name)}\.[a-z0-9_]{{8}}{re.escape(_PART)}")
        with contextlib.suppress(OSError):
            for file in [one for one in self.target.parent.iterdir() if left.fullmatch(one.name)]:
                other = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    facts = os.fstat(other)
                    # One that begins this very moment is empty, and may not have got its claim yet.
                    if facts.st_mode == _PART_MODE and facts.st_size and _claimed(other):
                        file.unlink()
                finally:
                    os.close(other)

    def _copy(self, part: Path, told: Told) -> None:
        while True:
            before = State(self._source)
            self._copy_once(part, told)
            if not before.disturbed:
                return

    def _copy_once(self, part: Path, told: Told) -> None:
        source = connect_reader(self._source)
        target: sqlite3.Connection | None = None
        try:
            page_bytes = source.execute("pragma page_size").fetchone()[0]

            def progress(status: int, remaining: int, total: int) -> None:
                if self._stopped.is_set():
                    raise _given_up()
                told((total - remaining) * page_bytes, total * page_bytes)

            # One snapshot from the first page to the last: without it every commit would make the copy begin anew.
            source.execute("begin")
            source.execute("select count(*) from sqlite_master").fetchone()
            target = sqlite3.connect(part, isolation_level=None)
            # A copy that is cut short is thrown away, so it needs no journal of its own.
            target.execute("pragma journal_mode = off")
            target.execute("pragma synchronous = off")
            source.backup(target, pages=_PAGES, progress=progress)
            # One file is all there is to it: no log is expected beside it.
            target.execute("pragma journal_mode = delete")
        except sqlite3.Error as error:
            raise self._explained(error) from error
        finally:
            if target is not None:
                target.close()
            source.close()

    def _explained(self, error: sqlite3.Error) -> WfctlError:
        """Which of the two files is at fault: only the copy is written to."""
        written = str(getattr(error, "sqlite_errorname", "")).startswith(("SQLITE_FULL", "SQLITE_IOERR_WRITE"))
        return explain(error, self.target if written else self._source, "write" if written else "read")

    def _proven(self, part: Path) -> Facts:
        try:
            facts = inspect(part, thorough=True, unwanted=self._stopped.is_set)
        except WfctlError as error:
            # Nobody but this knows the part, and what it is a copy of is the same.
            error.message = error.message.replace(str(part), str(self._source))
            error.detail["path"] = str(self._source)
            raise
        if facts.problems:
            raise StorageError(
                f"the copy of {self._source} is damaged, as the database itself may be: {facts.problems[0]}",
                hint="keep the file as it is, and go back to an earlier backup",
                path=str(self._source),
                problems=list(facts.problems),
            )
        return facts

    def _place(self, part: Path) -> bool:
        """Give the copy its name, on disk before in the folder; whether a file was replaced."""
        sync(part)
        if self._stopped.is_set():
            raise _given_up()
        with self._nobodys():
            self._check_beside()
            replaced = os.path.lexists(self.target)
            if self._force:
                os.replace(part, self.target)
            else:
                self._link(part)
        sync(self.target.parent)
        return replaced

    def _link(self, part: Path) -> None:
        try:
            # Refuses by itself what has come there meanwhile.
            os.link(part, self.target)
        except FileExistsError:
            raise self._exists() from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                raise
            # A file system without links: between the look and the rename somebody could make that file.
            if os.path.lexists(self.target):
                raise self._exists() from None
            os.rename(part, self.target)

    def _cannot(self, error: OSError) -> WfctlError:
        path = self.target
        if error.errno == errno.ENAMETOOLONG:
            return InvalidArgumentError(
                f"cannot write {path}: its name is too long", hint="name another", path=str(path)
            )
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return UsageError(f"cannot write {path}: there is no folder {path.parent}", hint="make it, or name another")
        return cannot("write", path, error, otherwise="name a file in another folder")


def sync(path: Path) -> None:
    """Return when what was written to the file, or done in the folder, is on disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _claimed(fd: int) -> bool:
    """Whether the open file is this process's own from here on; not so where another has it, or nobody can."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _given_up() -> StorageError:
    return StorageError("the copy was given up, and nothing was written")
