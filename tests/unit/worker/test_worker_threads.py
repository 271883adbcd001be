"""Threads that a handler makes itself: what they ask for could not be told apart in a replay, so it is refused."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import itertools
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest

from support.handlers import Desk
from wfctl import Context, Directive, Workflow, current_task, task
from wfctl.errors import UsageError
from wfctl.protocol.channel import StepDone, StepRaised

wf = Workflow("Order")
numbers = itertools.count()
drawn: list[int] = []
shared = ThreadPoolExecutor(2)


@task
def draw(_: Any = None) -> int:
    drawn.append(next(numbers))
    return drawn[-1]


@task
async def draw_async(_: Any = None) -> int:
    return draw.__wrapped__()  # type: ignore[attr-defined, no-any-return]


@task
def draw_some() -> list[Any]:
    with ThreadPoolExecutor(2) as own:
        made = list(own.map(draw, range(2)))  # type: ignore[arg-type]
        names = list(own.map(lambda _: current_task().name, range(2)))
    return [len(made), *names]


def in_a_pool(ctx: Any) -> Any:
    with ThreadPoolExecutor(2) as own:
        return list(own.map(lambda item: draw(item), range(2)))


def of_async_tasks(ctx: Any) -> Any:
    with ThreadPoolExecutor(2) as own:
        return list(own.map(draw_async, range(2)))


def in_another_pool(ctx: Any) -> Any:
    with ThreadPool(2) as own:
        return own.map(draw, range(2))


def in_a_shared_pool(ctx: Any) -> Any:
    return list(shared.map(draw, range(2)))


def in_a_thread_of_a_thread(ctx: Any) -> Any:
    raised: list[BaseException] = []

    def work() -> None:
        try:
            with ThreadPoolExecutor(1) as own:
                own.submit(draw).result()
        except UsageError as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    raise raised[0]


def in_a_thread_with_a_loop(ctx: Any) -> Any:
    with ThreadPoolExecutor(1) as own:
        return own.submit(lambda: asyncio.run(draw_async())).result()


def with_the_handlers_context(ctx: Any) -> Any:
    with ThreadPoolExecutor(2) as own:
        return own.submit(contextvars.copy_context().run, draw).result()


def an_operation(ctx: Any) -> Any:
    with ThreadPoolExecutor(2) as own:
        return list(own.map(lambda _: ctx.uuid4(), range(2)))


def at_once_in_a_loop(ctx: Any) -> Any:
    async def both() -> Any:
        return await asyncio.gather(draw_async(1), draw_async(2))

    return asyncio.run(both())


def by_branches_in_a_loop(ctx: Any) -> Any:
    async def branch() -> Any:
        return ctx.uuid4()

    async def both() -> Any:
        return await asyncio.gather(branch(), branch())

    return asyncio.run(both())


REFUSED: list[Callable[[Any], Any]] = [
    in_a_pool, of_async_tasks, in_another_pool, in_a_shared_pool, in_a_thread_of_a_thread, in_a_thread_with_a_loop,
    with_the_handlers_context, an_operation, at_once_in_a_loop, by_branches_in_a_loop,
]  # fmt: skip


@wf.start()
def plain(ctx: Any, number: int) -> Directive:
    return ctx.next.complete(REFUSED[number](ctx))


@wf.step()
async def in_an_executor(ctx: Context) -> Directive:
    return ctx.next.complete(await asyncio.get_running_loop().run_in_executor(shared, draw))


@wf.step()
async def in_a_thread_of_asyncios(ctx: Context) -> Directive:
    return ctx.next.complete(await asyncio.to_thread(lambda: draw()))


@wf.step()
def one_after_the_other(ctx: Any) -> Directive:
    async def work() -> list[int]:
        async with asyncio.timeout(60):
            return [await draw_async(), await draw_async()]

    return ctx.next.complete([asyncio.run(work()), draw()])


@wf.step()
def of_a_task(ctx: Any) -> Directive:
    return ctx.next.complete(draw_some())


@wf.step()
def reads(ctx: Any) -> Directive:
    ctx.store.put("a", 1)
    with ThreadPoolExecutor(2) as own:
        return ctx.next.complete(list(own.map(ctx.store.get, ["a", "b"])))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    drawn.clear()
    desk = Desk(wf)
    yield desk
    desk.executor.close()


@pytest.mark.parametrize("number", range(len(REFUSED)), ids=[one.__name__ for one in REFUSED])
async def test_what_a_plain_handler_asks_for_beside_its_own_thread_is_refused(desk: Desk, number: int) -> None:
    raised = await desk.finish("start", "plain", {"number": number})
    assert isinstance(raised, StepRaised), raised
    assert raised.failure.type == "UsageError"
    assert "asyncio.gather" in str(raised.failure.detail["hint"])
    if REFUSED[number] is not at_once_in_a_loop:  # whose first is on its way by then
        assert drawn == []


async def test_a_task_in_an_executor_of_an_async_handlers_is_refused(desk: Desk) -> None:
    raised = await desk.finish("step", "in_an_executor")
    assert isinstance(raised, StepRaised), raised
    assert (raised.failure.type, drawn) == ("UsageError", [])


@pytest.mark.parametrize("handler", ["in_a_thread_of_asyncios", "one_after_the_other", "of_a_task"])
async def test_what_is_certain_to_be_told_apart_is_recorded_and_repeated(desk: Desk, handler: str) -> None:
    first = await desk.finish("step", handler)
    done = list(drawn)
    again = await desk.finish("step", handler, ops=desk.records)
    assert isinstance(first, StepDone), first
    assert isinstance(again, StepDone), again
    assert (first.value, drawn) == (again.value, done)


async def test_threads_of_a_task_are_of_the_task(desk: Desk) -> None:
    done: Any = await desk.finish("step", "of_a_task")
    assert done.value == b'[2,"draw_some","draw_some"]'
    assert [record.key.split(":")[1].rpartition(".")[2] for record in desk.records] == ["draw_some"]


async def test_the_store_can_be_read_in_threads(desk: Desk) -> None:
    done: Any = await desk.finish("step", "reads", store={"b": 2})
    assert isinstance(done, StepDone), done
    assert done.value == b"[1,2]"


async def test_an_executors_thread_is_nobodys_after_a_handlers_call(desk: Desk) -> None:
    await desk.finish("start", "plain", {"number": REFUSED.index(in_a_shared_pool)})
    assert list(shared.map(draw, range(2))) == drawn  # type: ignore[arg-type]


def test_a_thread_of_nobodys_is_as_ever() -> None:
    ran: list[str] = []
    thread = threading.Thread(target=ran.append, args=["ran"])
    thread.start()
    thread.join()
    assert (ran, "run" in vars(thread)) == (["ran"], False)


async def test_a_thread_does_not_hold_itself(desk: Desk) -> None:
    made: list[weakref.ref[threading.Thread]] = []

    def begins(ctx: Any) -> Any:
        thread = threading.Thread(target=len, args=["x"])
        made.append(weakref.ref(thread))
        thread.start()
        thread.join()

    REFUSED.append(begins)
    gc.disable()
    try:
        await desk.finish("start", "plain", {"number": len(REFUSED) - 1})
        assert made[0]() is None
    finally:
        gc.enable()
        REFUSED.pop()
