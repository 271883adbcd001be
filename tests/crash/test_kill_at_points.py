"""The example with `kill -9` at every point around its commits, dispatches, operations and effects, each once.

Whatever died, and wherever: the same results, the same store, the same history as an order that nothing happened to.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from crash.shop import Customers, Shop
from support.checker import broken_effects, broken_promises
from support.crashpoints import CrashPoints
from support.waiting import until

DAEMON = [
    "commit.before", "commit.after", "committed.before", "dispatch.before", "dispatch.after", "answer.before", "answer.after",
]  # fmt: skip
WRITER = ["written.before", "written.after"]
WORKER = [
    "taken.before", "taken.after", "asked.before", "asked.after", "answered.before", "answered.after",
    "effect.before", "effect.after", "done.before", "done.after",
]  # fmt: skip
WITHIN_S = 60
# What a second attempt leaves behind.
OF_ATTEMPTS = {"step.interrupted"}
RUN = "status, type, result, error, reason, step, children, open_children, queued, waiting_for, input"


class Scene:
    """One daemon after the other on one database; each order meets one death at most."""

    def __init__(self, folder: Path) -> None:
        self.points = CrashPoints(folder / "points")
        self.shop = Shop(folder / "shop", workers=1)
        self.shop.environment |= self.points.environment
        self.orders = 0

    async def order(self, point: str = "", nth: int = 0) -> tuple[int, bool]:
        """Get one order through, with a death at the nth hit of `point`. Its number, and whether that was ever reached."""
        number, self.orders = self.orders, self.orders + 1
        if point:
            self.points.arm(point, nth)
        task = asyncio.create_task(self._order(number))
        async with asyncio.timeout(WITHIN_S):
            await self._through(task)
        reached = bool(point) and not self.points.waiting
        self.points.disarm()
        return number, reached

    async def _through(self, task: asyncio.Task[None]) -> None:
        while not task.done():
            assert self.shop.daemon is not None
            if self.shop.daemon.poll() is not None:
                await asyncio.to_thread(self.shop.serve)
            await asyncio.wait({task}, timeout=0.01)
        await task

    async def _order(self, number: int) -> None:
        customers = Customers(self.shop)
        try:
            await customers.start(number, 5)
            # An event that comes while the first step is done again comes earlier than it would have.
            asked = "select 1 from runs where workflow_id = ? and status = 'waiting'"
            await until(lambda: self.shop.sql(asked, f"order-{number}"))
            await customers.pay(number)
            await customers.result(number, 5)
            # The payment's last commit and the order's last step race.
            closed = "select 1 from runs where workflow_id = ? and status = 'completed'"
            await until(lambda: self.shop.sql(closed, f"payment-{number}"))
        finally:
            await customers.leave()

    def told(self, number: int) -> list[Any]:
        """All that the database says of an order and its payment, without names, times and attempts."""
        told: list[Any] = []
        names = {str(number): "N", f"order-{number}": "order-N", f"payment-{number}": "payment-N"}
        for workflow_id in (f"order-{number}", f"payment-{number}"):
            [(key, run_id, *run)] = self.shop.sql(
                f"select key, run_id, {RUN} from runs where workflow_id = ?", workflow_id
            )
            names[str(run_id)] = f"run of {names[workflow_id]}"
            records = self.shop.sql("select kind, data from history where run = ? order by seq", key)
            store = self.shop.sql("select key, value from store where run = ? order by key", key)
            told += [run, *([name, json.loads(str(value))] for name, value in store), *_without_attempts(records)]
        return [_nameless(item, names) for item in told]


def _nameless(value: Any, names: dict[str, str]) -> Any:
    match value:
        case dict():
            return {name: _nameless(inner, names) for name, inner in value.items()}
        case list() | tuple():
            return [_nameless(inner, names) for inner in value]
        case str() if value.startswith("{"):
            return _nameless(json.loads(value), names)
        case str():
            return re.sub(r":[0-9a-f]{16}:", ":arguments:", names.get(value, value))
        case int() if value > 1_000_000_000_000:
            return "a time"
    return value


def _without_attempts(records: list[tuple[object, ...]]) -> list[Any]:
    """The history as if every step had needed one attempt; a record is referred to by its place in that.

    When a child closes is no part of its parent's course: the payment's last commit and the order's last step race.
    """
    kept: list[Any] = []
    closings: list[Any] = []
    places: dict[int, int] = {}
    tasks: set[tuple[str, int]] = set()
    for seq, (kind, data) in enumerate(records, 1):
        record = json.loads(str(data))
        if kind in OF_ATTEMPTS:
            continue
        if kind == "task.started":
            # An attempt that was cut short is begun once more.
            if (record["key"], record["attempt"]) in tasks:
                continue
            tasks.add((record["key"], record["attempt"]))
        if kind == "step.started" and record.get("event"):
            record["event"] = places[record["event"]]
        if kind == "child.closed":
            closings.append((kind, record))
            continue
        kept.append((kind, record))
        places[seq] = len(kept)
    return kept + closings


@pytest.mark.parametrize(
    "points", [DAEMON[:3], DAEMON[3:], WRITER, WORKER], ids=["commits", "dispatches", "writer", "worker"]
)
def test_a_death_at_any_point_changes_nothing_of_an_order(tmp_path: Path, points: list[str]) -> None:
    scene = Scene(tmp_path)
    scene.shop.serve()
    try:
        deaths = asyncio.run(_every_point(scene, points))
        assert set(deaths) == set(points), "a point was never reached"
        assert broken_promises(scene.shop.database) == []
        # A worker outlives the process that writes, and hears nothing of what it was to record: it does it again.
        outlived = points is WRITER
        assert broken_effects(scene.shop.database, scene.shop.effects, outlived=outlived) == []
    finally:
        scene.shop.stop()
    print(f"deaths: {deaths}")


async def _every_point(scene: Scene, points: list[str]) -> dict[str, int]:
    undisturbed, _ = await scene.order()
    expected = scene.told(undisturbed)
    deaths: dict[str, int] = {}
    for point in points:
        nth, reached = 0, True
        while reached:
            nth += 1
            number, reached = await scene.order(point, nth)
            assert scene.told(number) == expected, (point, nth)
            if reached:
                deaths[point] = nth
    return deaths
