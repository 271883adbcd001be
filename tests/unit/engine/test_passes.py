"""How much a purge rests and how much goes at a time: it rests in full where it keeps up, and where runs close faster than that
lets them go it does as much more as it takes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from wfctl.values.status import Status
from wfd.engine import purges
from wfd.engine.passes import CLOSED, GONE, LOOKED, MOST_ROWS, PORTION_ROWS, READ_REST, REST, Pass
from wfd.engine.purges import LOOK, Machine, Purges
from wfd.store import purge
from wfd.store.purge import Looked, Removal, Removed, Rule, Weights

# Rows of a run; what a commit takes, and what a run in it.
ROWS = 14
COMMIT_S = 0.002
RUN_S = 0.0001
SMALL = PORTION_ROWS // ROWS
SMALL_S = COMMIT_S + SMALL * RUN_S
# What can go in a second in small portions while the purge rests in full, and while it does not.
RESTING = SMALL / (SMALL_S * (1 + REST))
AT_MOST = SMALL / SMALL_S
READ_S = 0.002
LOOKED_AT_RESTING = LOOK / (READ_S * (1 + READ_REST))


class Others:
    """They write all the time, and of theirs so many runs a second close, in irregular bursts. Time passes for them while a
    portion waits for its turn and is removed, and while the purge rests."""

    def __init__(self, rate: float, seed: int = 0, wait_s: float = 0.0, status: Status = Status.COMPLETED) -> None:
        self.rate = rate
        self.wait_s = wait_s
        self.stats = SimpleNamespace(units=0)
        self.under_way = False
        self.purges = Purges(cast(Machine, SimpleNamespace(store=SimpleNamespace(writer=self, reader=None))))
        self.now = 0.0
        self.portions: list[int] = []
        self.held = self.rested = 0.0
        self.left = 0
        self._chance = random.Random(seed)
        self._status = status
        self._owed = 0.0

    @property
    def closed(self) -> int:
        return self.purges.closed[Status.COMPLETED]

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        if self.rate:
            self.stats.units += 1
        self._owed += seconds * self.rate * self._chance.uniform(0, 2)
        closed = int(self._owed)
        self._owed -= closed
        self.purges.closed[self._status] += closed

    async def remove(self, removal: Removal) -> Removed:
        held = COMMIT_S + len(removal.keys) * RUN_S
        self._pass(self.wait_s + held)
        self.portions.append(len(removal.keys))
        self.held += held
        return Removed(0, held)

    async def sleep(self, seconds: float) -> None:
        self._pass(seconds)
        self.rested += seconds

    async def roots_of(self, *_: object) -> Looked:
        self._pass(READ_S)
        self.held += READ_S
        self.left -= LOOK
        return Looked(max(min(self.left + LOOK, LOOK), 0), 0, [], 0)

    async def look_at(self, runs: int) -> Pass:
        self.left = runs
        going = Pass(Rule({Status.COMPLETED: 0}), lambda: self.closed)
        await self.purges._walk(going, "Order", Status.COMPLETED, 0, lambda: True)
        assert going.looked == runs
        return going

    async def one_pass(self, trees: int) -> Pass:
        going = Pass(Rule({Status.COMPLETED: 0}), lambda: self.closed)
        going.begin(iter(range(1, trees + 1)), trees)
        while page := going.next():
            found: dict[int, Weights | None] = {root: [(root, ROWS)] for root in page}
            async for removal, _ in self.purges._portions(found, going):
                await self.purges._remove(removal, going)
        assert going.tally.runs == trees
        return going


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Others]:
    def made(*given: float, **more: float) -> Others:
        found = Others(*given, **more)  # type: ignore[arg-type]
        monkeypatch.setattr(asyncio, "sleep", found.sleep)
        monkeypatch.setattr(purge, "roots_of", found.roots_of)
        monkeypatch.setattr(purges, "_time_s", lambda: found.now)
        return found

    return made


async def test_a_purge_that_keeps_up_rests_in_full_and_takes_little_at_a_time(others: Callable[..., Others]) -> None:
    world = others(RESTING / 3)
    await world.one_pass(6_400)
    assert world.rested == pytest.approx(world.held * REST, rel=0.01)
    assert max(world.portions) <= SMALL


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("share", "wait_s"), [(0.3, 0.0), (0.6, 0.0), (0.15, 0.1), (0.1, 0.2)])
async def test_each_pass_finds_less_than_the_one_before_where_more_closes_than_the_rest_allows(
    others: Callable[..., Others], share: float, wait_s: float, seed: int
) -> None:
    world = others(AT_MOST * share, seed, wait_s)
    assert world.rate > SMALL / (wait_s + SMALL_S * (1 + REST))
    before = 50_000
    for _ in range(4):
        closed = world.closed
        await world.one_pass(before)
        # What closed in its course is what the next finds, give or take what closes in the course of a portion and its rest.
        found = world.closed - closed
        assert found <= before * CLOSED / GONE + 2 * max(world.portions)
        before = found
    assert 0 < world.rested < world.held * REST, "it rests less, and only as much less as it has to"


async def test_a_purge_that_cannot_keep_up_does_not_rest_and_takes_as_much_as_may_go_at_a_time(
    others: Callable[..., Others],
) -> None:
    world = others(AT_MOST * 3)
    await world.one_pass(20_000)
    assert world.rested < world.held / 50, "only after the first portion"
    most = MOST_ROWS // ROWS
    assert max(world.portions) <= most
    assert sum(one == most for one in world.portions) > len(world.portions) / 4


async def test_it_rests_in_full_while_it_looks_for_what_may_go(others: Callable[..., Others]) -> None:
    world = others(LOOKED_AT_RESTING / LOOKED / 3)
    await world.look_at(20 * LOOK)
    assert world.rested == pytest.approx((world.held - READ_S) * READ_REST), "after all but the last"


@pytest.mark.parametrize("share", [2, 4])
async def test_it_rests_less_where_more_closes_than_a_share_of_what_is_looked_at(
    others: Callable[..., Others], share: int
) -> None:
    world = others(LOOKED_AT_RESTING / LOOKED * share)
    going = await world.look_at(100 * LOOK)
    assert going.looked + 2 * LOOK * share > LOOKED * world.closed
    assert 0 < world.rested < world.held * READ_REST


async def test_runs_that_close_in_other_statuses_are_nothing_to_keep_up_with(others: Callable[..., Others]) -> None:
    world = others(AT_MOST * 3, status=Status.FAILED)
    await world.one_pass(6_400)
    assert world.rested == pytest.approx(world.held * REST)


async def test_nobody_is_let_go_first_where_nobody_else_writes(others: Callable[..., Others]) -> None:
    world = others(0)
    await world.one_pass(640)
    assert world.rested == 0
