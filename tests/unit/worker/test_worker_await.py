"""An `await` too many or too few in a handler: what is said of it is what to write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from support.handlers import Desk
from wfctl import Context, Directive, Workflow, task
from wfctl.protocol.channel import StepDone, StepRaised, StepStuck

pytestmark = pytest.mark.filterwarnings("ignore:coroutine 'Store.get' was never awaited")
wf = Workflow("Order")


@task
async def charge(amount: float) -> float:
    return amount


async def put(ctx: Any) -> Any:
    await ctx.store.put("a", 1)


async def delete(ctx: Any) -> Any:
    await ctx.store.delete("a")


async def progress(ctx: Any) -> Any:
    await ctx.progress(1, 2)


async def puts(ctx: Any) -> Any:
    await asyncio.gather(ctx.store.put("a", 1), ctx.store.put("b", 1))


async def directive(ctx: Any) -> Any:
    return await ctx.next.complete()


async def send(ctx: Any) -> Any:
    ctx.send("other", "go")


async def tasks(ctx: Any) -> Any:
    await ctx.now()
    charge(1.5)  # type: ignore[unused-coroutine]
    ctx.sleep(None)


async def get(ctx: Any) -> Any:
    return ctx.store.get("a") + 1


async def result(ctx: Any) -> Any:
    made: Any = charge(1.5)
    return made.amount


async def kept(ctx: Any) -> Any:
    ctx.store.put("b", ctx.store.get("a"))


async def other(ctx: Any) -> Any:
    raise TypeError("not mine")


MISTAKES: list[tuple[Callable[[Any], Coroutine[Any, Any, Any]], str]] = [
    (put, "UsageError: ctx.store.put(...) is done when it returns: leave out `await`"),
    (delete, "UsageError: ctx.store.delete(...) is done when it returns: leave out `await`"),
    (progress, "UsageError: ctx.progress(...) is done when it returns: leave out `await`"),
    (puts, "UsageError: ctx.store.put(...) is done when it returns: leave out `await`"),
    (
        directive,
        "InvalidDirectiveError: a directive is returned, not awaited: write `return ctx.next...` without `await`",
    ),
    (send, "returned without awaiting ctx.send(), which therefore did not happen: write `await`"),
    (tasks, "returned without awaiting ctx.sleep(), task charge, which therefore did not happen: write `await`"),
    (get, "TypeError: unsupported operand type(s) for +: 'coroutine' and 'int': is an `await` missing?"),
    (result, "AttributeError: 'coroutine' object has no attribute 'amount': is an `await` missing?"),
    (kept, "InvalidPayloadError: store value 'b' holds a builtins.coroutine, which JSON cannot hold"),
    (other, "TypeError: not mine"),
]


@wf.start()
async def begin(ctx: Context, number: int) -> Directive:
    await MISTAKES[number][0](ctx)
    return ctx.next.complete()


@wf.step()
async def plain_directive(ctx: Context) -> Directive:
    return ctx.next.complete("done")


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(wf)
    yield desk
    desk.executor.close()


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=[one.__name__ for one, _ in MISTAKES])
async def test_a_mistake_with_await_fails_with_what_to_write(desk: Desk, number: int) -> None:
    raised = await desk.finish("start", "begin", {"number": number})
    assert isinstance(raised, StepRaised), raised
    assert str(raised.failure).endswith(MISTAKES[number][1])
    assert "test_worker_await.py" in raised.failure.frame


async def test_a_coroutine_in_a_value_is_told_of_its_await(desk: Desk) -> None:
    raised = await desk.finish("start", "begin", {"number": [one for one, _ in MISTAKES].index(kept)})
    assert raised.failure.detail["hint"] == "is an `await` missing?"


async def test_what_was_recorded_and_is_not_asked_for_comes_before_an_await_that_is_missing(desk: Desk) -> None:
    number = [one for one, _ in MISTAKES].index(tasks)
    await desk.finish("start", "begin", {"number": number})
    stuck = await desk.finish("start", "begin", {"number": number - 1}, ops=desk.records)
    assert isinstance(stuck, StepStuck), stuck
    assert "ctx.now()" in stuck.reason


async def test_a_directive_that_is_returned_is_as_ever(desk: Desk) -> None:
    done = await desk.finish("step", "plain_directive")
    assert isinstance(done, StepDone), done
    assert done.value == b'"done"'
