"""A daemon that comes up where very many deadlines have passed meanwhile: when it takes commands, and what a start costs while it
works these off.

    python tests/bench/overdue.py [--waiting 100000]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from typing import Any

from fill import overdue
from place import Place, copied

from wfctl import Client

QUIET = 300


async def _starts(client: Client, tag: str, most: int) -> list[float]:
    """How long starts took, in ms, until so many of them, or until nothing is overdue any more."""
    took: list[float] = []
    while len(took) < most:
        if len(took) % 20 == 0 and most != QUIET and not await client.list(status=("waiting", "sleeping"), limit=1):
            break
        began = time.perf_counter()
        handle = await client.start("Version", workflow_id=f"{tag}-{len(took)}")
        took.append((time.perf_counter() - began) * 1_000)
        await handle.result()
    return sorted(took)


async def _worked_off(place: Place, waiting: int) -> dict[str, Any]:
    async with Client.connect(socket=place.socket) as client:
        began = time.perf_counter()
        busy = await _starts(client, "busy", 1_000_000)
        took = time.perf_counter() - began
        quiet = await _starts(client, "quiet", QUIET)
    return {
        "waiting": waiting,
        "worked_off_s": took,
        "runs_a_second": waiting / took,
        "starts": len(busy),
        "p50_ratio": busy[len(busy) // 2] / quiet[QUIET // 2],
        "p99_ms": busy[int(len(busy) * 0.99)],
        "p99_ratio": busy[int(len(busy) * 0.99)] / quiet[int(QUIET * 0.99)],
    }


def measure(waiting: int, repeats: int = 3) -> dict[str, Any]:
    """`repeats` times up with and without, in turns; then the work that is due."""
    ups: list[float] = []
    empty_ups: list[float] = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as made, Place() as empty:
        for _ in range(repeats):
            empty.down()
            empty_ups.append(empty.up())
            place = Place(state=copied(overdue(waiting), made))
            ups.append(place.up())
            if len(ups) < repeats:
                place.down()
        try:
            found = asyncio.run(_worked_off(place, waiting))
        finally:
            place.down()
    return found | {"up_ms": min(ups) * 1_000, "up_ratio": min(ups) / min(empty_ups)}


def show(figures: dict[str, Any]) -> None:
    print(
        f"{figures['waiting']:,} runs are overdue: wfctl up {figures['up_ms']:.0f} ms, {figures['up_ratio']:.2f} of that without;"
        f" worked off in {figures['worked_off_s']:.1f} s ({figures['runs_a_second']:,.0f} runs/s), starts meanwhile p99"
        f" {figures['p99_ms']:.1f} ms, {figures['p99_ratio']:.1f} of idle (p50 {figures['p50_ratio']:.1f})"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", type=int, default=100_000)
    show(measure(parser.parse_args().waiting))
