"""Time as an argument: the one place of the daemon that asks what time it is, and what tests put in its stead."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol


class TimerHandle(Protocol):
    def cancel(self) -> None:
        """The function is not called any more; twice, or after it was called, is fine."""


class Clock(Protocol):
    def now_ms(self) -> int:
        """UTC epoch milliseconds. May jump when the machine's clock is set."""

    def call_later(self, delay_ms: int, fn: Callable[[], None]) -> TimerHandle:
        """Call `fn` on the event loop once, `delay_ms` from now by elapsed time; at the next turn where it is not positive."""

    def call_at(self, at_ms: int, fn: Callable[[], None]) -> TimerHandle:
        """Call `fn` on the event loop once when `now_ms` has reached `at_ms`, also when the clock was set meanwhile."""


class SystemClock:
    """The machine's time. Timers run on the current event loop."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def call_later(self, delay_ms: int, fn: Callable[[], None]) -> TimerHandle:
        return asyncio.get_running_loop().call_later(max(delay_ms, 0) / 1_000, fn)

    def call_at(self, at_ms: int, fn: Callable[[], None]) -> TimerHandle:
        return _WallTimer(self, at_ms, fn)


class _WallTimer:
    """Waits for an instant of the wall clock. The loop's timers run on elapsed time, so it looks again now and then."""

    __slots__ = ("_at_ms", "_clock", "_fn", "_handle")

    LOOK_AGAIN_MS = 1_000

    def __init__(self, clock: SystemClock, at_ms: int, fn: Callable[[], None]) -> None:
        self._clock = clock
        self._at_ms = at_ms
        self._fn = fn
        self._handle = self._arm()

    def _arm(self) -> TimerHandle:
        return self._clock.call_later(min(self._at_ms - self._clock.now_ms(), self.LOOK_AGAIN_MS), self._look)

    def _look(self) -> None:
        if self._clock.now_ms() >= self._at_ms:
            self._fn()
        else:
            self._handle = self._arm()

    def cancel(self) -> None:
        self._handle.cancel()


class ManualClock:
    """Time that stands still until `advance`. Needs no event loop; where one runs, what is due at once is called on it."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now = now_ms
        self._timers: list[_ManualTimer] = []
        self._order = itertools.count()

    def now_ms(self) -> int:
        return self._now

    def call_later(self, delay_ms: int, fn: Callable[[], None]) -> TimerHandle:
        timer = _ManualTimer(self._now + max(delay_ms, 0), next(self._order), fn)
        heapq.heappush(self._timers, timer)
        if delay_ms <= 0:
            with contextlib.suppress(RuntimeError):
                asyncio.get_running_loop().call_soon(self.advance, 0)
        return timer

    def call_at(self, at_ms: int, fn: Callable[[], None]) -> TimerHandle:
        return self.call_later(at_ms - self._now, fn)

    def advance(self, ms: int) -> None:
        """Move on by `ms`, calling what falls due in the order of its time, also what those calls add."""
        end = self._now + ms
        while self._timers and self._timers[0].due_ms <= end:
            timer = heapq.heappop(self._timers)
            if timer.fn is not None:
                self._now = max(self._now, timer.due_ms)
                fn, timer.fn = timer.fn, None
                fn()
        self._now = end

    def next_due_ms(self) -> int | None:
        """When the next timer is due, or None: what a simulator advances to."""
        while self._timers and self._timers[0].fn is None:
            heapq.heappop(self._timers)
        return self._timers[0].due_ms if self._timers else None


class _ManualTimer:
    __slots__ = ("due_ms", "fn", "order")

    def __init__(self, due_ms: int, order: int, fn: Callable[[], None]) -> None:
        self.due_ms = due_ms
        self.order = order
        self.fn: Callable[[], None] | None = fn

    def __lt__(self, other: _ManualTimer) -> bool:
        return (self.due_ms, self.order) < (other.due_ms, other.order)

    def cancel(self) -> None:
        self.fn = None
