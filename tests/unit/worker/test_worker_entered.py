"""Whose the running code is: each operation and each task is that of the step and the branch that called it."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest

from support.handlers import Desk, encode
from wfctl import Context, Directive, Workflow, task
from wfctl.errors import StaleStepError
from wfctl.protocol.channel import Answered, CancelStep, Op, OpDone, Query, StepDone, StepRaised
from wfctl.sdk import attempts
from wfctl.sdk.current import CurrentStep
from wfctl.sdk.threads import Threads
from wfctl.values.codec import canonical_label
from wfctl.values.opkeys import CLEANUP_MARK, branch_of
from wfctl.values.runinfo import RunInfo
from wfd.worker.branches import label

HOUR = timedelta(hours=1)
wf = Workflow("Order")
numbers = itertools.count()


@task
async def draw() -> int:
    """A result that nothing but the record can repeat."""
    return next(numbers)


@task
def draw_in_a_thread() -> int:
    return next(numbers)


async def asks() -> int:
    return await draw()


async def asks_below() -> int:
    return await asyncio.create_task(asks())


async def by_a_callback() -> int:
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.Task[int]] = loop.create_future()
    loop.call_soon(lambda: made.set_result(loop.create_task(asks())))
    return await (await made)


async def by_a_callback_below() -> int:
    return await asyncio.create_task(by_a_callback())


async def by_a_callback_of_what_has_ended() -> int:
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.Task[int]] = loop.create_future()
    waits = asyncio.create_task(asyncio.sleep(0))
    waits.add_done_callback(lambda _: made.set_result(loop.create_task(asks())))
    return await (await made)


async def in_a_copy_of_the_context() -> int:
    return await asyncio.create_task(asks(), context=contextvars.copy_context())


async def in_a_copy_of_a_branchs_context() -> int:
    kept: list[contextvars.Context] = []

    async def keeps() -> None:
        kept.append(contextvars.copy_context())

    await asyncio.create_task(keeps())
    return await asyncio.create_task(asks(), context=kept[0])


async def in_a_context_of_nobodys() -> int:
    return await asyncio.create_task(asks(), context=contextvars.Context())


async def in_a_thread() -> Any:
    return await asyncio.to_thread(lambda: draw())


async def in_a_thread_below() -> Any:
    return await asyncio.create_task(in_a_thread())


async def in_a_thread_of_a_thread() -> Any:
    return await asyncio.to_thread(lambda: asyncio.run(in_a_thread()))


async def in_a_threads_own_loop() -> int:
    return await asyncio.to_thread(lambda: asyncio.run(asks()))


async def plainly_below() -> int:
    return await asyncio.create_task(plainly())


async def plainly() -> int:
    return await draw_in_a_thread()


def of_a_task(name: str) -> str:
    """What labels the call of a task that itself is a branch."""
    call = canonical_label({"arguments": b"{}", "content": b"{}"})
    digest = hashlib.sha256(b'call=%b;place="";' % call).hexdigest()[:8]
    return f"task {name}({digest})"


# The branch that the call is of; None where it is no step's at all.
_WHERE: dict[Callable[[], Awaitable[int]], list[str] | None] = {
    asks: [],
    asks_below: ["asks#0"],
    by_a_callback: ["asks#0"],
    by_a_callback_below: ["by_a_callback#0", "asks#0"],
    by_a_callback_of_what_has_ended: ["asks#0"],
    in_a_copy_of_the_context: ["asks#0"],
    in_a_copy_of_a_branchs_context: [f"{in_a_copy_of_a_branchs_context.__qualname__}.<locals>.keeps#0", "asks#0"],
    in_a_context_of_nobodys: None,
    in_a_thread: [f"{of_a_task('draw')}#0"],
    in_a_thread_below: ["in_a_thread#0", f"{of_a_task('draw')}#0"],
    in_a_thread_of_a_thread: [f"{of_a_task('draw')}#0"],
    in_a_threads_own_loop: [f"{of_a_task('draw')}#0"],
    plainly: [],
    plainly_below: ["plainly#0"],
}
WHERE = {where.__name__: (where, branch) for where, branch in _WHERE.items()}


def mark(names: list[str]) -> str:
    """What a key says of the branch with these names, from the handler's own task down."""
    found, path = "", ""
    for name in names:
        path += f"/{name}"
        found = hashlib.sha256(path.encode()).hexdigest()[:8] + found[:4] + found[8:]
    return found


