"""Sending once, sending first, and sending what has no handler yet."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from spec.conftest import Serve
from support.checker import broken_promises
from wfctl import (
    Context,
    Directive,
    InvalidArgumentError,
    InvalidPayloadError,
    RunClosedError,
    UnknownEventError,
    Workflow,
    WorkflowAlreadyRunning,
)
from wfctl.protocol import calls
from wfd.testing import WorkflowEnvironment


def cart(*, removes: bool = False) -> Workflow:
    wf = Workflow("Cart")

    @wf.start()
    async def begin(ctx: Context, owner: str = "") -> Directive:
        ctx.store.put("items", [owner] if owner else [])
        return ctx.next.wait_for_event("add", "pay")

    @wf.event()
    async def add(ctx: Context, sku: str) -> Directive:
        ctx.store.put("items", [*await ctx.store.get("items", list[str]), sku])
        return ctx.next.wait_for_event()

    @wf.event()
    async def pay(ctx: Context) -> Directive:
        return ctx.next.complete(await ctx.store.get("items", list[str]))

    if removes:

        @wf.event()
        async def remove(ctx: Context, sku: str, times: str = "1") -> Directive:
            return ctx.next.complete(f"{sku} x{times}")

    return wf


def raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


async def test_of_several_events_with_one_id_a_run_accepts_one(serve: Serve) -> None:
    env = await serve(cart())
    handle = await env.client.start("Cart", workflow_id="c")
    answers = await asyncio.gather(*(handle.send("add", "A", event_id="k1") for _ in range(5)))
    assert sorted(answer.duplicate for answer in answers) == [False, True, True, True, True]
    await env.crash()
    assert (await handle.send("add", "A", event_id="k1")).duplicate
    assert not (await handle.send("add", "B", event_id="k2")).duplicate
    await handle.send("pay", event_id="k3")
    assert await handle.result() == ["A", "B"]
    # Its sender got no answer: it was accepted all the same, and the run has closed by now.
    assert (await handle.send("pay", event_id="k3")).duplicate
    with pytest.raises(RunClosedError):
        await handle.send("pay", event_id="k4")
    again = await env.client.start("Cart", workflow_id="c")
    assert not (await again.send("pay", event_id="k3")).duplicate
    assert await again.result() == []
    with pytest.raises(InvalidArgumentError, match="event ID is empty"):
        await again.send("pay", event_id="")
    assert broken_promises(env.store.path) == []


async def test_an_event_that_was_refused_may_come_again_under_its_id(serve: Serve) -> None:
    env = await serve(cart())
    handle = await env.client.start("Cart", workflow_id="c")
    with pytest.raises(InvalidPayloadError):
        await handle.send("add", event_id="k")
    assert not (await handle.send("add", "A", event_id="k")).duplicate


def first(event: str, payload: object, *, start: object = None, type: str = "Cart", **more: object) -> calls.Send:
    begin = calls.StartFirst(workflow_type=type, input=raw(start))
    return calls.Send(id="c", event=event, payload=raw(payload), start=begin, **more)  # type: ignore[arg-type]


async def send(env: WorkflowEnvironment, call: calls.Send) -> calls.Sent:
    sent: calls.Sent = await env.client._link.call(call)
    return sent


async def test_a_run_is_begun_for_an_event_where_there_is_none(serve: Serve) -> None:
    env = await serve(cart())
    sent = await send(env, first("add", "A", start={"owner": "ann"}))
    assert (sent.started, sent.workflow_id, sent.position) == (True, "c", 1)
    both = await asyncio.gather(*(send(env, first("add", sku, start={"owner": "bob"})) for sku in "BC"))
    assert [answer.started for answer in both] == [False, False]
    handle = env.client.handle("c")
    await handle.send("pay")
    assert await handle.result() == ["ann", "A", "B", "C"]
    assert (await send(env, first("add", "A"))).started
    assert broken_promises(env.store.path) == []


async def test_an_event_that_began_a_run_does_not_begin_another_under_its_id(serve: Serve) -> None:
    env = await serve(cart())
    answers = await asyncio.gather(*(send(env, first("pay", None, event_id="k")) for _ in range(3)))
    assert sorted(answer.started for answer in answers) == [False, False, True]
    await env.client.handle("c").result()
    assert (await send(env, first("pay", None, event_id="k"))).duplicate
    assert len(await env.client.list()) == 1


async def test_what_is_wrong_with_either_begins_nothing(serve: Serve) -> None:
    env = await serve(cart(), waiting_type("Other"))
    for call, error in (
        (first("ad", "A"), UnknownEventError),
        (first("add", 5), InvalidPayloadError),
        (first("add", "A", start={"ownr": "ann"}), InvalidPayloadError),
    ):
        with pytest.raises(error):
            await send(env, call)
    assert await env.client.list() == []
    await env.client.start("Other", workflow_id="c")
    with pytest.raises(WorkflowAlreadyRunning, match="'Other', not 'Cart'"):
        await send(env, first("add", "A"))


def waiting_type(name: str) -> Workflow:
    wf = Workflow(name)

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @wf.event()
    async def end(ctx: Context) -> Directive:
        return ctx.next.complete()

    return wf


async def test_an_event_without_a_handler_is_kept_for_code_to_come(serve: Serve) -> None:
    env = await serve(cart())
    handle = await env.client.start("Cart", workflow_id="c")
    await env.settle()
    unknown = calls.Send(id="c", event="remove", payload=raw({"sku": "A"}), text={"times": "2"})
    with pytest.raises(UnknownEventError):
        await send(env, unknown)
    sent = await send(env, msgspec.structs.replace(unknown, any_event=True))
    assert (sent.dispatched, sent.position) == (False, 1)
    await handle.send("add", "B")
    await env.settle()
    # It waits for any event now, and this one has no handler: nothing is lost.
    run = (await handle.describe()).run
    assert run.status == "stuck"
    assert "'remove'" in (run.stuck_reason or "")
    env.load([cart(removes=True)])
    assert await handle.result() == "A x2"
    with pytest.raises(InvalidPayloadError, match="needs a payload that is an object"):
        await send(env, first("soon", 5, any_event=True, text={"a": "1"}))
