"""How far a step has got, told the daemon no faster than anybody can look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from wfctl.protocol.channel import Progress

# At most ten a second leave a step.
EVERY_S = 0.1


class Reporter:
    """Lets the first of a burst through at once, then the newest of each tenth of a second, and the last in any case.

    `report` may be called from any thread, in a tight loop: while the gate is shut it costs an assignment.
    """

    __slots__ = ("_closed", "_gate_shut", "_loop", "_newest", "_send", "_timer")

    def __init__(self, send: Callable[[Progress], None], loop: asyncio.AbstractEventLoop) -> None:
        self._send = send
        self._loop = loop
        self._newest: Progress | None = None
        self._gate_shut = False
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def report(self, message: Progress, *, later: bool) -> None:
        """`later`: what it says may be history already; the newest of the next tenth of a second is enough."""
        if self._closed:
            return
        self._newest = message  # before the gate is looked at, so that whoever opens it sees this
        if self._gate_shut:
            return
        self._gate_shut = True
        begin = self._wait if later else self._pass
        if asyncio._get_running_loop() is self._loop:
            begin()
        else:
            self._loop.call_soon_threadsafe(begin)

    def close(self, *, tell: bool) -> None:
        """The step has ended; with `tell` the last report goes out first."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        newest = self._take()
        if tell and newest is not None:
            self._send(newest)

    def _take(self) -> Progress | None:
        newest, self._newest = self._newest, None
        return newest

    def _pass(self) -> None:
        if self._closed:
            return
        newest = self._take()
        if newest is None:
            self._gate_shut = False
            newest = self._take()  # a thread may have reported in between, and seen the gate shut
            if newest is None:
                return
            self._gate_shut = True
        self._send(newest)
        self._wait()

    def _wait(self) -> None:
        self._timer = self._loop.call_later(EVERY_S, self._pass)
