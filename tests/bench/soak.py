"""Half of what the machine can do, for long: whatever should not grow is looked at from beginning to end.

    python tests/bench/soak.py [--minutes 30] [--json FILE]

Orders are begun at a steady pace of half the rate that 50 at a time reach, and take as long as they take: latencies count from when
an order was due, so a pause shows in all that were due meanwhile. Closed runs are purged after a minute, runs are listed and a
tree is looked at every second, and once a reader from outside keeps the log of the database for a tenth of the time. At first the
database fills with what is kept: what is compared comes after that. It ends with a verdict, and exits with 1 where something
grew or it has none.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from load import drive
from place import Place, open_files, own_bytes

from wfctl import Client

Sample = dict[str, float]
MIB = 1 << 20
SAMPLES = 60
# When as many runs go as come: those of a minute are kept, those of another come due until the next pass, and it may take a third.
FULL_S = 180
# Then each third is as long as the pause between passes, in which the number of runs goes up and down.
LEAST_MINUTES = 6
# What a sleep may take longer.
AWAKE_S = 1
ROWS = 12
MAX_UNDER_WAY = 1_000
# After this share of the time as many orders are under way at once as there ever are: what they take of memory, beside caches that
# are full by now, stays with the process, and is no growth. It comes before what is compared.
CROWDED = 0.12
# What the database's log may take while nobody keeps it: the limit that the daemon sees to, and what a second adds to it.
LOG_BYTES = 96 * MIB


class Soak:
    def __init__(self, place: Place, client: Client, seconds: float) -> None:
        self._place = place
        self._client = client
        self._seconds = seconds
        self._took: list[float] = []
        self._begun = self._done = 0
        self._room = asyncio.Semaphore(MAX_UNDER_WAY)
        self._tasks: set[asyncio.Task[None]] = set()
        self.samples: list[Sample] = []
        # For how long the machine, or who stops processes on it, did not let this one go on.
        self.stood_s = 0.0

    async def fastest(self, seconds: float) -> float:
        """Orders a second, 50 at a time."""
        end = time.perf_counter() + seconds
        best = 0.0
        number = 0
        while time.perf_counter() < end:
            number += 1
            found = await drive(lambda n, number=number: self._order(f"fast-{number}-{n}"), 500, 50)  # type: ignore[misc]
            best = max(best, found["rate"])
        return best

    async def _order(self, name: str) -> None:
        given = {"order_id": name, "amount": 9.99}
        result = await self._client.run("Order", workflow_id=f"order-{name}", workflow_input=given)
        assert result == "txn-1", result

    async def run(self, rate: float) -> None:
        began = time.perf_counter()
        others = [asyncio.create_task(work) for work in (self._look(), self._sample(), self._keep_log())]
        number, crowded_at = 0, round(CROWDED * self._seconds * rate)
        while (due := began + number / rate) < began + self._seconds:
            if number == crowded_at:
                await asyncio.sleep(2 * MAX_UNDER_WAY / rate)
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            await self._room.acquire()
            task = asyncio.create_task(self._one(number, due))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            number += 1
        await asyncio.gather(*self._tasks)
        for task in others:
            task.cancel()
        for ended in await asyncio.gather(*others, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def _one(self, number: int, due: float) -> None:
        self._begun += 1
        try:
            await self._order(f"soak-{number}")
            self._done += 1
            self._took.append((time.perf_counter() - due) * 1_000)
        finally:
            self._room.release()

    async def _look(self) -> None:
        """What a person who watches asks for."""
        while True:
            await asyncio.sleep(1)
            runs = await self._client.list(limit=20)
            if runs:
                handle = self._client.handle(runs[0].run_id)
                await handle.describe()

    async def _keep_log(self) -> None:
        """Read for long, in the third quarter: the log cannot begin anew meanwhile."""
        await asyncio.sleep(self._seconds * 0.5)
        reader = sqlite3.connect(f"{self._place.database.as_uri()}?mode=ro", uri=True, isolation_level=None)
        reader.execute("begin")
        reader.execute("select count(*) from meta").fetchone()
        await asyncio.sleep(self._seconds * 0.1)
        reader.close()

    async def _sample(self) -> None:
        every = self._seconds / SAMPLES
        began = last = time.perf_counter()
        done = 0
        while True:
            asleep = time.perf_counter()
            await asyncio.sleep(every)
            self.stood_s += max(time.perf_counter() - asleep - every - AWAKE_S, 0)
            status = await self._client.status()
            now = time.perf_counter()
            took, self._took = sorted(self._took), []
            workers = [worker.pid for worker in status.workers]
            if took:
                self.samples.append(
                    {
                        "at_s": now - began,
                        "rate": (self._done - done) / (now - last),
                        "p50_ms": took[len(took) // 2],
                        "p99_ms": took[int(len(took) * 0.99)],
                        "daemon_mib": own_bytes(status.pid) / MIB,
                        "workers_mib": sum(map(own_bytes, workers)) / MIB,
                        "files": open_files(status.pid),
                        "worker_files": sum(map(open_files, workers)),
                        "log_mib": status.wal_bytes / MIB,
                        "database_mib": (status.database_bytes - status.wal_bytes) / MIB,
                        "runs": sum(status.counts.values()),
                    }
                )
            done, last = self._done, now


def verdict(samples: list[Sample], rate: float) -> list[tuple[str, bool, str]]:
    """What was to stay as it was: its name, whether it did, and the figures. The first fifth is warming up, and at least until as
    many runs go as come."""
    steady = [one for one in samples if one["at_s"] > max(samples[-1]["at_s"] / 5, FULL_S)]
    third = max(len(steady) // 3, 1)
    first, last = steady[:third], steady[-third:]

    def grown(name: str, most: float, slack: float = 0) -> tuple[bool, str]:
        a, b = (statistics.median(one[name] for one in part) for part in (first, last))
        return b <= a * most + slack, f"{a:,.1f} at first, {b:,.1f} at last"

    # While the reader from outside is there, and until it is noticed that it is gone, the log grows.
    end = samples[-1]["at_s"]
    free = [one["log_mib"] for one in samples if not 0.48 * end < one["at_s"] < 0.65 * end]
    kept = max(one["log_mib"] for one in samples)
    reached = statistics.median(one["rate"] for one in steady) / rate
    return [
        ("memory of the daemon, MiB", *grown("daemon_mib", 1.1, 4)),
        ("memory of the workers, MiB", *grown("workers_mib", 1.1, 8)),
        ("files open in the daemon", *grown("files", 1, 3)),
        ("files open in the workers", *grown("worker_files", 1, 3)),
        (
            "log of the database, MiB",
            max(free) * MIB <= LOG_BYTES,
            f"at most {max(free):,.1f}; {kept:,.1f} with a reader",
        ),
        ("database, MiB", *grown("database_mib", 1.1, 4)),
        ("runs in the database", *grown("runs", 1.1)),
        ("latency p50, ms", *grown("p50_ms", 1.25, 1)),
        ("latency p99, ms", *grown("p99_ms", 1.5, 5)),
        ("orders a second", reached > 0.97, f"{reached:.2f} of {rate:,.0f}"),
    ]


COLUMNS = [
    ("at_s", "min", 60, 1), ("rate", "rate/s", 1, 0), ("p50_ms", "p50 ms", 1, 1), ("p99_ms", "p99 ms", 1, 1),
    ("daemon_mib", "daemon MiB", 1, 1), ("workers_mib", "workers MiB", 1, 1), ("files", "files", 1, 0),
    ("worker_files", "of workers", 1, 0), ("log_mib", "log MiB", 1, 1), ("database_mib", "database MiB", 1, 1),
    ("runs", "runs", 1, 0),
]  # fmt: skip


def show(figures: dict[str, Any]) -> None:
    samples: list[Sample] = figures["samples"]
    print(
        f"{figures['fastest']:,.0f} orders a second 50 at a time; {figures['rate']:,.0f} for {figures['minutes']:g} minutes"
    )
    print("  ".join(f"{title:>{len(title) + 2}}" for _, title, _, _ in COLUMNS))
    size = max(len(samples) // ROWS, 1)
    for begin in range(0, len(samples), size):
        part = samples[begin : begin + size]
        row = {name: statistics.median(one[name] for one in part) for name in part[0]}
        print("  ".join(f"{row[name] / unit:>{len(title) + 2},.{places}f}" for name, title, unit, places in COLUMNS))
    print()
    for name, flat, said in figures["verdict"]:
        print(f"{'flat' if flat else 'GREW':<6}{name:<30}{said}")
    if figures["stood_s"]:
        print(f"\nverdict: none, all of this stood still for {figures['stood_s']:.0f} s; measure again")
    else:
        print("\nverdict: " + ("flat" if all(flat for _, flat, _ in figures["verdict"]) else "something grew"))


async def measure(place: Place, minutes: float) -> dict[str, Any]:
    async with Client.connect(socket=place.socket) as client:
        soak = Soak(place, client, minutes * 60)
        fastest = await soak.fastest(min(minutes * 2, 30))
        rate = fastest / 2
        await soak.run(rate)
    found = {"minutes": minutes, "fastest": fastest, "rate": rate, "samples": soak.samples, "stood_s": soak.stood_s}
    return found | {"verdict": verdict(soak.samples, rate)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    if arguments.minutes < LEAST_MINUTES:
        parser.error(
            f"for {FULL_S // 60} minutes the database fills with what is kept: give it {LEAST_MINUTES} or more"
        )
    with Place(more='[retention]\ncompleted = "1m"\n') as made:
        figures = asyncio.run(measure(made, arguments.minutes))
    show(figures)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    sys.exit(0 if all(flat for _, flat, _ in figures["verdict"]) and not figures["stood_s"] else 1)
