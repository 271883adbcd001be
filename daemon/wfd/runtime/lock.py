"""Who owns a state directory: a lock the kernel holds and releases, so that no crash leaves one behind."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from pathlib import Path
from typing import Any

from wfctl.errors import DaemonAlreadyRunningError, StorageError
from wfctl.values.causes import cannot


class StateLock:
    """The lock on a state directory. The file's content (pid, socket, config) is for messages only and decides nothing.

    The file is never removed: a second daemon could hold the lock of the removed one while a third makes a new.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        return self._fd is not None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a process has to inherit so that the lock is taken for as long as it lives."""
        return () if self._fd is None else (self._fd,)

    @property
    def displaced(self) -> bool:
        """Whether the file is certainly not where the next daemon looks for it, which could take another one beside ours."""
        if self._fd is None:
            return False
        ours = os.fstat(self._fd)
        try:
            there = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except OSError:
            return False  # nobody can say
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def acquire(self, socket: Path, config: str = "") -> None:
        """Take the lock, or raise DaemonAlreadyRunningError that names who has it. `config` is of which project we are."""
        if self._fd is not None:
            return
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise cannot("open the lock", self.path, error, otherwise="name another `state` in wfctl.toml") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(fd)
            os.close(fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageError(
                    f"cannot lock {self.path}: {error.strerror}",
                    hint="keep the state directory on a local disk",
                    path=str(self.path),
                ) from None
            raise _taken(self.path.parent, holder) from None
        content = json.dumps({"pid": os.getpid(), "socket": str(socket), "config": config}).encode() + b"\n"
        # On a full disk it says nothing of us, and is held all the same: runs that are there can be read, and purged.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, content, 0)
        self._fd = fd

    def release(self) -> None:
        """Give the lock back; twice is fine."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            os.ftruncate(fd, 0)
            # Closing is not enough: a child between fork and exec still has the descriptor, and with it the lock.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)


def _holder(fd: int) -> dict[str, Any]:
    """What the holder wrote; empty where it has not yet."""
    try:
        content = json.loads(os.pread(fd, 4096, 0))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _taken(state: Path, holder: dict[str, Any]) -> DaemonAlreadyRunningError:
    who = f" (pid {holder['pid']})" if "pid" in holder else ""
    return DaemonAlreadyRunningError(
        f"another wfctl daemon{who} has {state}",
        hint="wfctl status, or wfctl down to stop it",
        state=str(state),
        **{key: holder[key] for key in ("pid", "socket") if key in holder},
    )
