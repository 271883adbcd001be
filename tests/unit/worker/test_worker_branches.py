"""Concurrent branches of a handler: each gets its own results back, however a task is handed over to asyncio."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.handlers import Desk
from wfctl import Context, Directive, Workflow, task
from wfctl.sdk import attempts
from wfctl.sdk.replay import Replay
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


class Changing(msgspec.Struct):
    names: list[str]


class Fixed(msgspec.Struct, frozen=True):
    name: Any


@dataclasses.dataclass(frozen=True)
class Order:
    number: int
    lines: Any = ()


async def work(item: Any, value: Any = None) -> None: ...


async def wrapped(*args: Any, **kwargs: Any) -> None: ...


def labelled(coro: Coroutine[Any, Any, None], *, changing: bool = False) -> str:
    found = label(coro, changing=changing)
    coro.close()
    return found


CHANGING: list[tuple[Any, Any]] = [
    ([], ["a"]), ({}, {"a": 1}), (Changing([]), Changing(["a"])), (("a", []), ("a", ["b"])), (Fixed([]), Fixed(["a"])),
    (Order(1, []), Order(1, ["a"])),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), CHANGING, ids=repr)
def test_what_an_argument_that_may_change_holds_does_not_count(before: Any, after: Any) -> None:
    assert labelled(work("a", before)) == labelled(work("a", after)) != labelled(work("b", before))
    assert labelled(wrapped("a", before)) == labelled(wrapped("a", after)) != labelled(wrapped("b", before))
    assert labelled(wrapped(a="a", b=before)) == labelled(wrapped(a="a", b=after)) != labelled(wrapped(a="b"))


@pytest.mark.parametrize(
    "values", [(1, 2), ("a", "b"), ((1, "a"), (1, "b")), (Fixed("a"), Fixed("b")), (Order(1), Order(2))]
)
def test_what_lasts_tells_branches_apart(values: tuple[Any, Any]) -> None:
    assert labelled(work(values[0])) != labelled(work(values[1]))
    # As it always did: what was recorded under it is found.
    assert labelled(work(values[0])) == labelled(work(values[0]), changing=True)


async def test_branches_that_changing_arguments_told_apart_before_find_their_records() -> None:
    """As they were recorded by a version whose labels said what a list held."""
    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        shared: list[int] = []

        async def branch(name: str, into: list[int]) -> list[str]:
            into.append(await draw())
            return [name, str(await ctx.uuid4()), str(await ctx.uuid4())]

        return ctx.next.complete(await asyncio.gather(branch("a", shared), branch("b", shared)))

    desk = Desk(wf)
    first = await desk.finish("start", "begin")
    former = [f"/{begin_branch(name, [])}#0" for name in "ab"]
    records = []
    for record in desk.records:
        kind, _, rest = record.key.partition(":")
        for name, path in zip("ab", former, strict=True):
            today = f"/{begin_branch(name)}#0"
            if kind == "task":
                rest = rest.replace(short(today), short(path))
            else:
                rest = rest.replace(Replay().base("", "", today.encode())[2:], Replay().base("", "", path.encode())[2:])
        records.append(msgspec.structs.replace(record, key=f"{kind}:{rest}"))
    assert not {one.key for one in records} & {one.key for one in desk.records}
    desk.sent.clear()
    again = await desk.finish("start", "begin", ops=records)
    desk.executor.close()
    assert desk.ops() == []
    assert again.value == first.value


def short(path: str) -> str:
    return hashlib.sha256(path.encode()).hexdigest()[:8]


def begin_branch(name: str, into: list[int] | None = None) -> str:
    digest = hashlib.sha256(b'name="%b";' % name.encode() + (b"" if into is None else b"into=[];")).hexdigest()[:8]
    return (
        "test_branches_that_changing_arguments_told_apart_before_find_their_records.<locals>.begin.<locals>.branch"
        f"({digest})"
    )
