"""A load: so many units of work, so many at a time, and how long each took."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def drive(one: Callable[[int], Awaitable[object]], count: int, concurrency: int) -> dict[str, float]:
    """Run `one(n)` `count` times after one that warms up: how many a second, and their latencies."""
    await one(0)
    times: list[float] = []
    numbers = iter(range(1, count + 1))

    async def lane() -> None:
        for number in numbers:
            begun = time.perf_counter()
            await one(number)
            times.append(time.perf_counter() - begun)

    begun = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(concurrency)))
    took = time.perf_counter() - begun
    times.sort()
    return {
        "rate": count / took,
        "p50_ms": times[len(times) // 2] * 1_000,
        "p99_ms": times[int(len(times) * 0.99)] * 1_000,
    }
