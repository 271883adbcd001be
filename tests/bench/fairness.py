"""Whether a flood of starts starves a run that waits: how long its event takes while another program starts thousands at once.

    python tests/bench/fairness.py [--starts 10000]

From `send` until the directive of the event's handler is committed, one after the other: first at idle, then from the moment the
flood begins until all that it started has completed. The flood comes from a process of its own, over one connection.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from place import Place

from wfctl import Client

Figures = dict[str, float]
# Events at idle.
IDLE = 200


async def flood(socket: Path, starts: int) -> None:
    """Start them all at once, and wait until they have completed."""
    async with Client.connect(socket=socket) as client:
        handles = await asyncio.gather(
            *(client.start("Version", workflow_id=f"flood-{number}") for number in range(starts))
        )
        await asyncio.gather(*(handle.result() for handle in handles))


async def measure(place: Place, starts: int) -> Figures:
    async with Client.connect(socket=place.socket) as client:
        await _waiting(client, 0, IDLE)
        idle = sorted([await _event(client, number) for number in range(IDLE)])
        waiting = max(starts // 2, 200)
        await _waiting(client, IDLE, waiting)
        begun = time.perf_counter()
        command = [sys.executable, __file__, "--flood", str(place.socket), "--starts", str(starts)]
        process = await asyncio.create_subprocess_exec(*command)
        ended = asyncio.create_task(process.wait())
        busy: list[float] = []
        for number in range(IDLE, IDLE + waiting):
            busy.append(await _event(client, number))
            if ended.done():
                break
        if await ended != 0:
            raise RuntimeError("the flood did not get through")
        took = time.perf_counter() - begun
    busy.sort()
    return {
        "starts": starts,
        "took_s": took,
        "events": len(busy),
        "idle_p50_ms": _at(idle, 0.5),
        "idle_p99_ms": _at(idle, 0.99),
        "p50_ms": _at(busy, 0.5),
        "p99_ms": _at(busy, 0.99),
        "max_ms": busy[-1],
        "p99_ratio": _at(busy, 0.99) / _at(idle, 0.99),
    }


async def _waiting(client: Client, first: int, count: int) -> None:
    for begin in range(first, first + count, 100):
        numbers = range(begin, min(begin + 100, first + count))
        await asyncio.gather(*(client.start("Waiter", workflow_id=f"fair-{number}") for number in numbers))
    while await client.list(status="running", workflow_type="Waiter", limit=1):
        pass


async def _event(client: Client, number: int) -> float:
    await client.status()
    handle = client.handle(f"fair-{number}")
    begun = time.perf_counter()
    ended = asyncio.create_task(handle.result())
    await handle.send("go")
    await ended
    return (time.perf_counter() - begun) * 1_000


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def show(figures: Figures) -> None:
    print(
        f"\nan event of a run that waits, while {figures['starts']:,.0f} runs are started at once (p99 at most 20 of idle)"
    )
    print(f"idle   p50 {figures['idle_p50_ms']:>7.1f} ms   p99 {figures['idle_p99_ms']:>7.1f} ms")
    print(
        f"flood  p50 {figures['p50_ms']:>7.1f} ms   p99 {figures['p99_ms']:>7.1f} ms   p99 ratio {figures['p99_ratio']:.1f}"
        f"   ({figures['events']:.0f} events in {figures['took_s']:.1f} s)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=10_000)
    parser.add_argument("--flood", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.flood is not None:
        asyncio.run(flood(arguments.flood, arguments.starts))
    else:
        with Place() as made:
            show(asyncio.run(measure(made, arguments.starts)))
