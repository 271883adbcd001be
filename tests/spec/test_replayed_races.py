"""A handler that goes by who of several was first goes the same way when its step is repeated."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from spec.conftest import Serve
from support.waiting import until
from wfctl import ClientHandle, Context, Directive, Status, Workflow, task
from wfctl.values.times import to_ms

HOUR = timedelta(hours=1)
opened: list[asyncio.Event] = []


@task
async def part(number: int) -> int:
    return number


@task(timeout=None)
async def gated(number: int) -> int:
    await opened[0].wait()
    return number


@task
async def note(what: list[str]) -> list[str]:
    return what


async def test_work_that_was_done_before_a_sleep_was_over_still_is_when_that_is_over_by_now(serve: Serve) -> None:
    race = Workflow("Race")

    @race.start()
    async def begin(ctx: Context) -> Directive:
        async def work() -> str:
            for number in range(3):
                await part(number)
            return "work"

        async def late() -> str:
            await ctx.sleep(HOUR)
            return "late"

        made = [asyncio.ensure_future(work()), asyncio.ensure_future(late())]
        done, _ = await asyncio.wait(made, return_when=asyncio.FIRST_COMPLETED)
        first = sorted(one.result() for one in done)
        await note(first)
        await ctx.sleep(3 * HOUR)
        await asyncio.wait(made)
        return ctx.next.complete(first)

    env = await serve(race)
    run = await env.client.start("Race", workflow_id="r")
    await env.settle()
    await env.advance(2 * HOUR)
    await env.crash()
    await env.advance(2 * HOUR)
    described = await run.describe()
    assert (described.run.status, described.run.stuck_reason) == (Status.COMPLETED, None)
    assert described.result == ["work"]


async def test_outcomes_that_came_at_once_are_told_in_the_same_order_again(serve: Serve) -> None:
    opened[:] = [asyncio.Event()]
    race = Workflow("Race")

    @race.start()
    async def begin(ctx: Context) -> Directive:
        order: list[str] = []

        async def nested() -> None:
            await asyncio.gather(gated(1), gated(3))
            order.append("nested")

        async def flat() -> None:
            await ctx.now()
            await gated(2)
            order.append("flat")

        await asyncio.gather(nested(), flat())
        await note(order)
        await ctx.sleep(HOUR)
        return ctx.next.complete(order)

    env = await serve(race)
    run = await env.client.start("Race", workflow_id="r")
    while (await run.describe()).history_entries < 6:
        await asyncio.sleep(0)
    opened[0].set()
    await env.settle()
    await env.crash()
    await env.advance(2 * HOUR)
    described = await run.describe()
    assert (described.run.status, described.run.stuck_reason) == (Status.COMPLETED, None)


async def recorded(run: ClientHandle, entries: int) -> None:
    while (await run.describe()).history_entries < entries:
        await asyncio.sleep(0)


def race_of(wf: Workflow, work: list[str], *limits: timedelta, seen: list[list[str]]) -> list[str]:
    """A start handler that waits for the first of a gated task and some sleeps, does `work`, and then waits for all of them. Gives
    what it was told of, in this order."""
    told: list[str] = []

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        order: list[str] = []

        async def late(number: int) -> None:
            await ctx.sleep(limits[number])
            order.append(f"sleep {number}")
            told.append(f"sleep {number}")

        async def works() -> None:
            await gated(1)
            order.append("task")

        made = [asyncio.create_task(late(number)) for number in range(len(limits))] + [asyncio.create_task(works())]
        await asyncio.wait(made, return_when=asyncio.FIRST_COMPLETED)
        for what in work:
            await note([what, *order])
        await asyncio.wait(made)
        await note(order)
        seen.append(order)
        await ctx.sleep(2 * HOUR)
        return ctx.next.complete(order)

    return told


async def test_a_sleep_that_was_over_before_a_task_still_is(serve: Serve) -> None:
    opened[:] = [asyncio.Event()]
    race, seen = Workflow("Race"), list[list[str]]()
    race_of(race, ["timeout"], HOUR, seen=seen)
    env = await serve(race)
    run = await env.client.start("Race", workflow_id="r")
    await recorded(run, 4)
    env.clock.advance(to_ms(HOUR))
    await recorded(run, 6)
    opened[0].set()
    await env.settle()
    await env.crash()
    await env.advance(4 * HOUR)
    described = await run.describe()
    assert (described.run.status, described.run.stuck_reason) == (Status.COMPLETED, None)
    assert seen == [["sleep 0", "task"]] * 2


async def test_sleeps_that_were_over_between_two_records_are_told_in_their_order(serve: Serve) -> None:
    opened[:] = [asyncio.Event()]
    race, seen = Workflow("Race"), list[list[str]]()
    told = race_of(race, [], 3 * HOUR, HOUR, 2 * HOUR, seen=seen)
    env = await serve(race)
    run = await env.client.start("Race", workflow_id="r")
    await recorded(run, 6)
    for number in range(3):
        env.clock.advance(to_ms(HOUR))
        await until(lambda number=number: len(told) == number + 1)
    opened[0].set()
    await env.settle()
    for _ in range(2):
        await env.crash()
    await env.advance(4 * HOUR)
    described = await run.describe()
    assert (described.run.status, described.run.stuck_reason) == (Status.COMPLETED, None)
    assert seen == [["sleep 1", "sleep 2", "sleep 0", "task"]] * 3


async def test_a_sleep_of_which_nothing_was_recorded_since_is_over_after_all_that_was(serve: Serve) -> None:
    opened[:] = [asyncio.Event()]
    race, seen = Workflow("Race"), list[list[str]]()
    race_of(race, [], HOUR, seen=seen)
    env = await serve(race)
    run = await env.client.start("Race", workflow_id="r")
    await recorded(run, 4)
    opened[0].set()
    await env.settle()
    await env.crash()
    await env.advance(4 * HOUR)
    described = await run.describe()
    assert (described.run.status, described.run.stuck_reason) == (Status.COMPLETED, None)
    assert seen[-1] == ["task", "sleep 0"]


@pytest.mark.parametrize("crashes", [0, 1])
async def test_a_sleep_that_a_cancellation_ended_is_ended_by_it_again(serve: Serve, crashes: int) -> None:
    race, seen = Workflow("Race"), list[str]()

    @race.start()
    async def begin(ctx: Context) -> Directive:
        try:
            await ctx.sleep(HOUR)
            seen.append("slept")
        except asyncio.CancelledError:
            seen.append("cancelled")
            await ctx.sleep(2 * HOUR)
            await note(["undone"])
            await ctx.sleep(HOUR)
            raise
        return ctx.next.complete()

    env = await serve(race)
    run = await env.client.start("Race", workflow_id="r")
    await env.settle()
    await run.cancel()
    await env.settle()
    await env.advance(2 * HOUR)
    for _ in range(crashes):
        await env.crash()
    await env.advance(HOUR)
    assert (await run.describe()).run.status is Status.CANCELLED
    assert seen == ["cancelled"] * (crashes + 1)


async def test_a_race_against_a_timer_of_pythons_is_stuck_with_what_to_use_instead(serve: Serve) -> None:
    opened[:] = [asyncio.Event()]
    race = Workflow("Race")

    @race.start()
    async def begin(ctx: Context) -> Directive:
        work = asyncio.create_task(gated(1))
        try:
            await asyncio.wait_for(asyncio.shield(work), 0.001)
        except TimeoutError:
            await note(["late"])
        await work
        await ctx.sleep(HOUR)
        return ctx.next.complete()

    env = await serve(race)
    run = await env.client.start("Race", workflow_id="r")
    await recorded(run, 5)
    opened[0].set()
    await env.settle()
    await env.crash()
    described = await run.describe()
    assert described.run.status is Status.STUCK
    assert "task 'test_replayed_races.note'" in str(described.run.stuck_reason)
    assert "by the timer of asyncio.wait_for" in str(described.run.stuck_reason)
    assert "use ctx.sleep, or @task(timeout=...)" in str(described.run.stuck_reason)
    await run.retry(from_step="begin")
    await recorded(run, described.history_entries + 3)
    assert (await run.describe()).run.status is Status.RUNNING
