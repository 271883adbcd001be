"""New code beside the old: what the old still says is not held against the new."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from spec.conftest import Serve
from support.history import kinds
from support.waiting import a_moment, until
from wfctl import Context, Directive, Workflow


def code(gate: asyncio.Event, *, asks: bool) -> Workflow:
    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        if asks:
            await ctx.now()
        await gate.wait()
        return ctx.next.complete("asked" if asks else "did not ask")

    return wf


async def test_what_the_old_code_cannot_repeat_the_new_code_gets_to_repeat(serve: Serve) -> None:
    """The run is not stuck on code that is gone already when it says so."""
    gate = asyncio.Event()
    good, bad = code(gate, asks=True), code(gate, asks=False)
    env = await serve(good)
    handle = await env.client.start("Order")
    await until(lambda: env.workers.running)
    while "timestamp.recorded" not in await kinds(handle):
        await a_moment(0.01)
    env.load([bad])
    env.workers.lose()
    await until(lambda: env.workers.running)
    env.load([good])
    gate.set()
    assert await asyncio.wait_for(handle.result(), 5) == "asked"
    assert "run.stuck" not in await kinds(handle)


async def test_a_run_that_gets_stuck_while_the_cure_is_loaded_goes_on(serve: Serve) -> None:
    gate = asyncio.Event()
    good, bad = code(gate, asks=True), code(gate, asks=False)
    env = await serve(good)
    handle = await env.client.start("Order")
    while "timestamp.recorded" not in await kinds(handle):
        await a_moment(0.01)
    gate.set()
    env.load([bad])
    env.workers.lose()
    heard = env.engine.heard

    def then_load(message: object, now: int) -> None:
        heard(message, now)  # type: ignore[arg-type]
        if type(message).__name__ == "StepStuck":
            env.load([good])

    env.engine.heard = then_load  # type: ignore[method-assign, assignment]
    assert await asyncio.wait_for(handle.result(), 5) == "asked"


async def test_a_step_has_the_time_that_the_code_gives_it_which_serves_when_it_begins(serve: Serve) -> None:
    def patient(timeout: timedelta) -> Workflow:
        wf = Workflow("Order")

        @wf.start(timeout=timeout)
        async def begin(ctx: Context) -> Directive:
            await asyncio.Event().wait()
            return ctx.next.complete()

        return wf

    env = await serve(patient(timedelta(hours=1)))
    first = await env.client.start("Order")
    await until(lambda: env.workers.running == 1)
    env.load([patient(timedelta(seconds=1))])
    second = await env.client.start("Order")
    await until(lambda: env.workers.running == 2)
    await env.advance(timedelta(seconds=1))
    assert "step.timed_out" in await kinds(second)
    assert "step.timed_out" not in await kinds(first)
