"""Steps are transactions: what they store, return and refuse."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

import msgspec
import pydantic
import pytest

from spec.conftest import Serve
from support.history import kinds, records
from wfctl import (
    Context,
    Directive,
    InvalidPayloadError,
    PayloadTooLargeError,
    RunFailedError,
    StoreKeyNotFoundError,
    Workflow,
)


async def test_a_step_that_raises_stores_nothing_and_fails_the_run(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        ctx.store.put("kept", 1)
        return ctx.next.step(breaks)

    @wf.step()
    async def breaks(ctx: Context) -> Directive:
        ctx.store.put("kept", 2)
        ctx.store.put("lost", 3)
        raise ValueError("no stock")

    env = await serve(wf)
    handle = await env.client.start("W")
    with pytest.raises(RunFailedError, match="ValueError: no stock") as caught:
        await handle.result()
    assert caught.value.detail["status"] == "failed"
    assert (await handle.describe()).store == {"kept": 1}
    assert (await kinds(handle))[-2:] == ["step.failed", "run.failed"]
    [failed] = await records(handle, "step.failed")
    assert "in breaks" in failed["error"]["frame"]


async def test_fail_keeps_what_the_step_stored(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        ctx.store.put("why", "sold out")
        return ctx.next.fail("sold out")

    env = await serve(wf)
    handle = await env.client.start("W")
    with pytest.raises(RunFailedError, match="sold out"):
        await handle.result()
    assert (await handle.describe()).store == {"why": "sold out"}


async def test_a_plain_function_runs_in_a_thread_and_blocks_nobody(serve: Serve) -> None:
    import threading

    wf, free = Workflow("W"), threading.Event()

    @wf.start()
    def begin(ctx: Context, wait: bool) -> Directive:
        ctx.store.put("wait", wait)
        if wait:
            free.wait(30)
        else:
            free.set()
        return ctx.next.step(later)

    @wf.step()
    def later(ctx: Context) -> Directive:
        return ctx.next.complete(ctx.store.get("wait"))  # type: ignore[arg-type]

    env = await serve(wf)
    blocked = await env.client.start("W", workflow_input=True)
    assert await env.client.run("W", workflow_input=False) is False
    assert await blocked.result() is True


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int
    y: float


class Line(msgspec.Struct):
    ends: list[Point]


class Card(pydantic.BaseModel):
    number: str
    limit: Decimal


async def test_inputs_and_store_reads_are_converted_to_the_annotated_types(serve: Serve) -> None:
    wf, seen = Workflow("W"), []

    @wf.start()
    async def begin(
        ctx: Context, when: datetime, price: Decimal, id: UUID, colour: Colour, line: Line, card: Card, raw: bytes,
        for_: timedelta | None = None,
    ) -> Directive:  # fmt: skip
        seen.append((when, price, id, colour, line, card, raw))
        ctx.store.put("line", line)
        ctx.store.put("card", card)
        ctx.store.put("when", when)
        return ctx.next.step(read)

    @wf.step()
    async def read(ctx: Context) -> Directive:
        seen.append(await ctx.store.get("line", Line))
        seen.append(await ctx.store.get("card", Card))
        seen.append(await ctx.store.get("when", datetime))
        return ctx.next.complete()

    env = await serve(wf)
    given = (
        datetime(2030, 1, 2, tzinfo=UTC), Decimal("1.10"), UUID(int=7), Colour.RED, Line([Point(1, 2.5)]),
        Card(number="4", limit=Decimal(5)), b"\x00\xff",
    )  # fmt: skip
    names = ("when", "price", "id", "colour", "line", "card", "raw")
    await env.client.run("W", workflow_input=dict(zip(names, given, strict=True)))
    assert seen == [given, given[4], given[5], given[0]]


async def test_what_json_cannot_hold_is_refused_where_it_is_put(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        refused = []
        for key, value in (("nan", float("nan")), ("lock", asyncio.Lock()), ("keys", {1: "a"})):
            try:
                ctx.store.put(key, value)
            except InvalidPayloadError as error:
                refused.append(str(error))
        return ctx.next.complete(refused)

    env = await serve(wf)
    nan, lock, keys = await env.client.run("W")
    assert "'nan'" in nan
    assert "Lock" in lock
    assert "key 1" in keys


async def test_a_missing_key_is_a_key_error_or_the_default(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        ctx.store.put("amount", 1)
        ctx.store.put("gone", 1)
        ctx.store.delete("gone")
        with pytest.raises(StoreKeyNotFoundError, match="amuont"):
            await ctx.store.get("amuont")
        with pytest.raises(KeyError):
            await ctx.store.get("gone")
        return ctx.next.complete([await ctx.store.get("gone", default=7), await ctx.store.get("amount", int)])

    env = await serve(wf)
    assert await env.client.run("W") == [7, 1]


async def test_a_delayed_step_waits_its_time(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.step(later, after=timedelta(days=3))

    @wf.step()
    async def later(ctx: Context) -> Directive:
        return ctx.next.complete((await ctx.now()).isoformat())

    env = await serve(wf)
    begun = env.now
    handle = await env.client.start("W")
    await env.advance(timedelta(days=2, hours=23))
    assert (await handle.describe()).run.status == "sleeping"
    await env.advance(timedelta(hours=1))
    assert await handle.result() == (begun + timedelta(days=3)).isoformat()


@pytest.mark.parametrize("returned", [None, "done", 5])
async def test_anything_but_a_directive_fails_the_run_and_says_what_to_return(serve: Serve, returned: object) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return returned  # type: ignore[return-value]

    env = await serve(wf)
    with pytest.raises(RunFailedError, match="InvalidDirectiveError"):
        await env.client.run("W")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError("own")])
async def test_a_handler_cannot_take_its_worker_with_it(serve: Serve, error: BaseException) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context, die: bool) -> Directive:
        if die:
            raise error
        return ctx.next.complete("alive")

    env = await serve(wf)
    with pytest.raises(RunFailedError, match=type(error).__name__):
        await env.client.run("W", workflow_input=True)
    assert await env.client.run("W", workflow_input=False) == "alive"


async def test_input_over_the_limit_is_refused_with_both_sizes(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context, text: str) -> Directive:
        return ctx.next.complete(len(text))

    env = await serve(wf)
    assert await env.client.run("W", workflow_input="x" * 1_000_000) == 1_000_000
    with pytest.raises(PayloadTooLargeError, match="1,048,576") as caught:
        await env.client.run("W", workflow_input="x" * 1_100_000)
    assert caught.value.detail["size_bytes"] > 1_100_000


async def test_log_lines_stand_in_the_history_where_they_were_written(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        ctx.logger.info("charging %s", "card")
        ctx.logger.warning("slow")
        return ctx.next.complete()

    env = await serve(wf)
    handle = await env.client.start("W")
    await handle.result()
    entries = [entry async for entry in handle.watch()]
    assert [entry.kind for entry in entries] == [
        "run.started", "step.started", "log", "log", "step.completed", "run.completed",
    ]  # fmt: skip
    assert [entry.data["message"] for entry in entries if entry.kind == "log"] == ["charging card", "slow"]


async def test_a_step_logs_again_what_the_step_before_it_has_logged(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        ctx.logger.info("trying")
        return ctx.next.step(again)

    @wf.step()
    async def again(ctx: Context) -> Directive:
        ctx.logger.info("trying")
        return ctx.next.complete()

    env = await serve(wf)
    handle = await env.client.start("W")
    await handle.result()
    lines = [entry.data["message"] for entry in await handle.history(logs=True) if entry.kind == "log"]
    assert lines == ["trying", "trying"]
