"""A backup becomes the project's database; the former one is kept beside it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from wfctl.errors import DaemonAlreadyRunningError, NotFoundError, StorageError
from wfctl.protocol.care import Restored
from wfctl.values.causes import cannot
from wfctl.values.project import DATABASE_NAME
from wfctl.values.times import rfc3339
from wfd.config import Config
from wfd.runtime.clock import SystemClock
from wfd.runtime.lock import StateLock
from wfd.store.connect import wal_of
from wfd.store.copy import Copied, Copy
from wfd.store.replace import replace


def restore(
    config: Config, file: Path, told: Callable[[int, int], None], done: Callable[[Restored], object] = lambda _: None
) -> Restored:
    """Check `file`, copy it into the state folder, check the copy, and put that in the database's place.

    Until all of this is done the database is as it was. Raises DaemonAlreadyRunningError while a daemon has the state. `done` is
    told of the end before a signal can come in between.
    """
    _make_state(config)
    lock = StateLock(config.lock)
    try:
        lock.acquire(config.socket)
    except DaemonAlreadyRunningError as error:
        error.hint = "wfctl down"
        raise
    try:
        incoming = config.database.with_name(f"{config.database.name}.incoming")
        copied = _copied(file, incoming, told)
        with _undisturbed():
            kept = replace(config.database, incoming, _name_to_keep(config.database))
            restored = Restored(
                path=str(file),
                database=str(config.database),
                runs=copied.runs,
                rev=copied.rev,
                database_schema=copied.database_schema,
                newest_at=copied.newest_at,
                kept=None if kept is None else str(kept),
            )
            done(restored)
    finally:
        lock.release()
    return restored


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A signal that asks to end takes effect after what is inside: it would leave a project without a database for nothing."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _make_state(config: Config) -> None:
    try:
        config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        other = "name another `state` in wfctl.toml"
        raise cannot("make the state folder", config.state, error, otherwise=other) from None


def _copied(file: Path, incoming: Path, told: Callable[[int, int], None]) -> Copied:
    if os.path.isdir(file):
        raise NotFoundError(f"{file} is a folder, not a backup", hint="name a file that 'wfctl backup' wrote")
    try:
        return Copy(file, incoming, force=True).run(told)
    except NotFoundError:
        raise NotFoundError(f"there is no backup {file}", hint="name a file that 'wfctl backup' wrote") from None
    except StorageError as error:
        if error.detail.get("path") == str(file):
            error.hint = "name another backup; this one cannot be restored"
        database = incoming.with_name(DATABASE_NAME)
        error.message = f"{error.message.replace(str(incoming), str(database))}\nnothing was changed"
        raise


def _name_to_keep(database: Path) -> Path:
    now = rfc3339(SystemClock().now_ms())[:19].replace("-", "").replace(":", "")
    kept = database.with_name(f"{database.name}.before-{now}Z")
    number = 1
    while kept.exists() or wal_of(kept).exists():
        number += 1
        kept = kept.with_name(f"{database.name}.before-{now}Z-{number}")
    return kept
