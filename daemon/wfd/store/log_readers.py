"""Which programs beside ours read from the write-ahead log, as each one that never pauses keeps it from being cut."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection
from pathlib import Path

from wfd.store.connect import shm_of

# The bytes of the log's index that readers have locked while a transaction of theirs is open (SQLite's "WAL-mode File Format").
_FIRST, _LAST = 123, 127
_LOCK = re.compile(r"\d+: POSIX +\S+ +READ +(-?\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) (\d+) (\d+|EOF)\n?")
_LOCKS = Path("/proc/locks")


def log_readers(database: Path, ours: Collection[int | None], locks: Path = _LOCKS) -> list[str]:
    """Their names and process IDs, as `sqlite3 (pid 4711)`, but for the processes `ours`; nothing where the system does not tell.

    The index itself is not opened for this: closing it would give up the locks that SQLite has on it for this process.
    """
    try:
        index = shm_of(database).stat()
        lines = locks.read_text().splitlines()
    except OSError:
        return []
    device = os.major(index.st_dev), os.minor(index.st_dev)
    found: dict[str, None] = {}
    for line in lines:
        if (lock := _LOCK.fullmatch(line)) is None:
            continue
        pid, major, minor, inode, first, last = lock.groups()
        reads = int(first) <= _LAST and (last == "EOF" or int(last) >= _FIRST)
        if not reads or int(inode) != index.st_ino or int(pid) in ours:
            continue
        # Some file systems (btrfs) have a device of their own for each part, and locks are listed with another.
        if (int(major, 16), int(minor, 16)) == device or _has_open(int(pid), index):
            found[_named(int(pid))] = None
    return list(found)


def _has_open(pid: int, file: os.stat_result) -> bool:
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        for opened in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if os.path.samestat(opened.stat(), file):
                    return True
    return False


def _named(pid: int) -> str:
    if pid <= 0:
        return "a program outside this container"
    name = "a program"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        name = Path(f"/proc/{pid}/comm").read_text().strip().replace("\n", " ") or name
    return f"{name} (pid {pid})"
