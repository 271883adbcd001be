"""Looks at a database without changing it, also at one that no daemon has open: is it ours, is it whole, what is in it.

Nothing is ever made: not the file, and, where there is no log to read, not the log's files either.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec

from wfctl.errors import IncompatibleError, NotFoundError, StorageError, WfctlError
from wfd.core import state
from wfd.store import queries
from wfd.store.connect import BUSY_MS, SCHEMA_VERSION, check_regular, explain, identify, still_uri, wal_of

READ = queries.load("read")
MAX_PROBLEMS = 5
# Steps of SQLite between two looks at whether the answer is still wanted.
_STEPS = 200_000

# Where SQLite before this can damage a database: two connections that write or checkpoint at the very moment in which the log
# begins anew. wfd has one connection that does either.
WAL_RESET_MENDED = (3, 51, 3)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a database. `problems` are what SQLite finds wrong with it; the rest counts only where there are none.

    `unreadable` names the open runs whose state nobody understands, MAX_PROBLEMS at most, each with why.
    """

    schema: int
    runs: int = 0
    rev: int = 0
    newest_at: int | None = None
    problems: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def connect_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection for one thread. Raises NotFoundError, StorageError, DeniedError."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"there is no database {path}", hint="wfctl up makes one", path=str(path)) from None
    except OSError as error:  # in a folder that may not be looked into
        raise explain(error, path, "read") from error
    check_regular(path, mode)
    try:
        db = sqlite3.connect(still_uri(path), uri=True, isolation_level=None, timeout=BUSY_MS / 1_000)
    except sqlite3.Error as error:
        raise explain(error, path, "read") from error
    return db


def check_readable(path: Path) -> None:
    """Raises unless there is a database of ours at `path` with the schema that our queries are written for."""
    db = connect_reader(path)
    try:
        schema, empty = identify(db, path)
    except sqlite3.Error as error:
        raise explain(error, path, "read") from error
    finally:
        db.close()
    if empty:
        raise NotFoundError(f"the database {path} is empty", hint="wfctl up", path=str(path))
    if schema < SCHEMA_VERSION:
        raise IncompatibleError(
            f"the database {path} has schema {schema}; the next wfctl up brings it to {SCHEMA_VERSION}, until then it is not read",
            hint="wfctl up",
            path=str(path),
            schema=schema,
        )


def inspect(path: Path, *, thorough: bool = False, unwanted: Callable[[], bool] = lambda: False) -> Facts:
    """What is in the database at `path`; `thorough` checks the indexes as well.

    When `unwanted()` becomes true it gives up, with a StorageError that nobody waits for.
    """
    while True:
        before = State(path)
        found: Facts | WfctlError
        try:
            found = _inspect(path, thorough, unwanted)
        except WfctlError as error:
            found = error
        if not before.disturbed or unwanted():
            break
    if isinstance(found, WfctlError):
        raise found
    return found


class State:
    """How a database stands when somebody begins to read it.

    Without a log the file is read as if nobody wrote to it. A daemon that has begun to since may have made nonsense of
    what was read, be it facts or an error: then it is `disturbed`, and to be read again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._was = self._now()

    @property
    def disturbed(self) -> bool:
        return self._was[0] is None and self._now() != self._was

    def _now(self) -> tuple[object, ...]:
        try:
            facts = [os.stat(one) if one.exists() else None for one in (wal_of(self._path), self._path)]
        except OSError as error:
            raise explain(error, self._path, "read") from error
        return tuple(None if fact is None else (fact.st_ino, fact.st_size, fact.st_mtime_ns) for fact in facts)


def _inspect(path: Path, thorough: bool, unwanted: Callable[[], bool]) -> Facts:
    db = connect_reader(path)
    try:
        db.set_progress_handler(unwanted, _STEPS)
        db.execute("begin")
        schema, empty = identify(db, path)
        if empty:
            raise StorageError(f"the database {path} is empty", hint="wfctl up", path=str(path))
        check = "integrity_check" if thorough else "quick_check"
        told = [str(text) for (text,) in db.execute(f"pragma {check}({MAX_PROBLEMS})") if text != "ok"]
        problems = [" ".join(text.split()) for text in told]
        if problems:
            return Facts(schema=schema, problems=tuple(problems))
        newest = db.execute(READ["newest_at"]).fetchone()
        return Facts(
            schema=schema,
            runs=db.execute(READ["count_runs"]).fetchone()[0],
            rev=db.execute(READ["max_rev"]).fetchone()[0],
            newest_at=None if newest is None else newest[0],
            unreadable=_unreadable(db),
        )
    except (sqlite3.Error, OSError) as error:
        raise explain(error, path, "read") from error
    finally:
        db.close()


def _unreadable(db: sqlite3.Connection) -> tuple[str, ...]:
    found: list[str] = []
    for run_id, workflow_id, saved in db.execute(READ["open_states"]):
        try:
            state.parse(saved)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            found.append(f"run {workflow_id!r} ({run_id}): column state of its row in table runs: {error}")
            if len(found) == MAX_PROBLEMS:
                break
    return tuple(found)
