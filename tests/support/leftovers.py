"""What a test run that is killed would leave behind: daemons live in sessions of their own, and their workers with them.

Every process that tests start inherits a mark in its environment. A watcher, one for each process that runs tests, ends what has
the mark once that process has gone, however it went.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

MARK = "TESTS_STARTED_BY"


@functools.cache
def watch() -> None:
    """Mark what is started from now on, and end it when this process has ended."""
    owner = os.getpid()
    os.environ[MARK] = mark = uuid.uuid4().hex
    watcher = subprocess.Popen(
        [sys.executable, "-S", "-E", __file__, mark], stdin=subprocess.PIPE, start_new_session=True
    )

    def end() -> None:
        if os.getpid() == owner:
            watcher.communicate()

    atexit.register(end)


def _end_all(mark: str) -> None:
    """Again until there are none: one of them may be starting another."""
    wanted = f"{MARK}={mark}".encode()
    while found := [pid for pid in _processes() if wanted in _environment(pid)]:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> list[int]:
    return [int(one.name) for one in Path("/proc").glob("[0-9]*") if int(one.name) != os.getpid()]


def _environment(pid: int) -> list[bytes]:
    """Nothing of one that has ended, or is not ours."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


if __name__ == "__main__":
    sys.stdin.read()
    _end_all(sys.argv[1])
