"""What a handler did to a child, and heard of its end, it did and heard once: also where the child has gone on since."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from spec.conftest import Serve
from support.checker import broken_promises
from support.history import kinds, records
from wfctl import Context, Directive, RunFailedError, Status, Workflow, task
from wfd.core.state import Raw
from wfd.engine import children
from wfd.testing import WorkflowEnvironment

HOUR = timedelta(hours=1)


@task
async def note(what: str) -> str:
    return what


def kid() -> Workflow:
    """Fails when it is cancelled, or, where it is not `patient`, at its first attempt; else it waits to be told to complete."""
    child = Workflow("Kid")

    @child.start()
    async def begin(ctx: Context, patient: bool = False) -> Directive:
        if patient:
            try:
                await ctx.sleep(100 * HOUR)
            except asyncio.CancelledError:
                raise ValueError("no clean-up") from None
        if ctx.run.attempt == 1:
            raise ValueError("no luck")
        return ctx.next.wait_for_event()

    @child.event()
    async def finish(ctx: Context, result: str) -> Directive:
        return ctx.next.complete(result)

    return child


async def goes_on(env: WorkflowEnvironment) -> None:
    """A person has the child go on, and the worker of its parent dies."""
    await env.settle()
    child = env.client.handle("kid")
    assert (await child.describe()).run.status == Status.FAILED
    await child.retry()
    await env.settle()
    await env.crash()


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
@pytest.mark.parametrize("how", ["cancel", "terminate"])
async def test_a_child_that_goes_on_is_not_ended_again_by_a_replay(serve: Serve, how: str, plain: bool) -> None:
    parent = Workflow("Parent")
    attempts: list[int] = []

    async def asynchronous(ctx: Context) -> Directive:
        attempts.append(ctx.run.attempt)
        handle = await ctx.start("Kid", "kid", {"patient": how == "cancel"})
        if how == "cancel":
            await handle.cancel("too late")
        else:
            await asyncio.wait({asyncio.ensure_future(handle.result())})
            await handle.terminate("too late")
        await ctx.sleep(HOUR)
        return ctx.next.complete("done")

    def blocking(ctx: Any) -> Directive:
        attempts.append(ctx.run.attempt)
        handle = ctx.start("Kid", "kid", {"patient": how == "cancel"})
        if how == "cancel":
            handle.cancel("too late")
        else:
            with pytest.raises(RunFailedError):
                handle.result()
            handle.terminate("too late")
        ctx.sleep(HOUR)
        return ctx.next.complete("done")

    parent.start()(blocking if plain else asynchronous)
    env = await serve(parent, kid())
    run = await env.client.start("Parent", workflow_id="p")
    await goes_on(env)
    child = (await env.client.handle("kid").describe()).run
    assert child.status == (Status.RUNNING if how == "cancel" else Status.WAITING)
    await env.advance(2 * HOUR)
    assert (await run.result(), attempts) == ("done", [1, 2])
    assert (await env.client.handle("kid").describe()).run.status == child.status
    kind = "child.cancel_requested" if how == "cancel" else "child.terminated"
    closed = {} if how == "cancel" else {"closed": "failed"}
    told = [{name: value for name, value in one.items() if name != "key"} for one in await records(run, kind)]
    assert told == [{"run_id": child.run_id, "workflow_id": "kid", "reason": "too late", **closed}]
    assert broken_promises(env.store.path) == []


async def test_the_end_of_a_child_and_who_ended_it_are_in_one_unit_cause_first(serve: Serve) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        handle = await ctx.start("Kid", "kid", {"patient": True})
        await handle.terminate("no use")
        return ctx.next.complete()

    env = await serve(parent, kid())
    run = await env.client.start("Parent", workflow_id="p")
    await run.result()
    told = await kinds(run)
    assert told[2:5] == ["child.started", "child.terminated", "child.closed"]
    assert [one["reason"] for one in await records(env.client.handle("kid"), "run.terminated")] == ["no use"]


@pytest.mark.parametrize("changed", ["reason", "end", "left out", "put in"])
async def test_to_end_a_child_otherwise_than_recorded_makes_the_run_stuck(serve: Serve, changed: str) -> None:
    def code(now: bool) -> Workflow:
        parent = Workflow("Parent")

        @parent.start()
        async def begin(ctx: Context) -> Directive:
            handle = await ctx.start("Kid", "kid", {"patient": True})
            if now and changed == "end":
                await handle.terminate("late")
            elif changed not in (("left out",) if now else ("put in",)):
                await handle.cancel("later" if now and changed == "reason" else "late")
            await note("ended")
            await ctx.sleep(HOUR)
            return ctx.next.complete()

        return parent

    env = await serve(code(False), kid())
    run = await env.client.start("Parent", workflow_id="p")
    await env.settle()
    env.load([code(True), kid()])
    await env.crash()
    described = await run.describe()
    assert described.run.status == Status.STUCK
    assert "does not repeat what it did" in (described.run.stuck_reason or "")
    assert ("handle.terminate() of 'kid'" in (described.run.stuck_reason or "")) == (changed == "end")
    ended = await records(env.client.handle("kid"), "run.cancel_requested")
    assert len(ended) == (0 if changed == "put in" else 1)
    assert await records(env.client.handle("kid"), "run.terminated") == []


async def test_a_replay_hears_of_the_end_that_was_heard_of_whatever_the_child_came_to_since(serve: Serve) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        heard: list[str] = []
        try:
            heard.append(await ctx.run_child("Kid", "kid"))
        except RunFailedError as error:
            heard.append(str(error))
        await note("heard")
        await ctx.sleep(HOUR)
        handle = await ctx.start("Kid", "kid")
        heard.append(await handle.result())
        return ctx.next.complete(heard)

    env = await serve(parent, kid())
    run = await env.client.start("Parent", workflow_id="p")
    await goes_on(env)
    await env.client.handle("kid").send("finish", {"result": "well"})
    await env.settle()
    await env.crash()
    await env.advance(2 * HOUR)
    assert await run.result() == ["Kid kid failed: ValueError: no luck", "well"]
    told = await records(run, "child.result_recorded")
    assert [(one["workflow_id"], one["status"]) for one in told] == [("kid", "failed"), ("kid", "completed")]
    assert broken_promises(env.store.path) == []


async def test_a_parent_that_failed_with_its_child_and_is_retried_after_it_hears_of_its_end_anew(serve: Serve) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.complete([await note("before"), await ctx.run_child("Kid", "kid")])

    env = await serve(parent, kid())
    run = await env.client.start("Parent", workflow_id="p")
    await env.settle()
    child = env.client.handle("kid")
    await child.retry()
    await child.send("finish", {"result": "well"})
    retried = await run.retry()
    assert retried.dropped == ["handle.result() of 'kid'"]
    assert await run.result() == ["before", "well"]
    assert broken_promises(env.store.path) == []


async def test_a_task_that_failed_while_a_child_was_waited_for_is_done_again_when_the_run_is_retried(
    serve: Serve,
) -> None:
    parent, child, mended = Workflow("Parent"), Workflow("Kid"), asyncio.Event()

    @task
    async def fails() -> str:
        if not mended.is_set():
            raise ValueError("no luck")
        return "mended"

    @child.start()
    async def slow(ctx: Context) -> Directive:
        await ctx.sleep(HOUR)
        return ctx.next.complete("kid")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        handle = await ctx.start("Kid", "kid")
        made = [asyncio.ensure_future(one) for one in (handle.result(), fails())]
        await asyncio.wait(made)
        return ctx.next.complete([one.result() for one in made])

    env = await serve(parent, child)
    run = await env.client.start("Parent", workflow_id="p")
    await env.advance(2 * HOUR)
    with pytest.raises(RunFailedError, match="no luck"):
        await run.result()
    mended.set()
    assert len((await run.retry()).dropped) == 1
    assert await run.result() == ["kid", "mended"]


async def test_of_two_children_the_one_that_was_first_is_the_first_again(serve: Serve) -> None:
    parent, child = Workflow("Parent"), Workflow("Kid")

    @child.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @child.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete(ctx.run.workflow_id)

    @parent.start()
    async def race(ctx: Context) -> Directive:
        handles = [await ctx.start("Kid", f"kid-{number}") for number in (1, 2)]
        made = [asyncio.ensure_future(handle.result()) for handle in handles]
        done, _ = await asyncio.wait(made, return_when=asyncio.FIRST_COMPLETED)
        first = [one.result() for one in done]
        await note(first[0])
        await asyncio.wait(made)
        await ctx.sleep(HOUR)
        return ctx.next.complete(first)

    env = await serve(parent, child)
    run = await env.client.start("Parent", workflow_id="p")
    for number in (2, 1):
        await env.settle()
        await env.client.handle(f"kid-{number}").send("finish")
    await env.settle()
    await env.crash()
    await env.advance(2 * HOUR)
    described = await run.describe()
    assert (described.run.status, described.run.stuck_reason) == (Status.COMPLETED, None)
    assert described.result == ["kid-2"]


async def test_a_wait_that_was_given_up_and_taken_up_again_hears_of_one_end(serve: Serve) -> None:
    parent, child, looked = Workflow("Parent"), Workflow("Kid"), asyncio.Event()

    @child.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @child.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete("well")

    @parent.start()
    async def looks(ctx: Context) -> Directive:
        handle = await ctx.start("Kid", "kid")
        if not looked.is_set():
            given_up = asyncio.ensure_future(handle.result())
            await asyncio.wait({given_up}, timeout=0)
            given_up.cancel()
            await looked.wait()
        heard = await handle.result()
        await ctx.sleep(HOUR)
        return ctx.next.complete([heard, await note("over")])

    env = await serve(parent, child)
    run = await env.client.start("Parent", workflow_id="p")
    while "child.started" not in await kinds(run):
        await asyncio.sleep(0)
    await env.client.handle("kid").send("finish")
    while "child.result_recorded" not in await kinds(run):
        await asyncio.sleep(0)
    looked.set()
    await env.settle()
    assert (await kinds(run))[-1] == "sleep.recorded"
    await env.crash()
    await env.advance(2 * HOUR)
    assert await run.result() == ["well", "over"]
    assert len(await records(run, "child.result_recorded")) == 1


@pytest.mark.parametrize("first", ["the cancellation", "the end"])
async def test_a_cancellation_comes_where_it_came_also_when_the_child_ends_meanwhile(serve: Serve, first: str) -> None:
    parent, child, cleaned = Workflow("Parent"), Workflow("Kid"), asyncio.Event()

    @child.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @child.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete("well")

    @parent.start()
    async def waits(ctx: Context) -> Directive:
        where = "result"
        try:
            handle = await ctx.start("Kid", "kid")
            await handle.result()
            where = "sleep"
            await ctx.sleep(HOUR)
        except asyncio.CancelledError:
            await note(where)
            await cleaned.wait()
            raise
        return ctx.next.complete()

    env = await serve(parent, child)
    run = await env.client.start("Parent", workflow_id="p")
    for what in ("end", "cancel") if first == "the end" else ("cancel", "end"):
        while "child.started" not in await kinds(run):
            await asyncio.sleep(0)
        if what == "cancel":
            await run.cancel()
        else:
            await env.client.handle("kid").send("finish")
            await env.client.handle("kid").result()
        for _ in range(100):
            await asyncio.sleep(0)
    while "task.completed" not in await kinds(run):
        await asyncio.sleep(0)
    env.workers.lose()
    cleaned.set()
    await env.settle()
    described = await run.describe()
    assert (described.run.status, described.run.stuck_reason) == (Status.CANCELLED, None)
    assert [one["result"] for one in await records(run, "task.completed")] == [
        "sleep" if first == "the end" else "result"
    ]


async def test_what_cleans_up_hears_of_the_end_of_a_child_once_too(serve: Serve) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def waits(ctx: Context) -> Directive:
        handle = await ctx.start("Kid", "kid", {"patient": True})
        try:
            await handle.result()
        except asyncio.CancelledError:
            await handle.cancel("with its parent")
            with pytest.raises(RunFailedError):
                await handle.result()
            await note("cleaned")
            await ctx.sleep(HOUR)
            raise
        return ctx.next.complete()

    env = await serve(parent, kid())
    run = await env.client.start("Parent", workflow_id="p")
    await env.settle()
    await run.cancel()
    await goes_on(env)
    assert (await run.describe()).run.status == Status.CANCELLING
    await env.advance(2 * HOUR)
    assert (await run.describe()).run.status == Status.CANCELLED
    assert (await env.client.handle("kid").describe()).run.status == Status.RUNNING
    told = [*await records(run, "child.cancel_requested"), *await records(run, "child.result_recorded")]
    assert [one["key"].partition(":")[0] for one in told] == ["~child_cancel", "~child_result"]


async def test_a_step_that_an_older_version_began_goes_on(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "child_value", Raw)
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        handle = await ctx.start("Kid", "kid", {"patient": True})
        await handle.cancel("late")
        await note("ended")
        await ctx.sleep(HOUR)
        return ctx.next.complete("done")

    env = await serve(parent, kid())
    run = await env.client.start("Parent", workflow_id="p")
    await env.settle()
    assert "child.cancel_requested" not in await kinds(run)
    monkeypatch.undo()
    await env.crash()
    await env.advance(2 * HOUR)
    assert await run.result() == "done"
