"""The engine's clock on simulated time: elapsed time is the loop's, wall time is that plus what the machine's clock was set by."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable

from support.sim.loop import Loop

BEGIN_MS = 1_700_000_000_000
# How late a timer may notice that the clock was set.
LOOK_AGAIN_US = 1_000_000


class SimClock:
    def __init__(self, loop: Loop, chance: random.Random) -> None:
        self._loop = loop
        self._chance = chance
        self._base_ms = BEGIN_MS
        self._timers: dict[_WallTimer, None] = {}

    def now_ms(self) -> int:
        return self._base_ms + self._loop.now_us // 1_000

    def call_later(self, delay_ms: int, fn: Callable[[], None]) -> asyncio.TimerHandle:
        return self._loop.after_us(max(delay_ms, 0) * 1_000, fn)

    def call_at(self, at_ms: int, fn: Callable[[], None]) -> _WallTimer:
        timer = _WallTimer(self, at_ms, fn)
        self._timers[timer] = None
        self.arm(timer, 0)
        return timer

    def arm(self, timer: _WallTimer, late_us: int) -> None:
        at_us = max((timer.at_ms - self._base_ms) * 1_000, self._loop.now_us + late_us)
        timer.handle = self._loop.at_us(at_us, timer.look, context=timer.context)

    def drop(self, timer: _WallTimer) -> None:
        self._timers.pop(timer, None)

    def step(self, by_ms: int) -> None:
        """Somebody sets the machine's clock."""
        self._base_ms += by_ms
        for timer in sorted(self._timers, key=lambda timer: timer.at_ms):
            timer.handle.cancel()
            self.arm(timer, self._chance.randrange(LOOK_AGAIN_US))


class _WallTimer:
    __slots__ = ("_clock", "_fn", "at_ms", "context", "handle")

    handle: asyncio.TimerHandle

    def __init__(self, clock: SimClock, at_ms: int, fn: Callable[[], None]) -> None:
        self._clock = clock
        self._fn = fn
        self.at_ms = at_ms
        self.context = contextvars.copy_context()

    def look(self) -> None:
        if self._clock.now_ms() < self.at_ms:
            self._clock.arm(self, 0)
        else:
            self._clock.drop(self)
            self._fn()

    def cancel(self) -> None:
        self._clock.drop(self)
        self.handle.cancel()
