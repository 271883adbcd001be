"""Where the context of a handler may be used: what would be lost without a word is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from support.handlers import Desk
from wfctl import Context, Directive, Workflow, task
from wfctl.errors import StaleStepError, UsageError
from wfctl.protocol.channel import StepDone

wf = Workflow("Order")
kept: list[Context] = []


async def use(ctx: Any, what: str) -> Any:
    """One use of the context, in an `async def` handler or a plain one."""
    uses: dict[str, Callable[[], Any]] = {
        "put": lambda: ctx.store.put("key", 1),
        "delete": lambda: ctx.store.delete("key"),
        "get": lambda: ctx.store.get("key", default="none"),
        "next": lambda: ctx.next.complete(),
        "now": ctx.now,
        "run": lambda: ctx.run.workflow_id,
        "logger": lambda: ctx.logger.info("text"),
        "progress": lambda: ctx.progress(1),
    }
    value = uses[what]()
    return await value if asyncio.iscoroutine(value) else value


@task
async def uses(what: str) -> Any:
    await use(kept[-1], what)


@task
def uses_in_a_thread(what: str) -> Any:
    asyncio.run(use(kept[-1], what))


@wf.event()
async def handler(ctx: Context, what: str, threaded: bool) -> Directive:
    kept.append(ctx)
    try:
        await (uses_in_a_thread if threaded else uses)(what)
    except UsageError as error:
        return ctx.next.complete(error.message)
    return ctx.next.complete("fine")


@wf.event()
def plain(ctx: Any, what: str, threaded: bool) -> Directive:
    kept.append(ctx)
    try:
        (uses_in_a_thread if threaded else uses)(what)  # type: ignore[unused-coroutine]
    except UsageError as error:
        return ctx.next.complete(error.message)
    return ctx.next.complete("fine")  # type: ignore[no-any-return]


@wf.step()
async def keeps(ctx: Context) -> Directive:
    kept.append(ctx)
    ctx.store.put("own", 1)
    return ctx.next.complete()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    kept.clear()
    desk = Desk(wf)
    yield desk
    desk.executor.close()


@pytest.mark.parametrize("name", ["handler", "plain"])
@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("what", ["put", "delete", "get", "next"])
async def test_what_would_be_lost_in_a_replay_is_refused_inside_of_a_task(
    desk: Desk, name: str, threaded: bool, what: str
) -> None:
    done = await desk.finish("event", name, {"what": what, "threaded": threaded})
    assert isinstance(done, StepDone)
    assert b"uses the context of its handler" in done.value
    assert done.put == {}


@pytest.mark.parametrize("what", ["run", "logger", "progress"])
async def test_what_says_who_and_how_far_it_is_can_be_used_inside_of_a_task(desk: Desk, what: str) -> None:
    done = await desk.finish("event", "handler", {"what": what, "threaded": False})
    assert done.value == b'"fine"'


@pytest.mark.parametrize("what", ["put", "delete", "get", "now"])
async def test_the_context_of_a_step_that_is_over_is_of_no_use_any_more(desk: Desk, what: str) -> None:
    done = await desk.finish("step", "keeps")
    assert done.put == {"own": b"1"}
    with pytest.raises(StaleStepError, match="has returned, so it cannot do more"):
        await use(kept[-1], what)
