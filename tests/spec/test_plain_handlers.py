"""Handlers that are a plain `def`: their context does what that of an `async def` does, and blocks."""

from __future__ import annotations

import inspect
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from spec.conftest import Serve
from wfctl import (
    BlockingChildHandle,
    BlockingContext,
    ChildHandle,
    Context,
    Directive,
    NoParentError,
    RunFailedError,
    StoreKeyNotFoundError,
    Workflow,
)
from wfctl.sdk.blocking import BlockingStore
from wfctl.sdk.store import Store

SECOND = timedelta(seconds=1)
seen: dict[str, Any] = {}


def flows() -> tuple[Workflow, Workflow]:
    parent, child = Workflow("Parent"), Workflow("Child")

    @parent.start()
    def begin(surroundings: BlockingContext, fail: bool = False) -> Directive:
        # The parameter may be called as one likes: it is known by its type.
        ctx = surroundings
        seen.update(now=ctx.now(), random=ctx.random(), uuid=ctx.uuid4(), missing=ctx.store.get("none", default=7))
        ctx.store.put("price", "5")
        seen["price"] = ctx.store.get("price", Decimal)
        with pytest.raises(StoreKeyNotFoundError):
            ctx.store.get("none")
        with pytest.raises(NoParentError):
            ctx.send_to_parent("news")
        handle = ctx.start("Child", "c", {"fail": fail})
        seen["handle"] = handle
        handle.send("go", {"amount": 5})
        try:
            seen["result"] = handle.result(int)
        except RunFailedError as error:
            seen["result"] = error
        seen["child"] = ctx.run_child("Child", "at once", {"wait": False}, result_type=int)
        ctx.start("Child", "never").terminate("enough")
        ctx.start("Child", "hardly").cancel("enough")
        return ctx.next.complete(ctx.store.get("price"))

    @parent.event()
    def news(ctx: BlockingContext) -> Directive:
        return ctx.next.wait_for_event()

    @child.start()
    def wait(ctx: BlockingContext, fail: bool = False, wait: bool = True) -> Directive:
        ctx.store.put("fail", fail)
        ctx.send_to_parent("news")
        return ctx.next.wait_for_event() if wait else ctx.next.complete(1)

    @child.event()
    def go(ctx: BlockingContext, amount: int) -> Directive:
        return ctx.next.fail("no") if ctx.store.get("fail", bool) else ctx.next.complete(amount)

    @child.query()
    def failing(ctx: BlockingContext) -> bool:
        return ctx.store.get("fail", bool)

    return parent, child


async def test_operations_of_a_plain_handler_return_their_values(serve: Serve) -> None:
    env = await serve(*flows())
    assert await env.client.run("Parent") == "5"
    assert (seen["now"], seen["missing"], seen["price"]) == (datetime(2030, 1, 1, tzinfo=UTC), 7, 5)
    assert 0 <= seen["random"] < 1
    assert isinstance(seen["uuid"], uuid.UUID)
    assert isinstance(seen["handle"], BlockingChildHandle)
    assert (seen["handle"].workflow_id, seen["result"], seen["child"]) == ("c", 5, 1)
    await env.settle()
    assert await env.client.count() == {"completed": 3, "cancelled": 1, "terminated": 1}
    assert await env.client.handle("c").query("failing") is False


async def test_what_became_of_a_child_is_raised_in_a_plain_handler(serve: Serve) -> None:
    env = await serve(*flows())
    await env.client.run("Parent", workflow_input={"fail": True})
    assert isinstance(seen["result"], RunFailedError)


async def test_a_plain_handler_sleeps(serve: Serve) -> None:
    wf = Workflow("Sleeper")

    @wf.start()
    def begin(ctx: BlockingContext) -> Directive:
        before = ctx.now()
        ctx.sleep(SECOND)
        return ctx.next.complete((ctx.now() - before).total_seconds())

    env = await serve(wf)
    handle = await env.client.start("Sleeper")
    await env.advance(SECOND)
    assert await handle.result() == 1.0


@pytest.mark.parametrize(
    ("blocking", "awaited"),
    [(BlockingContext, Context), (BlockingChildHandle, ChildHandle), (BlockingStore, Store)],
    ids=["context", "handle", "store"],
)
def test_a_plain_handler_has_all_that_an_awaited_one_has_with_the_same_parameters(
    blocking: type, awaited: type
) -> None:
    names = [name for name, value in inspect.getmembers(awaited, inspect.isfunction) if not name.startswith("_")]
    assert names
    for name in names:
        ours, theirs = getattr(blocking, name), getattr(awaited, name)
        assert inspect.signature(ours) == inspect.signature(theirs), name
        assert inspect.getdoc(ours) == inspect.getdoc(theirs)
        # Above the coroutine that it is made of stands something that is called and returns.
        assert not inspect.iscoroutinefunction(ours), name
