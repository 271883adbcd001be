"""Orders through the real daemon, its workers and `Client`, in turns with the floor: what the features cost.

python tests/bench/orders.py [--orders 1000] [--at 1 50 300] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import uvloop
from load import drive
from place import Pids, Place

from wfctl import Client

Figures = dict[str, float]


def floor(orders: int, concurrency: int) -> Figures:
    command = [sys.executable, str(Path(__file__).with_name("floor.py")), str(orders), str(concurrency)]
    figures: Figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return figures


async def engine(place: Place, orders: int, concurrency: int, tag: str) -> Figures:
    """Rate and latencies, and the processor time of an order by process (`cpu_daemon_ms`...)."""
    async with Client.connect(socket=place.socket) as client:

        async def one(number: int) -> None:
            order_id = f"{tag}-{concurrency}-{number}"
            result = await client.run(
                "Order", workflow_id=f"order-{order_id}", workflow_input={"order_id": order_id, "amount": 9.99}
            )
            assert result == "txn-1", result

        pids = await Pids.of(client)
        before = pids.cpu_ms()
        figures = await drive(one, orders, concurrency)
        after = pids.cpu_ms()
        return figures | {f"cpu_{name}_ms": (after[name] - before[name]) / orders for name in after}


def measure(place: Place, orders: int, at: list[int], rounds: int) -> list[dict[str, Any]]:
    """A row for each number of orders at a time: of the engine, of the floor, and the ratios; each the median of `rounds`."""
    return [_measured(place, max(60, orders // 5) if many == 1 else orders, many, rounds) for many in at]


def _measured(place: Place, orders: int, many: int, rounds: int) -> dict[str, Any]:
    ours: list[Figures] = []
    base: list[Figures] = []
    for number in range(rounds):
        # In turns, so that what else the machine does meets both.
        ours.append(uvloop.run(engine(place, orders, many, f"r{number}")))  # as the floor does
        base.append(floor(orders, many))
    pairs = list(zip(ours, base, strict=True))
    return {
        "at": many,
        "orders": orders,
        "rounds": rounds,
        "wfctl": _median(ours),
        "floor": _median(base),
        "rate_ratio": statistics.median(one["rate"] / other["rate"] for one, other in pairs),
        "p50_ratio": statistics.median(one["p50_ms"] / other["p50_ms"] for one, other in pairs),
    }


def _median(rounds: list[Figures]) -> Figures:
    return {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]}


def show(rows: list[dict[str, Any]]) -> None:
    print(
        "  at  wfctl/s   p50 ms   p99 ms  floor/s   p50 ms  rate ratio  p50 ratio"
        "   cpu ms an order: daemon writer workers client"
    )
    for row in rows:
        ours, base = row["wfctl"], row["floor"]
        print(
            f"{row['at']:>4} {ours['rate']:>8.0f} {ours['p50_ms']:>8.1f} {ours['p99_ms']:>8.1f} {base['rate']:>8.0f}"
            f" {base['p50_ms']:>8.1f} {row['rate_ratio']:>11.2f} {row['p50_ratio']:>10.2f}"
            f" {ours['cpu_daemon_ms']:>25.2f} {ours['cpu_writer_ms']:>6.2f} {ours['cpu_workers_ms']:>7.2f}"
            f" {ours['cpu_client_ms']:>6.2f}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000)
    parser.add_argument("--at", type=int, nargs="+", default=[1, 50, 300])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--durability", default="full")
    arguments = parser.parse_args()
    with Place(durability=arguments.durability) as made:
        show(measure(made, arguments.orders, arguments.at, arguments.rounds))