@wf.event()
async def asks_somewhere(ctx: Context, way: str) -> Directive:
    return ctx.next.complete(await WHERE[way][0]())


@wf.event()
async def forgets_one(ctx: Context, number: int) -> Directive:
    await asyncio.gather(asks(), asks())
    if number:
        draw()  # type: ignore[unused-coroutine]
    return ctx.next.complete()


@wf.step()
async def in_two_branches(ctx: Context) -> Directive:
    async def branch() -> list[str]:
        drawn = [await draw(), await draw_in_a_thread()]
        return [str(one) for one in [*drawn, await ctx.uuid4(), await ctx.now()]]

    return ctx.next.complete(await asyncio.gather(branch(), branch()))


@wf.step()
async def asks_while_it_is_cancelled(ctx: Context) -> Directive:
    async def twice() -> None:
        await ctx.send("other", "alike")
        await ctx.send("other", "alike")

    try:
        await asyncio.gather(ctx.random(), twice(), ctx.uuid4(), ctx.sleep(HOUR))
    finally:
        await ctx.send("other", "alike")
    raise AssertionError


late: list[Any] = []


@wf.event()
async def leaves_one_behind(ctx: Context, what: str) -> Directive:
    returned = asyncio.Event()

    async def asks_late() -> None:
        await returned.wait()
        uses: dict[str, Callable[[], Coroutine[Any, Any, Any]]] = {
            "operation": ctx.now,
            "task": draw,
            "plain task": draw_in_a_thread,
            "branch": lambda: asyncio.wait_for(draw(), None),
        }
        try:
            late.append(await uses[what]())
        except BaseException as error:
            late.append(error)

    late[:] = [returned, asyncio.create_task(asks_late())]
    return ctx.next.complete()


asked_beside: list[Callable[[], None]] = []


@wf.step()
async def hears_of_a_query_in_a_branch(ctx: Context) -> Directive:
    async def branch() -> int:
        asked_beside[0]()
        return await asks_below()

    return ctx.next.complete(await asyncio.gather(branch(), branch()))


@wf.query()
async def in_branches_of_its_own(ctx: Any) -> list[Any]:
    return await asyncio.gather(ctx.store.get("key"), asyncio.sleep(0, "slept"))


@wf.query()
async def tries_a_task_in_a_branch(ctx: Any) -> Any:
    return await asyncio.gather(draw())


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(wf)
    yield desk
    desk.executor.close()


@pytest.mark.parametrize("way", WHERE)
async def test_a_task_is_recorded_under_the_branch_that_calls_it_and_found_there(desk: Desk, way: str) -> None:
    first = await desk.finish("event", "asks_somewhere", {"way": way})
    assert isinstance(first, StepDone), first
    names = WHERE[way][1]
    # By a version that is released, or what it recorded would not be found.
    assert [branch_of(record.key) for record in desk.records] == ([] if names is None else [mark(names)])
    told = len(desk.ops())
    again = await desk.finish("event", "asks_somewhere", {"way": way}, ops=desk.records)
    assert len(desk.ops()) == told
    assert names is None or again.value == first.value


async def test_steps_that_run_side_by_side_have_branches_and_unawaited_calls_of_their_own(desk: Desk) -> None:
    tokens = [desk.begin("event", "forgets_one", {"number": number}) for number in range(2)]
    ended: dict[int, Any] = {}
    while len(ended) < 2:
        message = await desk.next((Op, StepDone, StepRaised))
        if isinstance(message, Op):
            desk.reply(message)
        else:
            ended[message.token] = message
    keys = [{op.key for op in desk.ops() if op.token == token} for token in tokens]
    assert keys[0] == keys[1]
    assert [branch_of(key) for key in sorted(keys[0])] == sorted(map(mark, (["asks#0"], ["asks#1"])))
    assert isinstance(ended[tokens[0]], StepDone)
    assert isinstance(ended[tokens[1]], StepRaised)
    assert desk.lines == ["event 'forgets_one' of workflow 'Order' returned without awaiting task draw: write `await`"]


