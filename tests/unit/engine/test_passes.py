"""How much a purge rests while others write: in full where it keeps up, less where runs close faster than that lets them go."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wfctl.values.status import Status
from wfd.engine.passes import CLOSED, GONE, REST, Pass, Tally
from wfd.engine.purges import Machine, Purges
from wfd.store.purge import Removal, Removed, Rule

HELD_S = 0.005
RUNS = 36


class Others:
    """They write all the time, and of theirs so many runs a second close, in irregular bursts. Time passes for them while a
    portion is removed and while the purge rests."""

    def __init__(self, rate: float, seed: int = 0, status: Status = Status.COMPLETED) -> None:
        self._rate = rate
        self._chance = random.Random(seed)
        self._status = status
        self._owed = 0.0
        self.stats = SimpleNamespace(units=0)
        self.purges = Purges(cast(Machine, SimpleNamespace(store=SimpleNamespace(writer=self), memory=None)))
        self.rests: list[float] = []

    def pass_time(self, seconds: float) -> None:
        self.stats.units += 1
        self._owed += seconds * self._rate * self._chance.uniform(0, 2)
        closed = int(self._owed)
        self._owed -= closed
        self.purges.closed[self._status] += closed

    async def remove(self, removal: Removal) -> Removed:
        self.pass_time(HELD_S)
        self.rests.append(0)
        return Removed(0, HELD_S)

    async def sleep(self, seconds: float) -> None:
        if seconds:
            self.rests[-1] += seconds
            self.pass_time(seconds)

    async def one_pass(self, trees: int) -> Pass:
        going = Pass(
            Rule({Status.COMPLETED: 0}), Tally(trees), iter(range(trees)), lambda: self.purges.closed[Status.COMPLETED]
        )
        while page := going.next(RUNS):
            await self.purges._remove(Removal(page), going)
        return going


@pytest.fixture
def others(monkeypatch: pytest.MonkeyPatch) -> Any:
    def made(rate: float, **given: Any) -> Others:
        found = Others(rate, **given)
        monkeypatch.setattr(asyncio, "sleep", found.sleep)
        return found

    return made


# What can go while the purge rests in full, and while it does not rest at all.
RESTING = RUNS / (HELD_S * (1 + REST))
AT_MOST = RUNS / HELD_S


async def test_a_purge_that_keeps_up_rests_in_full(others: Any) -> None:
    world = others(RESTING / 3)
    await world.one_pass(RUNS * 200)
    assert sum(world.rests) == pytest.approx(200 * REST * HELD_S, rel=0.01)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("share", [0.3, 0.5, 0.65])
async def test_each_pass_finds_less_than_the_one_before_where_more_closes_than_the_rest_allows(
    others: Any, share: float, seed: int
) -> None:
    world = others(AT_MOST * share, seed=seed)
    assert AT_MOST * share > RESTING
    before = RUNS * 2_000
    for _ in range(5):
        closed = world.purges.closed[Status.COMPLETED]
        await world.one_pass(before)
        # What closed in its course is what the next finds, give or take what closes in the course of one portion and its rest.
        found = world.purges.closed[Status.COMPLETED] - closed
        assert found <= before * CLOSED / GONE + 4 * RUNS
        before = found
    rested = sum(world.rests) / len(world.rests) / HELD_S
    assert 0 < rested < REST, "it rests less, and only as much less as it has to"


async def test_a_purge_that_cannot_keep_up_does_not_rest_at_all(others: Any) -> None:
    world = others(AT_MOST * 2)
    await world.one_pass(RUNS * 200)
    assert sum(world.rests[10:]) == 0


async def test_runs_that_close_in_other_statuses_are_nothing_to_keep_up_with(others: Any) -> None:
    world = others(AT_MOST * 2, status=Status.FAILED)
    await world.one_pass(RUNS * 200)
    assert sum(world.rests) == pytest.approx(200 * REST * HELD_S)


async def test_nobody_is_let_go_first_where_nobody_else_writes(others: Any) -> None:
    world = others(0)
    world.pass_time = lambda seconds: None
    await world.one_pass(RUNS * 20)
    assert sum(world.rests) == 0
