"""Opens the database file: its checks, its settings, its migrations; and says in plain words why it cannot.

The only place that turns what SQLite and the file system raise into errors of the tree.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sqlite3
import stat
import sys
from pathlib import Path
from typing import Literal

from wfctl.errors import DeniedError, IncompatibleError, StorageError, WfctlError, reason
from wfd.store import queries

APPLICATION_ID = 0x77666374  # "wfct"
SCHEMA_VERSION = max(version for version, _, _ in queries.migrations())
OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
# SQLite takes 512 where it is built as it is as a rule, and `-journal` comes behind the name.
LONGEST_PATH_BYTES = 504
BUSY_MS = 5_000
# Pages before a commit also checkpoints: 16 MB. A page that many commits change is then copied to the database once.
CHECKPOINT_PAGES = 4_000
# What the log's file is cut to when it begins anew, and beyond which it is seen to that it does (`upkeep`).
LOG_BYTES = 64 << 20
# Each commit that splits a page of an index looks at every page in the cache: SQLite gives a page the number of the one at 1 GiB
# for a moment, and drops what it has beyond the end of the file afterwards. A page that is not here is in the system's cache.
CACHE_KIB = 4 * 1024
# Changed pages are kept, cache or not, up to so many of a commit: 64 MB. A multiple of 256 would be taken for "all of them".
SPILL_PAGES = 16_000

Durability = Literal["full", "normal"]

# What SQLite says in its defensive mode, which some builds of it are in from the start, to whoever changes the schema's text.
_GUARDED = "table sqlite_master may not be modified"
# What Python says of a text column whose bytes are none; it has no code.
_NO_TEXT = "Could not decode to UTF-8"
# The least that SQLite takes to open a database.
_NO_ROOM_BYTES = 64 << 10
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}


def sqlite_version() -> tuple[int, ...]:
    """Of the SQLite that this Python has."""
    return sqlite3.sqlite_version_info


def connect_writer(path: Path, busy_ms: int = BUSY_MS, durability: Durability = "full") -> sqlite3.Connection:
    """The one connection that writes: file made (0600) where it is missing, schema brought to SCHEMA_VERSION.

    With durability "full" a commit waits for the disk. With "normal" the log reaches it at checkpoints: a power failure then
    takes the newest commits, the end of a process takes none, and neither leaves one that is half or out of order.

    To be called, and the connection used, in one thread. Raises StorageError, IncompatibleError or DeniedError; then
    nothing of the file has been changed, except that a missing one may have been made.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise IncompatibleError(
            f"this Python has SQLite {sqlite3.sqlite_version}; wfd needs {'.'.join(map(str, OLDEST_SQLITE))} or later",
            hint="use a newer Python build",
        )
    _prepare_file(path)
    db: sqlite3.Connection | None = None
    try:
        db = sqlite3.connect(path, isolation_level=None, timeout=busy_ms / 1_000, cached_statements=64)
        _settle(db, path, durability)
    except BaseException as error:
        if db is not None:
            db.close()
        if isinstance(error, WfctlError):
            raise
        raise explain(error, path, "open") from error
    return db


