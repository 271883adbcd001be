"""Only a dict is keyword arguments: an object of another kind is the first argument, whoever sends it to whatever."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import pydantic
import pytest

from spec.conftest import Serve
from wfctl import Context, Directive, InvalidPayloadError, RunInfo, Workflow
from wfctl.protocol import calls


@dataclass
class Line:
    item: str
    note: str = ""


class Struct(msgspec.Struct):
    item: str
    note: str = ""


class Model(pydantic.BaseModel):
    item: str
    note: str = ""


VALUES = (Line("pen", "blue"), Struct("pen", "blue"), Model(item="pen", note="blue"))
PLAIN = {"item": "pen", "note": "blue"}


def cart() -> Workflow:
    wf = Workflow("Cart")

    # What the objects are made of would fit as keyword arguments too.
    @wf.start()
    async def begin(ctx: Context, item: dict[str, str] | str, note: str = "none") -> Directive:
        ctx.store.put("got", [[item, note]])
        return ctx.next.wait_for_event()

    @wf.event()
    async def plain(ctx: Context, item: dict[str, str] | str, note: str = "none") -> Directive:
        ctx.store.put("got", [*await ctx.store.get("got"), [item, note]])
        return ctx.next.wait_for_event()

    @wf.event()
    async def typed(ctx: Context, line: Line | str, note: str = "none") -> Directive:
        ctx.store.put("got", [*await ctx.store.get("got"), [line, note]])
        return ctx.next.wait_for_event()

    @wf.query()
    async def asked(ctx: Context, line: Line, more: str = "none") -> list[Any]:
        return [line, more]

    return wf


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
async def test_an_object_that_a_program_sends_is_the_first_argument(serve: Serve, value: Any) -> None:
    env = await serve(cart())
    handle = await env.client.start("Cart", workflow_id="c", workflow_input=value)
    await handle.send("plain", value)
    await handle.send("typed", value)
    await handle.send("plain", dict(PLAIN))
    await env.settle()
    once = [PLAIN, "none"]
    assert (await handle.describe()).store["got"] == [once, once, once, ["pen", "blue"]]
    assert await handle.query("asked", value) == once
    first = await env.client.handle("d").send("plain", value, start="Cart", start_input=value)
    assert first.started
    await env.settle()
    assert (await env.client.handle("d").describe()).store["got"] == [once, once]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
async def test_an_object_that_a_handler_sends_is_the_first_argument(serve: Serve, value: Any) -> None:
    shop = Workflow("Shop")

    @shop.start()
    async def begin(ctx: Context) -> Directive:
        child = await ctx.start("Cart", "c", value)
        await child.send("plain", value)
        await child.send("typed", value)
        await ctx.send("c", "plain", value)
        await ctx.send("c", "plain", dict(PLAIN))
        return ctx.next.complete()

    env = await serve(cart(), shop)
    await env.client.run("Shop", timeout=timedelta(seconds=30))
    await env.settle()
    once = [PLAIN, "none"]
    assert (await env.client.handle("c").describe()).store["got"] == [once, once, once, once, ["pen", "blue"]]


async def test_an_object_is_the_first_argument_of_each_run_of_a_schedule(serve: Serve) -> None:
    env = await serve(cart())
    await env.client.schedules.create("s", "Cart", every=timedelta(hours=1), workflow_input=Line("pen", "blue"))
    await env.advance(timedelta(hours=1, minutes=1))
    [run] = await env.client.list()
    assert (await env.client.handle(run.workflow_id).describe()).store["got"] == [[PLAIN, "none"]]


async def test_an_object_for_an_event_that_has_no_handler_yet_is_its_first_argument(serve: Serve) -> None:
    waits = Workflow("Cart")

    @waits.start()
    async def begin(ctx: Context, item: str) -> Directive:
        ctx.store.put("got", [])
        return ctx.next.wait_for_event()

    @waits.event()
    async def other(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    env = await serve(waits)
    handle = await env.client.start("Cart", workflow_input="x")
    await handle.send("plain", Line("pen", "blue"), allow_unknown=True)
    env.load([cart()])
    await env.settle()
    assert (await handle.describe()).store["got"] == [[PLAIN, "none"]]


async def test_an_object_that_does_not_fit_the_first_parameter_is_refused(serve: Serve) -> None:
    env = await serve(cart())
    handle = await env.client.start("Cart", workflow_input="x")
    with pytest.raises(InvalidPayloadError, match="parameter 'line'"):
        await handle.send("typed", RunInfo("r", "w", "T"))


async def test_what_a_client_of_before_sends_is_taken_as_before(serve: Serve) -> None:
    env = await serve(cart())
    sent = msgspec.json.encode(calls.Start(workflow_type="Cart", workflow_id="c", input=msgspec.Raw(b'{"item":"a"}')))
    assert sent == b'{"workflow_type":"Cart","workflow_id":"c","input":{"item":"a"}}'
    await env.client._link.call(msgspec.json.decode(sent, type=calls.Start))
    await env.settle()
    assert (await env.client.handle("c").describe()).store["got"] == [["a", "none"]]
