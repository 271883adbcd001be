"""Whether a flood of starts starves a run that waits: how long its event takes while another program starts thousands at once.

    python tests/bench/fairness.py [--starts 10000] [--connections 1]

From `send` until the directive of the event's handler is committed: first at idle, then from the moment the flood begins until
all that it started has completed. Three are under way at a time, each of them sent when one before has been handled. The flood
comes from a process of its own, over one connection or several.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from place import Place

from wfctl import Client

Figures = dict[str, float]
# Events at idle, and how many are under way at a time, idle and in the flood: with one alone too few get through while it lasts for
# a p99 to say anything.
IDLE = 600
LANES = 3


async def flood(socket: Path, starts: int, connections: int) -> None:
    """Start them all at once, and wait until they have completed."""
    share = starts // connections

    async def one(which: int) -> None:
        async with Client.connect(socket=socket) as client:
            handles = await asyncio.gather(
                *(client.start("Version", workflow_id=f"flood-{which}-{number}") for number in range(share))
            )
            await asyncio.gather(*(handle.result() for handle in handles))

    await asyncio.gather(*(one(which) for which in range(connections)))


async def _events(client: Client, names: Iterator[str], over: Callable[[], bool]) -> list[float]:
    """How long those of these runs took, in order, until it is over."""
    took: list[float] = []

    async def lane() -> None:
        for name in names:
            took.append(await _event(client, name))
            if over():
                return

    await asyncio.gather(*(lane() for _ in range(LANES)))
    return sorted(took)


async def measure(place: Place, starts: int, connections: int = 1) -> Figures:
    tag = f"fair-{connections}"
    async with Client.connect(socket=place.socket) as client:
        idle = await _events(client, iter(await _waiting(client, f"{tag}-idle", min(IDLE, starts))), lambda: False)
        waiting = await _waiting(client, tag, max(starts // 2, 200))
        begun = time.perf_counter()
        command = [sys.executable, __file__, "--flood", str(place.socket), "--starts", str(starts)]
        process = await asyncio.create_subprocess_exec(*command, "--connections", str(connections))
        ended = asyncio.create_task(process.wait())
        busy = await _events(client, iter(waiting), ended.done)
        if await ended != 0:
            raise RuntimeError("the flood did not get through")
        took = time.perf_counter() - begun
    return {
        "starts": starts,
        "connections": connections,
        "took_s": took,
        "events": len(busy),
        "idle_p50_ms": _at(idle, 0.5),
        "idle_p99_ms": _at(idle, 0.99),
        "p50_ms": _at(busy, 0.5),
        "p99_ms": _at(busy, 0.99),
        "max_ms": busy[-1],
        "p99_ratio": _at(busy, 0.99) / _at(idle, 0.99),
    }


async def _waiting(client: Client, tag: str, count: int) -> list[str]:
    names = [f"{tag}-{number}" for number in range(count)]
    for begin in range(0, count, 100):
        await asyncio.gather(*(client.start("Waiter", workflow_id=name) for name in names[begin : begin + 100]))
    while await client.list(status="running", workflow_type="Waiter", limit=1):
        pass
    return names


async def _event(client: Client, name: str) -> float:
    await client.status()
    handle = client.handle(name)
    begun = time.perf_counter()
    ended = asyncio.create_task(handle.result())
    await handle.send("go")
    await ended
    return (time.perf_counter() - begun) * 1_000


def _at(ordered: list[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def show(figures: Figures) -> None:
    print(
        f"\nan event of a run that waits, while {figures['starts']:,.0f} runs are started at once"
        f" over {figures['connections']:.0f} connections (p99 at most 20 of idle)"
    )
    print(f"idle   p50 {figures['idle_p50_ms']:>7.1f} ms   p99 {figures['idle_p99_ms']:>7.1f} ms")
    print(
        f"flood  p50 {figures['p50_ms']:>7.1f} ms   p99 {figures['p99_ms']:>7.1f} ms   p99 ratio {figures['p99_ratio']:.1f}"
        f"   ({figures['events']:.0f} events in {figures['took_s']:.1f} s)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--flood", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.flood is not None:
        asyncio.run(flood(arguments.flood, arguments.starts, arguments.connections))
    else:
        with Place() as made:
            show(asyncio.run(measure(made, arguments.starts, arguments.connections)))
