"""Concurrent branches of a handler: each gets its own results back, however a task is handed over to asyncio."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from wfctl import Context, Directive, Workflow, task
from wfctl.sdk import attempts
from wfd.testing import WorkflowEnvironment
from wfd.worker.branches import label

HOUR = timedelta(hours=1)

numbers = itertools.count()


@task
async def draw() -> int:
    """A result that nothing but the record can repeat."""
    return next(numbers)


async def gathered(work: Coroutine[Any, Any, int]) -> int:
    return (await asyncio.gather(work))[0]


async def grouped(work: Coroutine[Any, Any, int]) -> int:
    async with asyncio.TaskGroup() as group:
        made = group.create_task(work)
    return made.result()


async def as_completed(work: Coroutine[Any, Any, int]) -> int:
    return await next(iter(asyncio.as_completed([work])))


async def first(work: Coroutine[Any, Any, int]) -> int:
    done, _ = await asyncio.wait([asyncio.ensure_future(work)])
    return done.pop().result()


WAYS: dict[str, Callable[[Coroutine[Any, Any, int]], Awaitable[int]]] = {
    "await": lambda work: work,
    "gather": gathered,
    "TaskGroup": grouped,
    "create_task": lambda work: asyncio.create_task(work),
    "ensure_future": lambda work: asyncio.ensure_future(work),
    "shield": lambda work: asyncio.shield(work),
    "wait_for": lambda work: asyncio.wait_for(work, 3_600),
    "as_completed": as_completed,
    "wait": first,
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_task_in_a_branch_replays_to_that_branch_however_it_is_begun(way: str) -> None:
    wf = Workflow("Swap")
    seen: list[list[int]] = []

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        async def branch(seconds: int) -> int:
            await ctx.sleep(timedelta(seconds=seconds))
            return await WAYS[way](draw())

        seen.append(await asyncio.gather(branch(3), branch(1), branch(2)))
        await ctx.sleep(HOUR)
        return ctx.next.complete(seen[-1])

    async with WorkflowEnvironment([wf]) as env:
        handle = await env.client.start("Swap")
        await env.advance(timedelta(seconds=5))
        await env.crash()
        await env.advance(HOUR)
        assert await handle.result() == seen[0]
    assert seen == [seen[0]] * 2
    assert sorted(seen[0]) != seen[0], "the last branch to begin its task was the first to ask"


async def test_tasks_in_threads_of_a_handler_replay_to_their_threads() -> None:
    wf = Workflow("Swap")
    seen: list[list[int]] = []

    def drawn() -> Any:
        return draw()  # in a thread of an async handler it blocks

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        async def branch(seconds: int) -> int:
            await ctx.sleep(timedelta(seconds=seconds))
            return int(await asyncio.to_thread(drawn))

        seen.append(await asyncio.gather(branch(2), branch(1)))
        await ctx.sleep(HOUR)
        return ctx.next.complete()

    async with WorkflowEnvironment([wf]) as env:
        await env.client.start("Swap")
        await env.advance(timedelta(seconds=1))
        await env.settle()
        await env.advance(timedelta(seconds=1))
        await env.crash()
        await env.advance(HOUR)
    assert seen == [seen[0]] * 2


def test_the_place_that_a_task_is_called_at_is_not_in_the_label_of_its_branch() -> None:
    def made(place: str) -> str:
        work = attempts.run(None, None, 1, None, place)  # type: ignore[arg-type]
        found = label(work)
        work.close()
        return found

    assert made("") == made("orders.py:3 in begin")


def test_the_label_of_a_branch_that_is_given_paths_is_what_it_was_before_payloads_could_hold_them() -> None:
    async def convert(number: int, source: Any) -> None: ...

    def made(source: Any) -> str:
        work = convert(1, source)
        found = label(work)
        work.close()
        return found

    # Recorded operations of branches have it in their keys.
    assert made(Path("a")) == made([Path("b")]) == made({"c": Path("d")}) == made(object())
    assert made("a") != made("b")
