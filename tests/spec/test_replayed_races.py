"""A handler that goes by who of several was first goes the same way when its step is repeated."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from spec.conftest import Serve
from wfctl import Context, Directive, Status, Workflow, task

HOUR = timedelta(hours=1)
opened: list[asyncio.Event] = []


@task
async def part(number: int) -> int:
    return number


@task
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
