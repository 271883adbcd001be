"""`result` with `until`: it is answered when the run is in that status, from the commit that brings it there."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from spec.conftest import Serve
from wfctl import Context, Directive, Workflow
from wfctl.protocol.calls import Result
from wfctl.protocol.views import Outcome
from wfctl.values.status import Status
from wfd.engine.commands import Commands
from wfd.testing import WorkflowEnvironment


def order(gate: asyncio.Event) -> Workflow:
    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await gate.wait()
        return ctx.next.wait_for_event()

    @wf.event()
    async def pause(ctx: Context) -> Directive:
        return ctx.next.step(finish, after=timedelta(hours=1))

    @wf.step()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete("done")

    return wf


def ask(env: WorkflowEnvironment, *statuses: Status, **more: Any) -> asyncio.Task[Outcome]:
    call = Result(id="o-1", until=list(statuses), **more)
    return asyncio.get_running_loop().create_task(Commands(env.engine).result(call))


async def test_a_status_is_told_when_it_is_reached_and_at_once_when_it_is_there(serve: Serve) -> None:
    gate = asyncio.Event()
    env = await serve(order(gate))
    handle = await env.client.start("Order", workflow_id="o-1")
    waiting, sleeping = ask(env, Status.WAITING), ask(env, Status.SLEEPING, Status.STUCK)
    assert (await ask(env, Status.RUNNING)).status is Status.RUNNING
    assert not waiting.done()
    gate.set()
    assert (await asyncio.wait_for(waiting, 5)).status is Status.WAITING
    assert not sleeping.done()
    await handle.send("pause")
    assert (await asyncio.wait_for(sleeping, 5)).status is Status.SLEEPING


async def test_a_run_that_closes_first_answers_with_how(serve: Serve) -> None:
    gate = asyncio.Event()
    gate.set()
    env = await serve(order(gate))
    handle = await env.client.start("Order", workflow_id="o-1")
    stuck = ask(env, Status.STUCK)
    await handle.terminate()
    assert (await asyncio.wait_for(stuck, 5)).status is Status.TERMINATED


async def test_the_time_to_wait_ends_with_the_status_of_then(serve: Serve) -> None:
    gate = asyncio.Event()
    env = await serve(order(gate))
    await env.client.start("Order", workflow_id="o-1")
    assert (await ask(env, Status.STUCK, timeout_ms=1)).status is Status.RUNNING
