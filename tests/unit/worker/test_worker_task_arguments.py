"""A task's function works on arguments of its own: the first execution of its handler sees what a replay does."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from support.handlers import Desk
from wfctl import Context, Directive, RetryPolicy, Workflow, task
from wfctl.protocol.channel import StepDone

wf = Workflow("Order")
seen: list[list[int]] = []


@dataclass
class Basket:
    items: list[int] = field(default_factory=list)


@task
async def fill(items: list[int], basket: Basket) -> int:
    items.append(5)
    basket.items.append(6)
    return len(items)


@task
def fill_in_a_thread(*, items: list[int]) -> int:
    items.append(5)
    return len(items)


@task(retry=RetryPolicy(attempts=3, delay=timedelta(0)))
async def third_time(items: list[int]) -> int:
    seen.append(list(items))
    items.append(7)
    if len(seen) < 3:
        raise OSError("not yet")
    return len(items)


@wf.start()
async def begin(ctx: Context) -> Directive:
    items, basket = [1], Basket()
    counts = [await fill(items, basket), await fill_in_a_thread(items=items), await third_time(items)]
    return ctx.next.complete([items, basket.items, counts])


@wf.step()
async def changes_its_own(ctx: Context) -> Directive:
    items: list[int] = []
    work = asyncio.create_task(fill(items, Basket()))
    items.append(1)
    return ctx.next.complete(await work)


async def test_what_a_task_does_to_its_arguments_is_not_seen_by_its_handler() -> None:
    seen.clear()
    desk = Desk(wf)
    first = await desk.finish("start", "begin")
    again = await desk.finish("start", "begin", ops=desk.records)
    desk.executor.close()
    for done in (first, again):
        assert isinstance(done, StepDone), done
        assert done.value == b"[[1],[],[2,2,2]]"


async def test_each_attempt_gets_what_was_given() -> None:
    seen.clear()
    desk = Desk(wf)
    await desk.finish("start", "begin")
    desk.executor.close()
    assert seen == [[1]] * 3


async def test_a_task_gets_what_was_given_when_it_was_called() -> None:
    desk = Desk(wf)
    done: Any = await desk.finish("step", "changes_its_own")
    desk.executor.close()
    assert done.value == b"1", "what is recorded as its arguments"
