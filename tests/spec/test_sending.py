"""Sending once, sending first, and sending what has no handler yet."""

from __future__ import annotations

import asyncio
from typing import Any

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
    UnknownWorkflowTypeError,
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


async def first(env: WorkflowEnvironment, event: str, payload: object = None, **more: Any) -> calls.Sent:
    return await env.client.handle("c").send(event, payload, **{"start": "Cart", **more})


CART = calls.StartFirst(workflow_type="Cart")


async def send(env: WorkflowEnvironment, call: calls.Send) -> calls.Sent:
    sent: calls.Sent = await env.client._link.call(call)
    return sent


async def test_a_run_is_begun_for_an_event_where_there_is_none(serve: Serve) -> None:
    env = await serve(cart())
    sent = await first(env, "add", "A", start_input={"owner": "ann"})
    assert (sent.started, sent.workflow_id, sent.position) == (True, "c", 1)
    both = await asyncio.gather(*(first(env, "add", sku, start_input={"owner": "bob"}) for sku in "BC"))
    assert [answer.started for answer in both] == [False, False]
    handle = env.client.handle("c")
    await handle.send("pay")
    assert await handle.result() == ["ann", "A", "B", "C"]
    assert (await first(env, "add", "A")).started
    assert broken_promises(env.store.path) == []


async def test_an_event_that_began_a_run_does_not_begin_another_under_its_id(serve: Serve) -> None:
    env = await serve(cart())
    answers = await asyncio.gather(*(first(env, "pay", event_id="k") for _ in range(3)))
    assert sorted(answer.started for answer in answers) == [False, False, True]
    await env.client.handle("c").result()
    assert (await first(env, "pay", event_id="k")).duplicate
    assert len(await env.client.list()) == 1


async def test_what_is_wrong_with_either_begins_nothing(serve: Serve) -> None:
    env = await serve(cart(), waiting_type("Other"))
    for event, payload, more, error in (
        ("ad", "A", {}, UnknownEventError),
        ("add", 5, {}, InvalidPayloadError),
        ("add", "A", {"start_input": {"ownr": "ann"}}, InvalidPayloadError),
        ("add", "A", {"start": "Cat"}, UnknownWorkflowTypeError),
        ("add", "A", {"start": ""}, InvalidArgumentError),
        ("add", "A", {"start": None, "start_input": {"owner": "ann"}}, InvalidArgumentError),
    ):
        with pytest.raises(error):
            await first(env, event, payload, **more)
    assert await env.client.list() == []
    await env.client.start("Other", workflow_id="c")
    with pytest.raises(WorkflowAlreadyRunning, match="'Other', not 'Cart'"):
        await first(env, "add", "A")


async def test_a_handle_of_one_run_alone_begins_no_other(serve: Serve) -> None:
    env = await serve(cart())
    handle = await env.client.start("Cart", workflow_id="c")
    await handle.send("pay")
    await handle.result()
    with pytest.raises(InvalidArgumentError, match="alone, and cannot begin another"):
        await handle.send("add", "A", start="Cart")
    assert len(await env.client.list()) == 1


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
    assert (await handle.send("remove", {"sku": "B"}, allow_unknown=True)).position == 2
    await handle.send("add", "B")
    await env.settle()
    # It waits for any event now, and this one has no handler: nothing is lost.
    run = (await handle.describe()).run
    assert run.status == "stuck"
    assert "'remove'" in (run.stuck_reason or "")
    env.load([cart(removes=True)])
    assert await handle.result() == "A x2"
    with pytest.raises(InvalidPayloadError, match="needs a payload that is an object"):
        # As the command line sends what is given by key.
        await send(env, calls.Send(id="c", event="soon", payload=raw(5), text={"a": "1"}, start=CART, any_event=True))


async def test_of_an_event_that_the_run_waits_for_the_sender_hears_that_its_handler_was_taken_out(serve: Serve) -> None:
    env = await serve(cart())
    handle = await env.client.start("Cart", workflow_id="c")
    await env.settle()
    env.load([waiting_type("Cart")])
    with pytest.raises(
        UnknownEventError, match=r"waits for event 'add', but its handler is not in .*test_sending.py any more"
    ) as told:
        await handle.send("add", "A")
    assert "--allow-unknown" in (told.value.hint or "")
    with pytest.raises(UnknownEventError, match="has no event 'ad'; it has end"):
        await handle.send("ad", "A")