@pytest.mark.parametrize("cut", range(1, 13))
async def test_a_crash_anywhere_between_two_branches_gives_each_its_own_back(desk: Desk, cut: int) -> None:
    given = ("step", "in_two_branches")
    ended = await desk.finish(*given, crash_after=cut)
    while ended is None:
        ended = await desk.finish(*given, ops=desk.records)
    told = len(desk.ops())
    again = await desk.finish(*given, ops=desk.records)
    assert (again.value, len(desk.ops())) == (ended.value, told)


async def test_a_call_on_the_way_to_a_cancellation_is_another_than_those_alike_before_and_after_it(desk: Desk) -> None:
    """What was counted before anything was recorded goes on to count when a cancellation has the records looked at."""
    token = desk.begin("step", "asks_while_it_is_cancelled")
    ops = {op.kind: op for op in [await desk.next(Op) for _ in range(4)]}
    answers = [OpDone(token, ops[kind].op, encode(desk.value(ops[kind]))) for kind in ("random", "event", "uuid")]
    # One is given out at a time, and the cancellation after the last of them: the branch asks again before that.
    desk.executor.receive(*answers, CancelStep(token))
    second = await desk.next(Op)
    desk.reply(second, {})
    after = await desk.next(Op)
    first = ops["event"].key
    assert (first[-2:], second.key, after.key) == (":0", f"{first[:-1]}1", f"{CLEANUP_MARK}{first}")
    desk.reply(after, {})
    ended = await desk.next(StepRaised)
    assert ended.cancelled


@pytest.mark.parametrize("what", ["operation", "task", "plain task", "branch"])
async def test_what_a_handler_has_left_behind_can_do_no_more(desk: Desk, what: str) -> None:
    done = await desk.finish("event", "leaves_one_behind", {"what": what})
    assert isinstance(done, StepDone)
    drawn = next(numbers)
    returned, left = late
    returned.set()
    await left
    assert isinstance(late[-1], StaleStepError)
    assert next(numbers) == drawn + 1
    assert desk.ops() == []


async def test_the_branches_of_a_query_are_none_of_a_step_that_runs_beside_it(desk: Desk) -> None:
    run = RunInfo("RUN-1", "one", "Order", None, "RUN-1")
    query = Query(1, run, "in_branches_of_its_own", b"{}", {"key": b"1"})
    loop, context = asyncio.get_running_loop(), contextvars.copy_context()
    # As it is heard: not in the context of whoever runs.
    asked_beside[:] = [lambda: loop.call_soon(desk.executor.receive, query, context=context)]  # type: ignore[list-item]
    done = await desk.finish("step", "hears_of_a_query_in_a_branch")
    assert isinstance(done, StepDone), done
    answers = [message.value for message in desk.sent if isinstance(message, Answered)]
    assert answers == [b'[1,"slept"]'] * 2
    branch = f"{hears_of_a_query_in_a_branch.__qualname__}.<locals>.branch"
    assert {branch_of(record.key) for record in desk.records} == {
        mark([f"{branch}#{number}", "asks_below#0", "asks#0"][::2]) for number in range(2)
    }


async def test_a_task_in_a_branch_of_a_query_is_refused(desk: Desk) -> None:
    run = RunInfo("RUN-1", "one", "Order", None, "RUN-1")
    desk.executor.receive(Query(1, run, "tries_a_task_in_a_branch", b"{}", {}))
    answered = await desk.next(Answered)
    assert "task 'draw'" in answered.error.message


def test_the_label_of_a_call_of_a_task_says_nothing_of_the_step_that_called_it() -> None:
    class Unknown:
        """No host at all."""

    def made(step: Any, *, changing: bool) -> str:
        work = attempts.run(step, None, "call", None, "")  # type: ignore[arg-type]
        found = label(work, changing=changing)
        work.close()
        return found

    loop = asyncio.new_event_loop()
    step = CurrentStep(Unknown(), loop, Threads(), [])  # type: ignore[arg-type]
    loop.close()
    for changing in (False, True):
        assert made(step, changing=changing) == made(Unknown(), changing=changing)
