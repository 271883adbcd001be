"""What grows with the runs that are open: the start of the daemon, its memory, its speed; and what an order takes on disk."""

from __future__ import annotations

import asyncio
import statistics

from load import drive
from orders import engine
from place import Pids, Place

from wfctl import Client

Figures = dict[str, float]


async def _open(place: Place, count: int) -> None:
    async with Client.connect(socket=place.socket) as client:
        await drive(lambda number: client.start("Waiter", workflow_id=f"open-{number}"), count, 200)
        while await client.list(status="running", limit=1):
            pass


async def _memory(place: Place) -> int:
    async with Client.connect(socket=place.socket) as client:
        return (await Pids.of(client)).memory_bytes()


def open_runs(place: Place, count: int, orders: int) -> Figures:
    """The same daemon without and with `count` runs that wait: the ratios say what they cost it."""
    up_before, memory_before = _restarted(place)
    rates = [asyncio.run(engine(place, orders, 50, f"few-{number}"))["rate"] for number in range(3)]
    asyncio.run(_open(place, count))
    up_after, memory_after = _restarted(place)
    more_rates = [asyncio.run(engine(place, orders, 50, f"many-{number}"))["rate"] for number in range(3)]
    return {
        "open_runs": count,
        "up_ms": up_after * 1_000,
        "up_ratio": up_after / up_before,
        "memory_mib": memory_after / 2**20,
        "memory_bytes_per_open_run": max(memory_after - memory_before, 0) / count,
        "rate_ratio": statistics.median(more_rates) / statistics.median(rates),
    }


def _restarted(place: Place) -> tuple[float, int]:
    place.down()
    took = place.up()
    return took, asyncio.run(_memory(place))


def disk(orders: int) -> Figures:
    """Bytes of the database for each order, once its log is emptied into it."""
    with Place() as place:
        place.down()
        before = place.database_bytes()
        place.up()
        asyncio.run(engine(place, orders, 50, "disk"))
        place.down()
        return {"bytes_per_order": (place.database_bytes() - before) / (orders + 1)}
