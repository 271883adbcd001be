"""Which code ran a step, and what open runs miss in the code that is loaded now."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec

from spec.conftest import Serve
from wfctl import ChildOutcome, Context, Directive, Workflow
from wfd.testing import WorkflowEnvironment


def order(*, event: str = "paid", expires: bool = True, thanks: bool = True) -> Workflow:
    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context, how: str) -> Directive:
        if how == "child":
            await ctx.start("Parcel", "parcel", on_completed_step=wf_step("thank"))
            return ctx.next.wait_for_event()
        if how == "sleep":
            return ctx.next.step(wf_step("expire"), after=timedelta(days=1))
        return ctx.next.wait_for_event(event, timeout=timedelta(days=1), on_timeout=wf_step("expire"))

    @wf.event(name=event)
    async def on_event(ctx: Context) -> Directive:
        return ctx.next.complete("paid")

    steps = {}

    def wf_step(name: str) -> object:
        return steps[name]

    async def expire(ctx: Context) -> Directive:
        return ctx.next.complete("expired")

    async def thank(ctx: Context, outcome: ChildOutcome[str]) -> Directive:
        return ctx.next.complete("thanked")

    for step, there in ((expire, expires), (thank, thanks)):
        if there:
            steps[step.__name__] = wf.step()(step)
    return wf


def parcel() -> Workflow:
    wf = Workflow("Parcel")

    @wf.start()
    async def send(ctx: Context) -> Directive:
        return ctx.next.wait_for_event("arrived")

    @wf.event()
    async def arrived(ctx: Context) -> Directive:
        return ctx.next.complete()

    return wf


async def missing(env: WorkflowEnvironment) -> dict[str, list[tuple[str, str, int]]]:
    await env.settle()
    answer = await env.client.workflows()
    found = {
        item.spec.workflow_type: [(lost.kind, lost.name, lost.runs) for lost in item.missing] for item in answer.items
    }
    return found | {gone.workflow_type: [("", "", gone.open_runs)] for gone in answer.unloaded}


async def test_nothing_is_missing_where_the_code_is_there(serve: Serve) -> None:
    env = await serve(order(), parcel())
    for how in ("child", "sleep", "wait"):
        await env.client.start("Order", workflow_input={"how": how})
    assert await missing(env) == {"Order": [], "Parcel": []}


async def test_handlers_that_open_runs_wait_for_are_missing_with_how_many_need_them(serve: Serve) -> None:
    env = await serve(order(), parcel())
    for how in ("child", "sleep", "wait", "wait"):
        await env.client.start("Order", workflow_input={"how": how})
    await env.settle()
    env.load([order(event="payed", expires=False, thanks=False), parcel()])
    assert await missing(env) == {
        "Order": [("event", "paid", 2), ("step", "expire", 3), ("step", "thank", 1)],
        "Parcel": [],
    }


async def test_queued_events_and_stuck_steps_need_their_handlers(serve: Serve) -> None:
    env = await serve(order(), parcel())
    sleeper = await env.client.start("Order", workflow_input={"how": "sleep"})
    await env.settle()
    for _ in range(3):
        await sleeper.send("paid")
    env.load([order(event="payed", expires=False), parcel()])
    await env.advance(timedelta(days=1))
    assert (await sleeper.describe()).run.status == "stuck"
    assert await missing(env) == {"Order": [("event", "paid", 1), ("step", "expire", 1)], "Parcel": []}


async def test_a_type_with_open_runs_that_no_module_has_is_told(serve: Serve) -> None:
    env = await serve(order(), parcel())
    await env.client.start("Order", workflow_input={"how": "child"})
    await env.settle()
    env.load([order()])
    assert await missing(env) == {"Order": [], "Parcel": [("", "", 1)]}


async def test_history_carries_the_hash_of_the_code_that_began_a_step(serve: Serve) -> None:
    env = await serve(order(), parcel())
    handle = await env.client.start("Order", workflow_input={"how": "wait"})
    await env.settle()
    env.load([order(), parcel()])
    env.workers.catalog = msgspec.structs.replace(env.workers.catalog, source_hash="edited")
    await handle.send("paid")
    assert await asyncio.wait_for(handle.result(), 5) == "paid"
    sources = {entry.data["handler"]: entry.source for entry in await handle.history() if entry.kind == "step.started"}
    assert sources == {"begin": "testing", "paid": "edited"}
