"""A child that failed is retried, with `kill -9` at every point from there on, each once.

Whatever died: its parent hears of both ends once, what had succeeded is not done again, and the history is that of a retry
that nothing happened to.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from crash.test_kill_at_points import DAEMON, OF_ATTEMPTS, WORKER, Scene
from support.checker import broken_effects, broken_promises
from support.waiting import until, until_async
from wfctl import Client, DaemonDownError

TRIPS = """
import os
from pathlib import Path

from support.effects import LOG, happened
from wfctl import ChildOutcome, Context, Directive, Workflow, current_task, task

trip = Workflow("Trip")
leg = Workflow("Leg")


@task
async def charge(number: int) -> str:
    happened("charge", current_task().idempotency_key, current_task().attempt)
    return f"charged {number}"


@task
async def book(number: int) -> str:
    if not Path(f"{os.environ[LOG]}.{number}").exists():
        raise RuntimeError("no seats")
    happened("book", current_task().idempotency_key, current_task().attempt)
    return f"booked {number}"


@trip.start()
async def travel(ctx: Context, number: int) -> Directive:
    await ctx.start("Leg", workflow_id=f"leg-{number}", workflow_input=number, on_completed_step=heard)
    return ctx.next.wait_for_event("nothing")


@trip.event()
async def nothing(ctx: Context) -> Directive:
    return ctx.next.complete()


@trip.step()
async def heard(ctx: Context, outcome: ChildOutcome[list[str]]) -> Directive:
    ends = [*await ctx.store.get("ends", list[str], default=[]), str(outcome.status)]
    ctx.store.put("ends", ends)
    return ctx.next.complete(ends) if outcome.ok else ctx.next.wait_for_event("nothing")


@leg.start()
async def begin(ctx: Context, number: int) -> Directive:
    ctx.store.put("number", number)
    return ctx.next.step(pay)


@leg.step()
async def pay(ctx: Context) -> Directive:
    assert not await ctx.store.get("tried", bool, default=False)
    ctx.store.put("tried", True)
    number = await ctx.store.get("number", int)
    told = [await charge(number)]
    try:
        told.append(await book(number))
    except RuntimeError as error:
        return ctx.next.fail(str(error))
    return ctx.next.complete(told)
"""


class Trips(Scene):
    """Trips whose only leg has failed; then it can be booked, and is retried."""

    def __init__(self, folder: Path, from_step: str | None) -> None:
        super().__init__(folder)
        self.from_step = from_step
        self.shop.write("orders.py", TRIPS)

    async def failed(self) -> None:
        """The next trip is where its retry can begin."""
        number = self.orders
        async with Client.connect(socket=self.shop.socket) as client:
            await client.start("Trip", workflow_id=f"trip-{number}", workflow_input=number)
            where = "select 1 from runs where workflow_id = ? and status = 'waiting' and step = 'heard'"
            await until(lambda: self.shop.sql(where, f"trip-{number}"))
        Path(f"{self.shop.effects}.{number}").touch()

    async def _order(self, number: int) -> None:
        resumed = (
            "select 1 from runs join history on history.run = runs.key where workflow_id = ? and kind = 'run.resumed'"
        )

        async def through() -> bool:
            try:
                async with Client.connect(socket=self.shop.socket) as client:
                    if not self.shop.sql(resumed, f"leg-{number}"):
                        await client.handle(f"leg-{number}").retry(from_step=self.from_step)
                    assert await client.handle(f"trip-{number}").result() == ["failed", "completed"]
            except DaemonDownError:
                return False
            return True

        await until_async(through, within_s=60)

    def told(self, number: int) -> list[object]:
        """The histories of the trip and its leg, as if every step had needed one attempt."""
        told: list[object] = []
        for workflow_id in (f"trip-{number}", f"leg-{number}"):
            kinds = [str(kind) for (kind,) in self.shop.sql(
                "select kind from history join runs on runs.key = run where workflow_id = ? order by history.seq", workflow_id
            )]  # fmt: skip
            kept = [kind for kind in kinds if kind not in {*OF_ATTEMPTS, "task.started"}]
            store = self.shop.sql(
                "select store.key, value from store join runs on runs.key = run where workflow_id = ? order by 1",
                workflow_id,
            )
            told.append((kept, [key for key, _ in store]))
        return told


@pytest.mark.parametrize("from_step", [None, "begin"], ids=["where it failed", "from an earlier step"])
@pytest.mark.parametrize("points", [DAEMON, WORKER], ids=["daemon", "worker"])
def test_a_death_at_any_point_of_a_retry_changes_nothing_of_it(
    tmp_path: Path, points: list[str], from_step: str | None
) -> None:
    trips = Trips(tmp_path, from_step)
    trips.shop.serve()
    try:
        deaths = asyncio.run(_every_point(trips, points))
        assert set(deaths) == set(points), "a point was never reached"
        assert broken_promises(trips.shop.database) == []
        assert broken_effects(trips.shop.database, trips.shop.effects) == []
    finally:
        trips.shop.stop()
    print(f"deaths: {deaths}")


async def _every_point(trips: Trips, points: list[str]) -> dict[str, int]:
    await trips.failed()
    undisturbed, _ = await trips.order()
    expected = trips.told(undisturbed)
    deaths: dict[str, int] = {}
    for point in points:
        nth, reached = 0, True
        while reached:
            nth += 1
            await trips.failed()
            number, reached = await trips.order(point, nth)
            assert trips.told(number) == expected, (point, nth)
            if reached:
                deaths[point] = nth
    return deaths
