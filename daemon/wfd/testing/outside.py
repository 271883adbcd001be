"""Whether something real may still move the handlers on: a timer of the event loop, a socket or pipe, a thread."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import thread as executors
from types import FrameType
from typing import Any

from wfctl.sdk import current

# What ends a wait that takes too long, of `asyncio.timeout`, `wait_for` and `wait`.
_LIMITS = frozenset({"_on_timeout", "_release_waiter"})


class Outside:
    """Create it when all of the environment's own runs. Threads, sockets and pipes that are there by then move no handler.

    asyncio has no public names for what a loop waits for. Of a loop that does not have these, as uvloop, everything is possible.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Any = loop
        frames = sys._current_frames()
        # Those of an executor take new work from anybody.
        self._threads = {one for one in threading.enumerate() if not _in_executor(frames.get(one.ident or 0))}
        self._files_before: list[tuple[int, Any]] = []
        with contextlib.suppress(AttributeError):
            self._files_before = [(fd, handle._callback) for fd, handle in self._handles()]

    def moves(self, until_s: float, *, anyone: bool = False) -> bool:
        """Whether something may come before the loop's time `until_s`; with `anyone`, also by way of what waits for sockets and
        pipes beside the handlers."""
        try:
            return self._timers(until_s) or self._files(anyone) or self._busy_threads()
        except AttributeError:
            return True

    def _timers(self, until_s: float) -> bool:
        # The limit that a test sets to all that it does moves nothing; one inside of a handler does.
        return any(
            handle.when() < until_s
            and not handle.cancelled()
            and (_of_handlers(handle) or getattr(handle._callback, "__name__", "") not in _LIMITS)
            for handle in self._loop._scheduled
        )

    def _files(self, anyone: bool) -> bool:
        return any(_of_handlers(handle) or (anyone and self._of_others(fd, handle)) for fd, handle in self._handles())

    def _handles(self) -> Iterator[tuple[int, Any]]:
        for key in self._loop._selector.get_map().values():
            for handle in filter(None, key.data):
                yield key.fd, handle

    def _of_others(self, fd: int, handle: Any) -> bool:
        protocol = getattr(getattr(handle._callback, "__self__", None), "_protocol", None)
        ours = type(protocol).__module__.startswith(("wfctl.", "wfd."))
        return not ours and (fd, handle._callback) not in self._files_before

    def _busy_threads(self) -> bool:
        frames = sys._current_frames()
        return any(
            (frame := frames.get(one.ident or 0)) is not None
            and frame.f_code.co_filename != executors.__file__  # there it waits for work
            and not one.name.startswith("wfctl-")  # ours: what they do is known
            for one in set(threading.enumerate()) - self._threads
        )


def _of_handlers(handle: Any) -> bool:
    """Whether code of a handler, or of a task, has put it there."""
    context: contextvars.Context = handle._context
    return context.get(current.step) is not None


def _in_executor(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_filename != executors.__file__:
        frame = frame.f_back
    return frame is not None
