"""Images of a database as a power loss would leave it: the files at one instant, with the end of the log cut off or spoilt."""

from __future__ import annotations

import os
import shutil
import signal
import struct
from pathlib import Path
from typing import NamedTuple

from support.project import Project
from support.waiting import wait_until

HEADER = 32  # bytes of the log's header
FRAME_HEADER = 24


class Image(NamedTuple):
    """A folder with the copy; `committed` is the length of its log up to the end of the last commit in it."""

    database: Path
    log: Path
    committed: int


def take(project: Project, folder: Path) -> Image:
    """Copy the files while the daemon is stopped in the middle of whatever it does."""
    assert project.daemon is not None
    folder.mkdir(parents=True)
    database = folder / "wfctl.db"
    pid = project.daemon.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: _all_stopped(pid))
        shutil.copyfile(project.database, database)
        log = database.with_name("wfctl.db-wal")
        shutil.copyfile(project.database.with_name(log.name), log)
    finally:
        os.kill(pid, signal.SIGCONT)
    return Image(database, log, committed(log.read_bytes()))


def _all_stopped(pid: int) -> bool:
    """A thread in the middle of a write stops when that is done."""
    states = [stat.read_text().rsplit(")", 1)[1].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


def committed(log: bytes) -> int:
    """How far the log is whole: behind its last commit frame. Frames of an earlier round of the log have other salts."""
    if len(log) < HEADER:
        return 0
    page_size, salts = struct.unpack(">I", log[8:12])[0], log[16:24]
    end, at = 0, HEADER
    while at + FRAME_HEADER + page_size <= len(log) and log[at + 8 : at + 16] == salts:
        at += FRAME_HEADER + page_size
        if struct.unpack(">I", log[at - page_size - FRAME_HEADER + 4 :][:4])[0]:
            end = at
    return end


def cut(image: Image, folder: Path, length: int | None, *, garbage: bytes = b"") -> Path:
    """A copy whose log has only `length` bytes, then `garbage`; None: no log at all. Returns its database."""
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / image.database.name
    shutil.copyfile(image.database, database)
    if length is not None:
        (folder / image.log.name).write_bytes(image.log.read_bytes()[:length] + garbage)
    return database
