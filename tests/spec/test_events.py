"""Events: never dropped, in order, once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from spec.conftest import Serve
from support.history import kinds
from wfctl import (
    Context,
    Directive,
    InvalidPayloadError,
    RunClosedError,
    RunNotFoundError,
    RunTimedOutError,
    UnknownEventError,
    Workflow,
)


def collector(gate: asyncio.Event | None = None) -> Workflow:
    wf = Workflow("Collector")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        ctx.store.put("seen", [])
        if gate is not None:
            await gate.wait()
        return ctx.next.wait_for_event()

    async def seen(ctx: Context, what: str) -> None:
        ctx.store.put("seen", [*await ctx.store.get("seen", list[str]), what])

    @wf.event()
    async def add(ctx: Context, item: str, times: int = 1) -> Directive:
        await seen(ctx, item * times)
        return ctx.next.wait_for_event()

    @wf.event()
    async def only_stop(ctx: Context) -> Directive:
        await seen(ctx, "only")
        return ctx.next.wait_for_event("stop")

    @wf.event()
    async def stop(ctx: Context) -> Directive:
        return ctx.next.complete(await ctx.store.get("seen"))

    return wf


async def test_events_sent_while_a_step_runs_are_kept_and_handled_in_order(serve: Serve) -> None:
    gate = asyncio.Event()
    env = await serve(collector(gate))
    handle = await env.client.start("Collector")
    for item in "abc":
        await handle.send("add", item)
    await handle.send("stop")
    assert (await handle.describe()).run.queued_events == 4
    gate.set()
    assert await handle.result() == ["a", "b", "c"]


async def test_a_wait_with_names_takes_only_those_and_leaves_the_rest_in_the_inbox(serve: Serve) -> None:
    env = await serve(collector())
    handle = await env.client.start("Collector")
    await handle.send("only_stop")
    await env.settle()
    await handle.send("add", "kept")
    await env.settle()
    detail = await handle.describe()
    assert detail.run.status == "waiting"
    assert detail.run.waiting_for == ["stop"]
    assert [event.event for event in detail.inbox] == ["add"]
    await handle.send("stop")
    assert await handle.result() == ["only"]


async def test_a_payload_is_checked_before_the_receiver_hears_of_it(serve: Serve) -> None:
    env = await serve(collector())
    handle = await env.client.start("Collector")
    await env.settle()
    before = await kinds(handle)
    for payload in (None, {"item": 5}, {"item": "a", "tims": 2}, 7):
        with pytest.raises(InvalidPayloadError, match="'add'"):
            await handle.send("add", payload)
    with pytest.raises(UnknownEventError, match="add, only_stop, stop") as caught:
        await handle.send("ad")
    assert caught.value.hint == "did you mean 'add'?"
    assert await kinds(handle) == before


async def test_an_event_for_a_closed_or_unknown_run_is_an_error_to_the_sender(serve: Serve) -> None:
    env = await serve(collector())
    handle = await env.client.start("Collector", workflow_id="c")
    await handle.send("stop")
    await handle.result()
    with pytest.raises(RunClosedError, match="completed"):
        await handle.send("add", "late")
    with pytest.raises(RunNotFoundError, match="nobody"):
        await env.client.handle("nobody").send("add", "x")


def approval(on_timeout: bool) -> Workflow:
    wf = Workflow("Approval")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        if on_timeout:
            return ctx.next.wait_for_event("approve", timeout=timedelta(days=3), on_timeout=give_up)
        return ctx.next.wait_for_event("approve", timeout=timedelta(days=3))

    @wf.event()
    async def approve(ctx: Context, by: str) -> Directive:
        return ctx.next.complete(f"approved by {by}")

    @wf.step()
    async def give_up(ctx: Context) -> Directive:
        return ctx.next.complete("nobody answered")

    return wf


async def test_an_approval_may_take_three_days(serve: Serve) -> None:
    env = await serve(approval(on_timeout=True))
    handle = await env.client.start("Approval")
    await env.advance(timedelta(days=3) - timedelta(milliseconds=1))
    await handle.send("approve", "ann")
    assert await handle.result() == "approved by ann"


async def test_a_wait_that_is_over_runs_its_timeout_step_once(serve: Serve) -> None:
    env = await serve(approval(on_timeout=True))
    handle = await env.client.start("Approval")
    await env.advance(timedelta(days=3))
    assert await handle.result() == "nobody answered"
    assert (await kinds(handle)).count("wait.timed_out") == 1
    with pytest.raises(RunClosedError):
        await handle.send("approve", "too late")


async def test_a_wait_that_is_over_without_a_timeout_step_ends_the_run_as_timed_out(serve: Serve) -> None:
    env = await serve(approval(on_timeout=False))
    handle = await env.client.start("Approval")
    await env.advance(timedelta(days=3))
    with pytest.raises(RunTimedOutError, match="'approve'"):
        await handle.result()


async def test_many_senders_lose_and_double_nothing(serve: Serve) -> None:
    env = await serve(collector())
    handle = await env.client.start("Collector")
    await asyncio.gather(*(handle.send("add", {"item": f"{sender}"}) for sender in range(50)))
    await env.settle()
    await handle.send("stop")
    assert sorted(await handle.result(), key=int) == [str(sender) for sender in range(50)]
