"""What a purge costs those who start runs meanwhile, and how fast it is: many small trees, one big one, and the oldest of a
long past.

    python tests/bench/purging.py [--orders 3000] [--children 10000] [--closed 1000000] [--trees 10000]

Starts are made one at a time, without a purge and during one, on the same database; the past also loses as many trees with nobody
else there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import tempfile
import time
from datetime import timedelta
from typing import Any

from fill import CLOSED, filled
from orders import engine
from place import Place, copied

from wfctl import Client

Figures = dict[str, float]


async def _starts(client: Client, tag: str, until: asyncio.Event, most: int) -> list[float]:
    """How long starts took, in ms, until the event or so many of them."""
    took: list[float] = []
    while len(took) < most and not until.is_set():
        began = time.perf_counter()
        await client.start("Waiter", workflow_id=f"{tag}-{len(took)}")
        took.append((time.perf_counter() - began) * 1_000)
    return sorted(took)


def _quantiles(times: list[float]) -> Figures:
    return {
        "starts": len(times),
        "p50_ms": times[len(times) // 2],
        "p99_ms": times[int(len(times) * 0.99)],
        "max_ms": times[-1],
    }


async def _purged(place: Place, tag: str, starts: int, **wanted: Any) -> dict[str, Any]:
    async with Client.connect(socket=place.socket) as client:
        never, over = asyncio.Event(), asyncio.Event()
        quiet = await _starts(client, f"{tag}-before", never, starts)
        began = time.perf_counter()
        purge = asyncio.create_task(client.purge(**{"older_than": timedelta()} | wanted))
        purge.add_done_callback(lambda _: over.set())
        log = asyncio.create_task(_longest_log(client, over))
        busy = await _starts(client, f"{tag}-during", over, 1_000_000)
        done = await purge
        took = time.perf_counter() - began
        longest = await log
        quiet = sorted(quiet + await _starts(client, f"{tag}-after", never, starts))
    without, during = _quantiles(quiet), _quantiles(busy)
    return {
        "trees": done.trees,
        "runs": done.runs,
        "freed_mib": done.freed_bytes / 2**20,
        "returned_mib": done.returned_bytes / 2**20,
        "seconds": took,
        "log_mib": longest,
        "runs_a_second": done.runs / took,
        "without": without,
        "during": during,
        "p50_ratio": during["p50_ms"] / without["p50_ms"],
        "p99_ratio": during["p99_ms"] / without["p99_ms"],
    }


async def _family(place: Place, children: int) -> None:
    async with Client.connect(socket=place.socket) as client:
        await client.run("Family", workflow_id="family", workflow_input={"children": children})
        while await client.list(status="running", limit=1):
            pass


async def _longest_log(client: Client, over: asyncio.Event) -> float:
    """The size of the write-ahead log at its longest, in MiB."""
    longest = 0
    while not over.is_set():
        longest = max(longest, (await client.status()).wal_bytes)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), 0.1)
    return longest / 2**20


async def _past(place: Place, starts: int, trees: int) -> dict[str, Any]:
    async with Client.connect(socket=place.socket) as client:
        began = time.perf_counter()
        would = await client.purge(older_than=timedelta(), dry_run=True)
        looked = time.perf_counter() - began
        found = await _purged(place, "past", starts, limit=trees)
        began = time.perf_counter()
        alone = await client.purge(older_than=timedelta(), limit=trees)
        took = time.perf_counter() - began
    return found | {
        "dry_run_s": looked,
        "dry_run_runs": would.runs,
        "alone_runs_a_second": alone.runs / took,
        "alone_s": took,
    }


def past(closed: int, trees: int, starts: int = 500) -> dict[str, Any]:
    """The oldest trees of a database with so many closed runs."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as made:
        with Place(state=copied(filled(closed), made)) as place:
            return asyncio.run(_past(place, starts, trees))


def measure(orders: int, children: int, starts: int = 500) -> dict[str, Any]:
    """Of many small trees, and of one with so many runs; so many starts before and after each tell how long one takes."""
    with Place() as place:
        asyncio.run(engine(place, orders, 50, "purge"))
        small = asyncio.run(_purged(place, "small", starts))
        asyncio.run(_family(place, children))
        return {"small": small, "big": asyncio.run(_purged(place, "big", starts))}


def show(figures: dict[str, Any]) -> None:
    print(
        "purged         trees    runs  freed MiB  returned  log MiB  runs/s"
        "   starts meanwhile: p50 ms  p99 ms  max ms  p50 ratio  p99 ratio"
    )
    for name, row in figures.items():
        during = row["during"]
        print(
            f"{name:<10} {row['trees']:>9,} {row['runs']:>7,} {row['freed_mib']:>10.1f} {row['returned_mib']:>9.1f}"
            f" {row['log_mib']:>8.1f} {row['runs_a_second']:>7,.0f}"
            f" {during['p50_ms']:>26.1f} {during['p99_ms']:>7.1f} {during['max_ms']:>7.1f}"
            f" {row['p50_ratio']:>10.2f} {row['p99_ratio']:>10.2f}"
        )
        if "dry_run_s" in row:
            print(
                f"of the past with nobody else there: a dry run over {row['dry_run_runs']:,} runs {row['dry_run_s']:.1f} s, as many"
                f" trees again {row['alone_s']:.1f} s ({row['alone_runs_a_second']:,.0f} runs/s)"
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=3_000)
    parser.add_argument("--children", type=int, default=10_000)
    parser.add_argument("--closed", type=int, default=CLOSED)
    parser.add_argument("--trees", type=int, default=10_000)
    arguments = parser.parse_args()
    show(measure(arguments.orders, arguments.children) | {"past": past(arguments.closed, arguments.trees)})
