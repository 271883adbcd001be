"""In the environment for tests, what crosses between a handler and the engine carries nothing of whoever said it."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
from datetime import timedelta
from typing import Any

from wfctl import Context, Directive, Workflow, task
from wfd.testing import WorkflowEnvironment

HOUR = timedelta(hours=1)
numbers = itertools.count()
var = contextvars.ContextVar("var", default="")


@task
async def draw() -> int:
    """A result that nothing but the record can repeat."""
    return next(numbers)


def lending(seen: dict[str, list[Any]]) -> Workflow:
    """Each waits in branches, and lends its turn; or waits for the time alone, in a thread."""
    wf = Workflow("Lends")

    async def branch(ctx: Context, seconds: int) -> list[str]:
        await ctx.sleep(timedelta(seconds=seconds))
        return [str(await ctx.uuid4()), str(await draw())]

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        inherited = var.get()
        var.set(ctx.run.workflow_id)
        own = await asyncio.gather(branch(ctx, 2), branch(ctx, 1))
        seen.setdefault(ctx.run.workflow_id, []).append([inherited, own])
        return ctx.next.step(then)

    @wf.step()
    def then(ctx: Any) -> Directive:
        var.set(f"thread of {ctx.run.workflow_id}")
        ctx.sleep(timedelta(seconds=1))
        return ctx.next.step(last)  # type: ignore[no-any-return]

    @wf.step()
    async def last(ctx: Context) -> Directive:
        inherited = var.get()
        var.set(ctx.run.workflow_id)
        own = await asyncio.gather(branch(ctx, 2), branch(ctx, 1))
        seen.setdefault(f"{ctx.run.workflow_id}, last", []).append([inherited, own])
        await ctx.sleep(HOUR)
        return ctx.next.complete()

    return wf


async def test_a_step_that_begins_when_another_lends_its_turn_has_branches_and_variables_of_its_own() -> None:
    seen: dict[str, list[Any]] = {}
    async with WorkflowEnvironment([lending(seen)], limits={"Lends": 1}) as env:
        handles = [await env.client.start("Lends", workflow_id=f"run-{number}") for number in range(4)]
        for _ in range(30):
            await env.advance(timedelta(seconds=1))
        assert len(seen) == 8
        await env.crash()
        await env.advance(2 * HOUR)
        for handle in handles:
            await handle.result(timeout=timedelta(seconds=5))
    for name, (first, *others) in seen.items():
        assert first[0] == "", f"{name} began with what another had set"
        assert others == [first] * name.endswith("last"), name