def _prepare_file(path: Path) -> None:
    """Make the file ourselves: SQLite would give it the umask's mode, and its -wal and -shm inherit that."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise StorageError(
                f"cannot create the database {path}: its folder does not exist",
                hint=f"mkdir -p {path.parent}",
                path=str(path),
            ) from None
        # A new file in its place would be taken for what the log belongs to, and the log for empty.
        _refuse_log(path, "missing")
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise explain(error, path, "create") from error
        return
    except OSError as error:
        raise explain(error, path, "open") from error
    check_regular(path, found.st_mode)
    if not found.st_size:
        _refuse_log(path, "empty")  # SQLite would delete it
    # SQLite would open it read-only and fail at the first commit. Not tried by opening it: closing a file drops the locks
    # that this process holds on it.
    if not os.access(path, os.R_OK | os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise _denied(path, "open", PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    if found.st_mode & 0o077 and found.st_uid == os.geteuid():
        with contextlib.suppress(OSError):
            os.chmod(path, 0o600)


def _refuse_log(path: Path, what: str) -> None:
    """Raise StorageError where the database is `what`, and its log holds all there is."""
    log = wal_of(path)
    if not log.exists() or (what == "empty" and not log.stat().st_size):
        return
    raise StorageError(
        f"the database {path} is {what}, but its log {log.name} is there: a restore was cut short, or the file was moved",
        hint="run 'wfctl restore FILE' again, or move the database back beside its log",
        path=str(path),
    ) from None


def check_regular(path: Path, mode: int) -> None:
    """Raises StorageError for what is no file."""
    if not stat.S_ISREG(mode):
        what = "a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise StorageError(
            f"the database {path} is {what}", hint="move it away, or name another `state` in wfctl.toml", path=str(path)
        )


def _settle(db: sqlite3.Connection, path: Path, durability: Durability) -> None:
    version, empty = identify(db, path)
    if empty:
        # Has an effect only before the first page is written, thus before the journal mode.
        db.execute("pragma auto_vacuum = incremental")
    if db.execute("pragma journal_mode = wal").fetchone()[0] != "wal":
        raise StorageError(
            f"the database {path} cannot use a write-ahead log there",
            hint="keep `state` on a local disk, not on a network file system",
            path=str(path),
        )
    db.execute(f"pragma synchronous = {durability}")
    # Runs refer to runs committed with or before them and are never deleted one by one: checking at each insert would
    # cost a look-up a row for what cannot be. Tests run `foreign_key_check` instead.
    db.execute("pragma foreign_keys = off")
    db.execute(f"pragma wal_autocheckpoint = {CHECKPOINT_PAGES}")
    db.execute(f"pragma journal_size_limit = {LOG_BYTES}")
    db.execute(f"pragma cache_size = -{CACHE_KIB}")
    db.execute(f"pragma cache_spill = {SPILL_PAGES}")
    db.execute("pragma temp_store = memory")
    if sys.version_info >= (3, 12):
        db.setconfig(sqlite3.SQLITE_DBCONFIG_DEFENSIVE, False)
    migrate(db, version, SCHEMA_VERSION)


def identify(db: sqlite3.Connection, path: Path) -> tuple[int, bool]:
    """The schema version of a database of ours, and whether it is empty still. Raises StorageError, IncompatibleError."""
    application_id = db.execute("pragma application_id").fetchone()[0]
    version: int = db.execute("pragma user_version").fetchone()[0]
    empty = db.execute("select count(*) from sqlite_master").fetchone()[0] == 0
    if application_id != APPLICATION_ID and not (application_id == 0 and empty):
        raise StorageError(
            f"{path} is a SQLite database, but not one of wfctl's (application id {application_id:#x})",
            hint="move it away, or name another `state` in wfctl.toml",
            path=str(path),
            application_id=application_id,
        )
    if version > SCHEMA_VERSION:
        raise IncompatibleError(
            f"the database {path} has schema {version}; this wfctl knows schemas up to {SCHEMA_VERSION}",
            hint="use the wfctl that wrote it, or a newer one",
            path=str(path),
            schema=version,
            known=SCHEMA_VERSION,
        )
    return version, empty


def migrate(db: sqlite3.Connection, version: int, target: int) -> None:
    """Apply the migrations after `version` up to `target`, each in one transaction with its version number: a crash
    leaves the schema before or after one of them."""
    for number, name, script in queries.migrations():
        if version < number <= target:
            try:
                db.executescript(f"begin immediate;\n{script}\npragma user_version = {number};\ncommit;")
            except BaseException as error:
                if db.in_transaction:
                    db.execute("rollback")
                error.add_note(f"in migration {name}")
                if _GUARDED in str(error):
                    raise IncompatibleError(
                        f"the SQLite of this Python is built to guard the schema (defensive mode), which {name} has to change",
                        hint="use Python 3.12 or later, which can lift that, or one with another SQLite",
                        python=sys.executable,
                    ) from error
                raise


def finish_log(db: sqlite3.Connection, busy_ms: int, *, truncate: bool) -> bool:
    """Copy the whole log into the database, so that the next commit begins it anew; with `truncate` its file is cut to nothing
    too. Waits for nobody: false where somebody still reads from it."""
    db.execute("pragma busy_timeout = 0")
    try:
        busy: int = db.execute(f"pragma wal_checkpoint({'truncate' if truncate else 'restart'})").fetchone()[0]
    finally:
        db.execute(f"pragma busy_timeout = {busy_ms}")
    return not busy


def wal_of(path: Path) -> Path:
    """The write-ahead log of the database at `path`; of one that is a symbolic link, beside what that names."""
    return _beside(path, "-wal")


def shm_of(path: Path) -> Path:
    """The index of that log, which SQLite makes again when it is missing."""
    return _beside(path, "-shm")


def _beside(path: Path, suffix: str) -> Path:
    """Where SQLite keeps the file that is called as the database is, and `suffix`."""
    return Path(os.path.realpath(path) + suffix)


def read_only_uri(path: Path) -> str:
    return f"{path.absolute().as_uri()}?mode=ro"


def still_uri(path: Path) -> str:
    """The same where no daemon has it open. Without a log the file alone is everything, and is opened as it is: a reader would
    leave an empty log behind."""
    return read_only_uri(path) + ("" if wal_of(path).exists() else "&immutable=1")


def explain(error: BaseException, path: Path, doing: str) -> WfctlError:
    """What `error` means for the person who runs the daemon. `doing` is the verb: open, write, read."""
    if isinstance(error, WfctlError):
        return error
    code = getattr(error, "sqlite_errorname", None) or errno.errorcode.get(getattr(error, "errno", 0) or 0, "")
    detail = {"path": str(path), "cause": code}
    if (isinstance(error, OSError) and error.errno in _DENIED) or code.startswith(("SQLITE_READONLY", "SQLITE_PERM")):
        return _denied(path, doing, error)
    if code.startswith("SQLITE_CANTOPEN") and not os.access(path, os.R_OK | os.W_OK):
        return _denied(path, doing, error)
    if code.startswith("SQLITE_NOTADB"):
        return StorageError(
            f"{path} is not a database",
            hint="go back to a backup (wfctl restore FILE), move it away, or name another `state` in wfctl.toml",
            **detail,
        )
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return StorageError(
            f"cannot {doing} the database {path}: another program holds its lock",
            hint="close what else has it open (a sqlite3 shell, a backup) and try again",
            **detail,
        )
    if code.startswith("SQLITE_CORRUPT") or _NO_TEXT in str(error):
        return StorageError(
            f"the database {path} is damaged: {reason(error)}",
            hint="stop the daemon, keep a copy of the file, and restore a backup or try `sqlite3 ... .recover`",
            **detail,
        )
    if code.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")) or isinstance(error, OSError):
        return _disk(error, path, doing, detail)
    return StorageError(
        f"cannot {doing} the database {path}: {type(error).__name__}: {reason(error)}",
        hint="report this as a bug",
        **detail,
    )


def _denied(path: Path, doing: str, error: BaseException) -> DeniedError:
    return DeniedError(
        f"may not {doing} the database {path}: {reason(error)}",
        hint=f"give this user read and write permission on {path} and its folder",
        path=str(path),
    )


def _disk(error: BaseException, path: Path, doing: str, detail: dict[str, str]) -> StorageError:
    free = _free_bytes(path)
    # The log's index has no room on a full disk, and SQLite calls that an error of the disk.
    full = detail["cause"] in ("SQLITE_FULL", "ENOSPC", "EDQUOT") or (free is not None and free < _NO_ROOM_BYTES)
    room = "" if free is None else f" ({free:,} bytes free on its disk)"
    return StorageError(
        f"cannot {doing} the database {path}: {reason(error)}{room}",
        hint="make room on its disk" if full else _cure(path, detail["cause"]),
        free_bytes=free,
        **detail,
    )


def _cure(path: Path, cause: str) -> str:
    """Of what SQLite has no word of its own for."""
    length = len(os.fsencode(os.path.realpath(path)))
    if cause.startswith("SQLITE_CANTOPEN") and length > LONGEST_PATH_BYTES:
        return f"use shorter folders, or a `state` elsewhere: its path has {length} bytes, and SQLite takes {LONGEST_PATH_BYTES}"
    largest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if largest != resource.RLIM_INFINITY:
        return f"check the disk, or let files be larger than {largest:,} bytes (ulimit -f, LimitFSIZE= of a unit)"
    return "check the disk"


def _free_bytes(path: Path) -> int | None:
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
