"""From saving a workflow file to the first step that runs the new code: through the real daemon, watcher and workers.

    python tests/bench/reload.py [--saves 50] [--json FILE]

At idle, and beside orders that come 50 at a time. A save is a rename over the file, as editors do it, a second after the one
before; then runs are started one after the other until one answers with the new code.

And what a broken save costs the orders that come meanwhile: their number in a while after one, in relation to a while without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.project import SAMPLES, Project
from support.waiting import a_moment
from wfctl import Client

CODE = """
from wfctl import Context, Directive, Workflow

wf = Workflow("Probe")


@wf.start()
async def begin(ctx: Context) -> Directive:
    return ctx.next.complete({version})
"""
LANES = 50
BETWEEN_S = 1.0
LOOK_S = 0.005
WINDOW_S = 4.0
WINDOWS = 5


async def measure(client: Client, file: Path, saves: int, first: int) -> list[float]:
    """Milliseconds from each save to the start of the run that the new code answers."""
    took = []
    for version in range(first, first + saves):
        await a_moment(BETWEEN_S)
        beside = file.with_suffix(".new")
        beside.write_text(CODE.format(version=version))
        begun = time.perf_counter()
        os.replace(beside, file)
        while True:
            asked = time.perf_counter()
            if await client.run("Probe") == version:
                break
            await a_moment(LOOK_S)
        took.append((asked - begun) * 1_000)
    return took


class Orders:
    """Orders that come in lanes; `done` counts those that completed, as each has to."""

    done = 0


async def beside_orders(client: Client, work: Callable[[Orders], Awaitable[list[float]]]) -> tuple[list[float], int]:
    """`work` while orders come; and how many orders completed."""
    over = False
    orders = Orders()

    async def lane(number: int) -> None:
        turn = 0
        while not over:
            order = f"{number}-{turn}"
            handle = await client.start(
                "Order", workflow_id=f"order-{order}", workflow_input={"order_id": order, "amount": 3.0}
            )
            await handle.send("start_payment")
            await handle.result()
            turn += 1
            orders.done += 1

    lanes = [asyncio.ensure_future(lane(number)) for number in range(LANES)]
    try:
        took = await work(orders)
    finally:
        over = True
        await asyncio.gather(*lanes)
    return took, orders.done


async def broken_saves(orders: Orders, file: Path) -> list[float]:
    """For each of several broken saves: the orders of a while after it, in relation to those of the while before, without."""
    ratios = []
    good = file.read_text()
    for _ in range(WINDOWS):
        file.write_text(good)
        await a_moment(BETWEEN_S)
        counts = []
        for text in (good, good + "def broken(:\n"):
            if text != good:
                file.write_text(text)
            before = orders.done
            await a_moment(WINDOW_S)
            counts.append(orders.done - before)
        ratios.append(counts[1] / counts[0])
    return ratios


def summary(took: list[float]) -> dict[str, float]:
    ordered = sorted(took)
    return {
        "median_ms": round(statistics.median(ordered), 1),
        "p99_ms": round(ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)], 1),
        "worst_ms": round(ordered[-1], 1),
    }


async def run(project: Project, saves: int) -> dict[str, object]:
    file = project.folder / "probe.py"
    async with Client.connect(project.socket) as client:
        await client.run("Probe")
        idle = await measure(client, file, saves, 1)
        begun = time.perf_counter()
        loaded, orders = await beside_orders(client, lambda _: measure(client, file, saves, 1 + saves))
        seconds = time.perf_counter() - begun
        ratios, _ = await beside_orders(client, lambda orders: broken_saves(orders, file))
        workers = len((await client.status()).workers)
    return {
        "saves": saves, "idle": summary(idle), "beside_orders": summary(loaded), "orders": orders,
        "orders_per_second": round(orders / seconds, 1), "workers_left": workers,
        "orders_after_a_broken_save": round(statistics.median(ratios), 2),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--saves", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wfctl-") as folder:
        orders = (SAMPLES / "orders" / "orders.py").read_text()
        project = Project(Path(folder), {"orders.py": orders, "probe.py": CODE.format(version=0)})
        project.up()
        try:
            figures = asyncio.run(run(project, options.saves))
        finally:
            project.stop()
    print(json.dumps(figures, indent=2))
    if options.json is not None:
        options.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
