"""Children that answer by ending: on_completed_step, run_child, result, and what becomes of them when their parent closes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from spec.conftest import Serve
from support.history import kinds, records
from wfctl import (
    ChildOutcome,
    Context,
    Directive,
    RunCancelledError,
    RunFailedError,
    RunNotFoundError,
    UnknownQueryError,
    Workflow,
)


def kid() -> Workflow:
    wf = Workflow("Kid")

    @wf.start()
    async def begin(ctx: Context, how: str = "complete") -> Directive:
        if how == "fail":
            raise ValueError("no luck")
        if how == "wait":
            return ctx.next.wait_for_event()
        return ctx.next.complete({"said": how})

    @wf.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete({"said": "finished"})

    return wf


async def test_a_step_hears_how_the_child_ended(serve: Serve) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context, how: str) -> Directive:
        await ctx.start("Kid", "kid", {"how": how}, on_completed_step=after)
        return ctx.next.wait_for_event("never")

    @parent.event()
    async def never(ctx: Context) -> Directive:
        return ctx.next.complete()

    @parent.step()
    async def after(ctx: Context, outcome: ChildOutcome[dict[str, str]]) -> Directive:
        return ctx.next.complete([outcome.status, outcome.ok, outcome.result, str(outcome.error or "")])

    env = await serve(parent, kid())
    assert await env.client.run("Parent", workflow_input="hello") == ["completed", True, {"said": "hello"}, ""]
    status, ok, result, error = await env.client.run("Parent", workflow_input="fail")
    assert (status, ok, result) == ("failed", False, None)
    assert "no luck" in error


async def test_run_child_gives_its_result_or_raises_its_error(serve: Serve) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        first = await ctx.run_child("Kid", "kid-1", {"how": "hello"})
        try:
            await ctx.run_child("Kid", "kid-2", {"how": "fail"})
        except RunFailedError as error:
            return ctx.next.complete([first, str(error)])
        return ctx.next.complete(first)

    env = await serve(parent, kid())
    first, error = await env.client.run("Parent")
    assert first == {"said": "hello"}
    assert "no luck" in error


async def test_the_result_of_a_run_that_is_not_there_is_an_error_and_no_wait_for_ever(serve: Serve) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        child = await ctx.start("Kid", "kid")
        child.run_info = msgspec.structs.replace(child.run_info, id="kid")
        try:
            return ctx.next.complete(await child.result())
        except RunNotFoundError as error:
            return ctx.next.complete(error.message)

    env = await serve(parent, kid())
    assert await asyncio.wait_for(env.client.run("Parent"), 10) == "no run 'kid'"


async def test_waiting_for_a_child_inside_a_step_survives_a_crash(serve: Serve) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        child = await ctx.start("Kid", "kid", {"how": "wait"})
        return ctx.next.complete(await child.result())

    env = await serve(parent, kid())
    handle = await env.client.start("Parent")
    while "child.started" not in await kinds(handle):
        await asyncio.sleep(0)
    env.workers.lose()
    await env.client.handle("kid").send("finish")
    assert await handle.result() == {"said": "finished"}
    assert len(await records(handle, "child.started")) == 1


@pytest.mark.parametrize(
    ("policy", "status"), [("abandon", "waiting"), ("cancel", "cancelled"), ("terminate", "terminated")]
)
async def test_a_child_does_what_it_was_told_when_its_parent_closes(serve: Serve, policy: Any, status: str) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.start("Kid", "kid", {"how": "wait"}, on_parent_close=policy)
        return ctx.next.step(end, after=timedelta(seconds=1))

    @parent.step()
    async def end(ctx: Context) -> Directive:
        return ctx.next.complete()

    env = await serve(parent, kid())
    await env.client.start("Parent")
    await env.advance(timedelta(seconds=1))
    assert (await env.client.handle("kid").describe()).run.status == status


async def test_cancelling_with_children_reaches_the_whole_subtree(serve: Serve) -> None:
    nest = Workflow("Nest")

    @nest.start()
    async def down(ctx: Context, depth: int) -> Directive:
        if depth:
            await ctx.start("Nest", f"nest-{depth - 1}", depth - 1)
        return ctx.next.wait_for_event()

    @nest.event()
    async def go_on(ctx: Context) -> Directive:
        return ctx.next.complete()

    env = await serve(nest)
    root = await env.client.start("Nest", workflow_id="nest-5", workflow_input=5)
    await env.settle()
    changed = await root.cancel(reason="all of you", children=True)
    assert changed.descendants == 5
    for depth in range(6):
        with pytest.raises(RunCancelledError, match="all of you"):
            await env.client.handle(f"nest-{depth}").result()


async def test_a_query_reads_the_store_and_changes_nothing_also_when_the_run_has_closed(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        ctx.store.put("items", [1, 2, 3])
        return ctx.next.wait_for_event()

    @wf.event()
    async def stop(ctx: Context) -> Directive:
        return ctx.next.complete()

    @wf.query()
    async def total(ctx: Context, factor: int = 1) -> int:
        return factor * sum(await ctx.store.get("items", list[int]))

    @wf.query(name="bad")
    async def writes(ctx: Context) -> None:
        ctx.store.put("items", [])

    env = await serve(wf)
    handle = await env.client.start("W")
    await env.settle()
    before = await kinds(handle)
    assert await handle.query("total") == 6
    assert await handle.query("total", {"factor": 2}) == 12
    with pytest.raises(Exception, match="quer"):
        await handle.query("bad")
    with pytest.raises(UnknownQueryError, match="total"):
        await handle.query("totl")
    assert await kinds(handle) == before
    await handle.send("stop")
    await handle.result()
    assert await handle.query("total") == 6


async def test_fifty_levels_of_children_answer_each_other(serve: Serve) -> None:
    nest = Workflow("Nest")

    @nest.start()
    async def down(ctx: Context, depth: int) -> Directive:
        return ctx.next.complete(depth and 1 + await ctx.run_child("Nest", f"nest-{depth - 1}", depth - 1))

    env = await serve(nest)
    assert await env.client.run("Nest", workflow_id="nest-50", workflow_input=50) == 50


async def test_a_thousand_children_of_one_parent_are_each_heard_of_once(serve: Serve) -> None:
    parent, child = Workflow("Parent"), Workflow("Child")

    @parent.start()
    async def begin(ctx: Context, count: int) -> Directive:
        await asyncio.gather(*(ctx.start("Child", f"kid-{n}", n, on_completed_step=heard) for n in range(count)))
        ctx.store.put("left", count)
        return ctx.next.wait_for_event("never")

    @parent.event()
    async def never(ctx: Context) -> Directive:
        return ctx.next.complete()

    @parent.step()
    async def heard(ctx: Context, outcome: ChildOutcome[int]) -> Directive:
        left = await ctx.store.get("left", int) - 1
        ctx.store.put("left", left)
        return ctx.next.wait_for_event("never") if left else ctx.next.complete("all")

    @child.start()
    async def answer(ctx: Context, number: int) -> Directive:
        return ctx.next.complete(number)

    env = await serve(parent, child)
    assert await env.client.run("Parent", workflow_id="p", workflow_input=1_000) == "all"
    assert len(await records(env.client.handle("p"), "child.closed")) == 1_000
