"""For background work, beside what somebody waits for: it leaves them the processor and the disk. Hints, which do nothing where the
system has no such thing."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from typing import cast

NICE = 5
MOST_NICE = 19
# Of <linux/fs.h>.
_SYNC_FILE_RANGE_WRITE = 2


def give_way() -> None:
    """The thread that calls this has, from now on, a third of the claim to the processor that others have."""
    if sys.platform == "linux":  # where this is the thread's, and not the whole process's
        with contextlib.suppress(OSError):  # which a container may forbid
            os.setpriority(os.PRIO_PROCESS, 0, min(os.getpriority(os.PRIO_PROCESS, 0) + NICE, MOST_NICE))


def begin_writing(file: int) -> None:
    """Have the system begin to write to the disk what it has of a file; `file` is a descriptor. Does not wait for that, but may
    block where the disk has much to do already.

    Not fdatasync, and not only because that waits: what goes wrong with the disk is told once, to whoever asks first. That must
    be SQLite, which keeps its log until its own fsync has succeeded.
    """
    if (call := _sync_file_range()) is not None:
        call(file, 0, 0, _SYNC_FILE_RANGE_WRITE)


@functools.cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    if sys.platform != "linux":
        return None
    import ctypes

    try:
        call = ctypes.CDLL(None).sync_file_range
    except (OSError, AttributeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return cast(Callable[[int, int, int, int], int], call)
