"""The connection that writes, and all that is done on it: requests in, replies out, as bytes. Plain and blocking.

Where it runs is not its business (`places`): in a process of its own under the daemon, in a thread elsewhere.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from wfctl.errors import ErrorData, StorageError, WfctlError
from wfd.store import purge
from wfd.store.batch import WRITE, Batch, Standing
from wfd.store.connect import CHECKPOINT_PAGES, LOG_BYTES, Durability, connect_writer, explain, finish_log
from wfd.store.rows import Unit


class Setting(msgspec.Struct, array_like=True, frozen=True):
    """Which file, and how it is written."""

    path: str
    busy_ms: int
    durability: Durability


class Request(msgspec.Struct, array_like=True):
    """`verb` is the name of a method of `Database`; units are for commit, arguments for the others."""

    verb: str
    units: list[Unit] = []
    arguments: list[msgspec.Raw] = []


class Reply(msgspec.Struct, array_like=True):
    """None: it is done, and on disk."""

    error: ErrorData | None = None
    answer: msgspec.Raw = msgspec.Raw(b"\xc0")


_encode = msgspec.msgpack.Encoder().encode
_decode_request = msgspec.msgpack.Decoder(Request).decode
_decode_reply = msgspec.msgpack.Decoder(Reply).decode
_DONE = _encode(Reply())
# `Request("commit", [...])` up to the number of its units.
_COMMIT = b"\x92" + _encode("commit") + b"\xdd"


def packed(unit: Unit) -> bytes:
    """A unit as `commit` takes it. Raises UnicodeEncodeError for text that is none."""
    return _encode(unit)


def commit(units: list[bytes]) -> bytes:
    """The request to commit these units together."""
    return b"".join((_COMMIT, len(units).to_bytes(4, "big"), *units))


def is_commit(request: bytes) -> bool:
    return request.startswith(_COMMIT)


def request(verb: str, *arguments: object) -> bytes:
    return _encode(Request(verb, [], [msgspec.Raw(_encode(argument)) for argument in arguments]))


def failure(reply: bytes) -> ErrorData | None:
    """Why what was asked has not been done."""
    return None if reply == _DONE else _decode_reply(reply).error


def answer(reply: bytes, kind: Any) -> Any:
    """What was answered, as a `kind`."""
    return msgspec.msgpack.decode(_decode_reply(reply).answer, type=kind)


class Database:
    """To be used in one thread. Where a commit fails nothing of it is kept."""

    def __init__(self, setting: Setting, before_commit: Callable[[int], None] | None = None) -> None:
        self._path = Path(setting.path)
        self._setting = setting
        self._before_commit = before_commit
        self._db: sqlite3.Connection | None = None
        self._rev = 0
        self._commits = 0
        self._log_bytes = LOG_BYTES
        # Why a commit failed: one that was asked for behind it is built on what is not on disk.
        self._failed: WfctlError | None = None
        self._standing: Standing = {}
        self._verbs: dict[str, tuple[Callable[..., object], tuple[Any, ...]]] = {
            "open": (self.open, (bool,)),
            "reopen": (self.reopen, (bool,)),
            "note": (self.note, (str, str)),
            "keep_log": (self.keep_log, (bool,)),
            "shorten_log": (self.shorten_log, (int,)),
            "remove": (self.remove, (purge.Removal,)),
            "give_back": (self.give_back, (int,)),
            "close": (self.close, ()),
        }

    def obey(self, *requests: bytes) -> bytes:
        """Do what is asked for: one request, or commits, which become one. The reply is that to each of them. Never raises: what
        goes wrong is in the reply. After a commit that failed there is no other until `open`, or `reopen`."""
        verb = "commit"
        try:
            asked, *others = map(_decode_request, requests)
            verb = asked.verb
            if verb == "commit":
                if self._failed is not None:
                    raise self._failed
                for other in others:
                    asked.units += other.units
                self.commit(asked.units)
                return _DONE
            method, kinds = self._verbs[verb]
            given = [msgspec.msgpack.decode(one, type=kind) for one, kind in zip(asked.arguments, kinds, strict=True)]
            return _encode(Reply(None, msgspec.Raw(_encode(method(*given)))))
        except BaseException as error:
            told = explain(error, self._path, "write")
            if verb == "commit":
                self._failed = told
            return _encode(Reply(told.to_data()))

    def open(self, keep: bool = False) -> None:
        """`keep`: as `keep_log` from the start."""
        self._db = connect_writer(self._path, self._setting.busy_ms, self._setting.durability)
        self._copy_at(0 if keep else CHECKPOINT_PAGES)
        self._failed = None
        purge.prepare(self._db)
        self._rev = self._db.execute(WRITE["last_rev"]).fetchone()[0]
        self._standing.clear()

    def commit(self, units: Iterable[Unit]) -> None:
        batch = Batch()
        for unit in units:
            batch.add(unit)
        if self._before_commit is not None:
            self._before_commit(self._commits + 1)
        # One for all: the connection's own `execute` makes another for each statement.
        db = self._connection().cursor()
        db.execute("begin immediate")
        try:
            newest = batch.write(db, self._rev, self._standing)
            db.execute("commit")
        except BaseException:
            self._standing.clear()
            # Where even this fails, closing the connection in `reopen` gives the transaction up.
            with contextlib.suppress(sqlite3.Error):
                db.execute("rollback")
            raise
        self._rev = newest
        self._commits += 1

    def reopen(self, keep: bool = False) -> None:
        """Open it again after a failure, and prove with a small commit that it can be written."""
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None
        self.open(keep)
        self._touch()

    def note(self, key: str, value: str) -> None:
        self._connection().execute(WRITE["note"], (key, value))

    def keep_log(self, keep: bool) -> None:
        """Commits leave the log as it is, until they need not any more. What is kept ends in a commit that is nowhere else yet."""
        self._copy_at(0 if keep else CHECKPOINT_PAGES)
        if keep:
            if self._connection().in_transaction:
                # One that failed and could not be given up: what is written now would be part of it, and no commit.
                raise StorageError(f"a commit to {self._path} is not over yet", path=str(self._path))
            self._touch()

    def shorten_log(self, size: int) -> bool:
        """Copy what is not in the database yet and cut the log's file to so many bytes, or nothing. False where somebody reads."""
        db = self._connection()
        if not finish_log(db, self._setting.busy_ms, truncate=not size):
            return False
        if size:
            # It is cut to its limit by the commit that begins it anew.
            db.execute(f"pragma journal_size_limit = {size}")
            try:
                self._touch()
            finally:
                db.execute(f"pragma journal_size_limit = {self._log_bytes}")
        return True

    def remove(self, removal: purge.Removal) -> purge.Removed:
        if self._before_commit is not None:
            self._before_commit(self._commits + 1)
        removed = purge.remove(self._connection(), removal)
        self._commits += 1
        return removed

    def give_back(self, pages: int) -> purge.Room:
        return purge.give_back(self._connection(), pages)

    def close(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            # Best effort: with a reader still open the log stays, and the next start reads it.
            with contextlib.suppress(sqlite3.Error):
                db.execute("pragma wal_checkpoint(truncate)").fetchall()
            db.close()

    def _copy_at(self, pages: int) -> None:
        """From how many pages of log on a commit copies it into the database; 0: none does, and none cuts its file either."""
        self._log_bytes = LOG_BYTES if pages else -1
        self._connection().execute(f"pragma wal_autocheckpoint = {pages}")
        self._connection().execute(f"pragma journal_size_limit = {self._log_bytes}")

    def _touch(self) -> None:
        # A transaction by itself: nothing of it is left where it fails.
        self._connection().execute(WRITE["touch"])

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise StorageError(f"the database {self._path} is not open", path=str(self._path))
        return self._db
