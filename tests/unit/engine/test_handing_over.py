"""A turn of the loop that decides much is written in parts: the first while the rest is decided."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from support.checker import broken_promises
from support.faults import Disk, until_healthy
from support.waiting import until
from wfctl import Context, Directive, StorageError, Workflow
from wfd.engine import commits
from wfd.engine.unit import unit_of
from wfd.testing import WorkflowEnvironment

MUCH = 8
RUNS = 40


def naps() -> Workflow:
    wf = Workflow("Naps")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.step(wakes, after=timedelta(hours=1))

    @wf.step()
    async def wakes(ctx: Context) -> Directive:
        ctx.store.put("awake", True)
        return ctx.next.step(ends)

    @wf.step()
    async def ends(ctx: Context) -> Directive:
        return ctx.next.complete(await ctx.store.get("awake", bool))

    return wf


@pytest.fixture
async def env(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WorkflowEnvironment]:
    """Many runs that sleep, and wake in one turn."""
    monkeypatch.setattr(commits, "MUCH", MUCH)
    async with WorkflowEnvironment([naps()]) as env:
        await asyncio.gather(*(env.client.start("Naps", workflow_id=f"nap-{number}") for number in range(RUNS)))
        await env.settle()
        yield env
        assert broken_promises(env.store.path) == []


async def _all_completed(env: WorkflowEnvironment) -> None:
    results = [await env.client.handle(f"nap-{number}").result() for number in range(RUNS)]
    assert results == [True] * RUNS


async def test_what_many_handlers_say_in_one_turn_is_submitted_in_parts_in_its_order(
    env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    revs: list[int] = []

    def noted(turn: Any, rev: int) -> Any:
        sizes.append(len(turn))
        unit, newest = unit_of(turn, rev)
        revs.extend(row[0] for row in unit.history)
        return unit, newest

    monkeypatch.setattr(commits, "unit_of", noted)
    await env.advance(timedelta(hours=1))
    await _all_completed(env)
    assert sizes.count(MUCH) >= 2 * RUNS // MUCH - 1
    assert revs == sorted(revs)


async def test_a_part_that_cannot_be_written_down_takes_nothing_with_it_that_is_on_disk(
    env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[int] = []

    def fails_once(turn: Any, rev: int) -> Any:
        if len(turn) == MUCH:
            parts.append(rev)
            if len(parts) == 2:
                raise RuntimeError("no luck")
        return unit_of(turn, rev)

    monkeypatch.setattr(commits, "unit_of", fails_once)
    monkeypatch.setattr("wfd.testing.PATIENCE_S", 0.1)  # or all of it goes by, as it is not the writer that has failed
    await env.advance(timedelta(hours=1))
    await until(lambda: len(parts) >= 2)
    await until_healthy(env)
    await _all_completed(env)


async def test_a_part_that_commits_once_another_could_not_be_written_down_begins_nothing(
    env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows from it is found on the disk, and done as of that."""
    disk, parts, carried_out = Disk(env), list[int](), list[str]()
    act = env.engine.act

    def noted(change: Any, now: int) -> None:
        if env.engine.failure is not None:
            carried_out.append(str(change))
        act(change, now)

    def fails_once(turn: Any, rev: int) -> Any:
        if len(turn) == MUCH:
            parts.append(rev)
            if len(parts) == 1:
                disk.hold()
            elif len(parts) == 2:
                raise RuntimeError("no luck")
        return unit_of(turn, rev)

    monkeypatch.setattr(commits, "unit_of", fails_once)
    monkeypatch.setattr(env.engine, "act", noted)
    monkeypatch.setattr("wfd.testing.PATIENCE_S", 0.1)
    env.clock.advance(3_600_000)
    await until(lambda: disk.held.is_set() and env.engine.failure is not None)
    disk.let_go()
    await until_healthy(env)
    await _all_completed(env)
    assert carried_out == []


@pytest.mark.parametrize("nth", range(1, 6))
async def test_a_part_that_the_disk_does_not_take_ends_what_is_decided_after_it_too(
    env: WorkflowEnvironment, nth: int
) -> None:
    disk = Disk(env)
    disk.fail(nth)
    with contextlib.suppress(StorageError):
        await env.advance(timedelta(hours=1))
    await disk.heal()
    await _all_completed(env)
