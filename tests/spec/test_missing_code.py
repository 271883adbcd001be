"""Code that is taken out under what needs it: the run waits for it, and is not failed for it."""

from __future__ import annotations

import asyncio

from spec.conftest import Serve
from support.waiting import until
from wfctl import Context, Directive, Workflow
from wfd.testing import WorkflowEnvironment


def waits(workflow_type: str) -> Workflow:
    wf = Workflow(workflow_type)

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @wf.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete("done")

    return wf


def acts(gate: asyncio.Event, how: str) -> Workflow:
    wf = Workflow("Acts")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await gate.wait()
        if how == "start":
            await ctx.start("Child", "kid")
        else:
            await ctx.send("kid", "finish")
        return ctx.next.complete("did it")

    return wf


async def stuck(env: WorkflowEnvironment) -> list[str]:
    await env.settle()
    return [run.workflow_id for run in await env.client.list(status="stuck")]


async def test_a_child_whose_code_was_just_taken_out_is_started_when_it_is_back(serve: Serve) -> None:
    gate = asyncio.Event()
    acting, child = acts(gate, "start"), waits("Child")
    env = await serve(acting, child)
    handle = await env.client.start("Acts", workflow_id="a")
    await until(lambda: env.workers.running)
    env.load([acting])
    await until(lambda: not env.engine.busy)
    gate.set()
    assert await stuck(env) == ["a"]
    env.load([acting, child])
    assert await asyncio.wait_for(handle.result(), 5) == "did it"


async def test_an_event_for_a_run_whose_code_was_taken_out_is_sent_when_it_is_back(serve: Serve) -> None:
    gate = asyncio.Event()
    gate.set()
    acting, child = acts(gate, "send"), waits("Child")
    env = await serve(acting, child)
    receiver = await env.client.start("Child", workflow_id="kid")
    await env.settle()
    env.load([acting])
    await until(lambda: not env.engine.busy)
    handle = await env.client.start("Acts", workflow_id="a")
    assert await stuck(env) == ["a"]
    env.load([acting, child])
    assert await asyncio.wait_for(handle.result(), 5) == "did it"
    assert await receiver.result() == "done"
