"""A replay tells branches of outcomes in the order in which they came: what a handler makes of who was first, it makes again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.handlers import Desk
from wfctl import Context, Directive, Workflow, task
from wfctl.protocol.channel import Op, StepDone

COUNT = 4

shipped: list[Any] = []


@task
async def part(number: int) -> int:
    return number


@task
async def ship(what: Any) -> Any:
    shipped.append(what)
    return what


async def the_first_of_several(ctx: Context) -> Any:
    made = [asyncio.create_task(part(number)) for number in range(COUNT)]
    done, _ = await asyncio.wait(made, return_when=asyncio.FIRST_COMPLETED)
    first = await ship(done.pop().result())
    await asyncio.wait(made)
    return first


async def each_as_it_comes(ctx: Context) -> Any:
    waiting = {asyncio.create_task(part(number)) for number in range(COUNT)}
    found = []
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        found += [await ship(one.result()) for one in done]
    return found


async def a_queue(ctx: Context) -> Any:
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def produce(number: int) -> None:
        await queue.put(await part(number))

    async with asyncio.TaskGroup() as group:
        for number in range(COUNT):
            group.create_task(produce(number))
        return [await ship(await queue.get()) for _ in range(COUNT)]


async def a_running_total(ctx: Context) -> Any:
    lock, total = asyncio.Lock(), 0

    async def add(number: int) -> Any:
        nonlocal total
        got = await part(number)
        async with lock:
            total += got
            return await ship([total, got])

    return await asyncio.gather(*(add(number) for number in range(COUNT)))


async def workers_over_one_iterator(ctx: Context) -> Any:
    numbers, found = iter(range(COUNT)), {}

    async def worker(name: str) -> None:
        for number in numbers:
            found[name + str(await part(number))] = await ctx.random()

    await asyncio.gather(worker("a"), worker("b"))
    return await ship(found)


async def a_branch_for_each_that_came(ctx: Context) -> Any:
    """What tells these branches apart is no JSON, so that their number does, which they get as they begin."""
    found: dict[int, str] = {}

    async def name(into: Callable[[str], None]) -> None:
        into(str(await ctx.uuid4()))

    async with asyncio.TaskGroup() as group:

        async def one(number: int) -> None:
            got = await part(number)
            group.create_task(name(lambda text: found.__setitem__(got, text)))

        for number in range(COUNT):
            group.create_task(one(number))
    return await ship({str(number): found[number] for number in sorted(found)})


SHAPES: list[Callable[[Context], Awaitable[Any]]] = [
    the_first_of_several, each_as_it_comes, a_queue, a_running_total, workers_over_one_iterator, a_branch_for_each_that_came
]  # fmt: skip


wf = Workflow("Order")


@wf.start()
async def shaped(ctx: Context, number: int) -> Directive:
    return ctx.next.complete(await SHAPES[number](ctx))


async def executed(desk: Desk, shape: int, commits: int | None) -> StepDone | None:
    """Run it with its operations answered one by one, the newest first; None where it ends after `commits` of them."""
    token = desk.begin("start", "shaped", {"number": shape}, ops=desk.records)
    pending: list[Op] = []
    while True:
        for _ in range(200):
            await asyncio.sleep(0)
        fresh = [one for one in desk.sent if getattr(one, "token", None) == token]
        desk.sent.clear()
        for one in fresh:
            if isinstance(one, StepDone):
                return one
            assert isinstance(one, Op), one
            if one.kind == "task":
                desk.commit(one)
            else:
                pending.append(one)
        assert pending, "it waits for nothing"
        if commits == 0:
            desk.executor.cancel_all()
            return None
        commits = None if commits is None else commits - 1
        op = pending.pop()
        desk.reply(op, desk.value(op))


@pytest.mark.parametrize("commits", range(9))
@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=[shape.__name__ for shape in SHAPES])
async def test_what_depends_on_the_order_of_outcomes_is_repeated(shape: int, commits: int) -> None:
    """With a crash after each outcome that is recorded, and one more at the end."""
    shipped.clear()
    desk = Desk(wf)
    first = await executed(desk, shape, commits)
    first = first or await executed(desk, shape, None)
    assert first is not None
    made = list(shipped)
    again = await desk.finish("start", "shaped", {"number": shape}, ops=desk.records)
    assert isinstance(again, StepDone), again
    assert again.value == first.value
    assert shipped == made
    assert desk.ops() == []
    assert all(not record.open for record in desk.records)
    desk.executor.close()
