"""The one place where tests let real time pass: until something that another process does has happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

STEP_S = 0.01


def wait_until(happened: Callable[[], object], within_s: float = 30) -> None:
    """Returns once `happened()` is true; AssertionError after `within_s`."""
    asked = time.monotonic()
    end = asked + within_s
    while not happened():
        now = time.monotonic()
        assert now < end, f"did not happen within {within_s} s"
        # As long as a command took that was asked: it must not take the processor from what is waited for.
        time.sleep(max(STEP_S, now - asked))
        asked = time.monotonic()


async def until(happened: Callable[[], object], within_s: float = 30) -> None:
    """The same for a test on an event loop."""
    end = time.monotonic() + within_s
    while not happened():
        assert time.monotonic() < end, f"did not happen within {within_s} s"
        await asyncio.sleep(STEP_S)


async def until_async(happened: Callable[[], Awaitable[object]], within_s: float = 30) -> None:
    end = time.monotonic() + within_s
    while not await happened():
        assert time.monotonic() < end, f"did not happen within {within_s} s"
        await asyncio.sleep(STEP_S)


async def a_moment(seconds: float) -> None:
    """Let real time pass where that is the point: disorder between tasks, or that something has *not* happened by then."""
    await asyncio.sleep(seconds)
