"""Cancellation and abandonment: the handler may clean up, and the step ends exactly once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from support.handlers import Desk
from wfctl import Context, Directive, Workflow, task
from wfctl.errors import StaleStepError
from wfctl.protocol.channel import AbandonStep, CancelStep, Op, StepDone, StepGone, StepRaised, StepStuck

wf = Workflow("Order")
trace: list[str] = []
gate = threading.Event()
given_up = asyncio.Event()


@wf.start()
async def cleans_up(ctx: Context) -> Directive:
    await ctx.send("other", "begin")
    try:
        trace.append("working")
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        trace.append("cleaning")
        await ctx.send("other", "undo")
        return ctx.next.complete("undone")
    raise AssertionError


@wf.step()
async def waits_first(ctx: Context) -> Directive:
    try:
        trace.append("entered")
        await asyncio.Event().wait()
    finally:
        trace.append("left")
    raise AssertionError


@wf.step()
async def gives_up_an_operation(ctx: Context) -> Directive:
    asked = asyncio.ensure_future(ctx.send("other", "begin"))
    await asyncio.sleep(0)
    asked.cancel()
    return await waits_first(ctx)


@wf.step()
async def gives_up_when_cancelled_already(ctx: Context) -> Directive:
    asked = asyncio.ensure_future(ctx.send("other", "begin"))
    await given_up.wait()
    asked.cancel()
    return await waits_first(ctx)


@wf.step()
async def never_stops_asking(ctx: Context) -> Directive:
    while True:
        await ctx.send("other", "again")


@wf.step()
async def in_groups(ctx: Context) -> Directive:
    async def forever() -> None:
        while True:
            await ctx.send("other", "again")

    async with asyncio.TaskGroup() as group:
        group.create_task(forever())
        group.create_task(forever())
    raise AssertionError


@task
async def charge(card: str) -> None:
    trace.append(f"charge {card}")
    await asyncio.Event().wait()


async def after_another(ctx: Context) -> None:
    await ctx.now()
    await charge("C")


async def in_a_gather(ctx: Context) -> None:
    await asyncio.gather(charge("A"), ctx.sleep(timedelta(hours=1)), after_another(ctx), charge("B"))


async def in_a_group(ctx: Context) -> None:
    async with asyncio.TaskGroup() as group:
        for work in (charge("A"), ctx.sleep(timedelta(hours=1)), after_another(ctx), charge("B")):
            group.create_task(work)


@task
def charge_in_a_thread() -> None:
    trace.append("charging")
    gate.wait(10)
    trace.append("charged")


@task(timeout=timedelta(milliseconds=1))
def charge_for_too_long() -> None:
    charge_in_a_thread.__wrapped__()  # type: ignore[attr-defined]


async def in_line(works: list[Any]) -> None:
    for work in works:
        await work


async def in_a_task_group(works: list[Any]) -> None:
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


@wf.event()
async def pays_in_a_thread(ctx: Context, way: str) -> Directive:
    try:
        if way == "limited by itself":
            async with asyncio.timeout(0):
                await charge_in_a_thread()
        elif way == "group":
            await in_a_task_group([charge_in_a_thread()])
        else:
            await in_line([charge_in_a_thread()])
    except (asyncio.CancelledError, TimeoutError) as error:
        trace.append(f"refunding after {type(error).__name__}")
        await ctx.send("other", "refund")
    return ctx.next.complete()


@wf.event()
def pays_in_a_thread_of_its_own(ctx: Any, way: str) -> Directive:
    try:
        charge_in_a_thread()  # type: ignore[unused-coroutine]
    except asyncio.CancelledError as error:
        trace.append(f"refunding after {type(error).__name__}")
        ctx.send("other", "refund")
    return ctx.next.complete()  # type: ignore[no-any-return]


@wf.step()
async def shields_a_slow_one(ctx: Context) -> Directive:
    shielded = asyncio.ensure_future(charge_for_too_long())
    try:
        await asyncio.shield(shielded)
    except asyncio.CancelledError:
        given_up.set()
    try:
        await shielded
    except TimeoutError:
        trace.append("too long")
    return ctx.next.complete()


@wf.event()
async def pays_at_once(ctx: Context, grouped: bool) -> Directive:
    try:
        await (in_a_group if grouped else in_a_gather)(ctx)
    except asyncio.CancelledError:
        for card in "ABC":
            await ctx.send("other", "refund", card)
    return ctx.next.complete()


@wf.step()
async def cannot_be_stopped(ctx: Context) -> Directive:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        try:
            await ctx.send("other", "undo")
        except StaleStepError as error:
            trace.append(error.message)
    return ctx.next.complete()


@wf.step()
async def never_awaits(ctx: Context) -> Directive:
    return ctx.next.complete("done")


@wf.step()
async def raises_while_cleaning(ctx: Context) -> Directive:
    try:
        await asyncio.Event().wait()
    finally:
        raise ValueError("the undo failed")


@wf.step()
def in_a_thread(ctx: Any) -> Directive:
    try:
        while True:
            ctx.send("other", "again")
    except asyncio.CancelledError:
        trace.append("thread cancelled")
        raise


@wf.step()
def blocks_in_a_thread(ctx: Any) -> Directive:
    trace.append("blocking")
    gate.wait(10)
    trace.append("unblocked")
    return ctx.next.complete()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    trace.clear()
    gate.clear()
    desk = Desk(wf)
    yield desk
    gate.set()
    for thread in threading.enumerate():
        if thread.name.startswith("wfctl-task"):
            thread.join(10)
    desk.executor.close()


async def turns(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_cancelled_handler_cleans_up_with_operations_and_returns(desk: Desk) -> None:
    token = desk.begin("start", "cleans_up")
    desk.reply(await desk.next(Op))
    await turns()
    desk.executor.receive(CancelStep(token))
    undo = await desk.next(Op)
    assert (undo.name, undo.key[0]) == ("undo", "~")
    desk.reply(undo)
    done = await desk.next()
    assert isinstance(done, StepDone)
    assert done.value == b'"undone"'
    assert trace == ["working", "cleaning"]


async def test_a_handler_that_lets_its_cancellation_pass_is_cancelled(desk: Desk) -> None:
    token = desk.begin("step", "waits_first")
    desk.executor.receive(CancelStep(token))  # even before its first step
    raised = await desk.next()
    assert isinstance(raised, StepRaised)
    assert raised.cancelled
    assert trace == ["entered", "left"]


async def test_a_handler_that_fails_while_cleaning_up_has_failed(desk: Desk) -> None:
    token = desk.begin("step", "raises_while_cleaning")
    await turns()
    desk.executor.receive(CancelStep(token))
    raised = await desk.next(StepRaised)
    assert (raised.cancelled, raised.failure.message) == (False, "the undo failed")


async def test_a_second_cancellation_changes_nothing(desk: Desk) -> None:
    token = desk.begin("start", "cleans_up")
    desk.reply(await desk.next(Op))
    await turns()
    desk.executor.receive(CancelStep(token))
    undo = await desk.next(Op)
    desk.executor.receive(CancelStep(token))
    await turns()
    desk.reply(undo)
    assert isinstance(await desk.next(), StepDone)


async def test_an_operation_that_its_caller_has_given_up_holds_up_no_cancellation(desk: Desk) -> None:
    token = desk.begin("step", "gives_up_an_operation")
    asked = await desk.next(Op)
    await turns()
    desk.executor.receive(CancelStep(token))
    ended = await desk.next(StepRaised)
    assert (ended.cancelled, trace) == (True, ["entered", "left"])
    desk.reply(asked)  # nobody is there for it any more
    await turns()
    assert len(desk.sent) == 2


async def test_a_cancellation_that_waited_for_an_operation_comes_also_where_that_is_given_up(desk: Desk) -> None:
    token = desk.begin("step", "gives_up_when_cancelled_already")
    asked = await desk.next(Op)
    desk.executor.receive(CancelStep(token))
    await turns()
    given_up.set()
    await turns()
    assert trace == ["entered"], "the operation is on its way still"
    desk.reply(asked)
    assert (await desk.next(StepRaised)).cancelled
    assert trace == ["entered", "left"]


async def test_an_operation_on_its_way_returns_before_the_cancellation(desk: Desk) -> None:
    token = desk.begin("start", "cleans_up")
    begin = await desk.next(Op)
    desk.executor.receive(CancelStep(token))
    await turns()
    assert trace == [], "the operation is not interrupted, for it may be committed already"
    desk.reply(begin)
    assert (await desk.next(Op)).name == "undo"
    assert trace == ["working", "cleaning"]


@pytest.mark.parametrize("handler", ["never_stops_asking", "in_groups"])
async def test_a_handler_that_always_asks_for_more_is_cancelled_at_its_next_operation(desk: Desk, handler: str) -> None:
    token = desk.begin("step", handler)
    first = await desk.next(Op)
    desk.executor.receive(CancelStep(token))
    await turns()
    for op in [first, *desk.ops()[1:]]:
        desk.reply(op)
    raised = await desk.next(StepRaised)
    assert raised.cancelled


async def test_a_handler_that_never_awaits_is_done(desk: Desk) -> None:
    desk.begin("step", "never_awaits", cancel=True)
    assert isinstance(await desk.next(), StepDone)


async def test_a_step_requested_as_cancelled_is_cancelled_at_its_first_await_inside_its_try(desk: Desk) -> None:
    desk.begin("step", "waits_first", cancel=True)
    assert (await desk.next(StepRaised)).cancelled
    assert trace == ["entered", "left"]
    desk.begin("step", "never_stops_asking", cancel=True)
    assert (await desk.next(StepRaised)).cancelled
    assert desk.ops() == [], "no new operation happens on behalf of a cancelled step"


@pytest.mark.parametrize("cut", [1, 2])
async def test_a_cancelled_step_that_was_cut_replays_up_to_its_cancellation_and_beyond(desk: Desk, cut: int) -> None:
    token = desk.begin("start", "cleans_up")
    desk.reply(await desk.next(Op))
    await turns()
    desk.executor.receive(CancelStep(token))
    desk.reply(await desk.next(Op))
    await desk.next(StepDone)
    desk.sent.clear()
    again = await desk.finish("start", "cleans_up", ops=desk.records[:cut], cancel=True)
    assert isinstance(again, StepDone)
    assert again.value == b'"undone"'
    assert [op.name for op in desk.ops()] == ["undo"][: 2 - cut]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("refunds", [0, 1, 3])
async def test_what_was_open_when_the_cancellation_was_told_does_not_begin_again_before_it_is_told(
    desk: Desk, grouped: bool, refunds: int
) -> None:
    token = desk.begin("event", "pays_at_once", {"grouped": grouped})
    while len(desk.records) < 5 + refunds:
        op = await desk.next(Op)
        if op.kind in ("now", "event"):
            desk.reply(op, 1)
        elif op.kind in ("task", "sleep"):
            desk.commit(op)
        if len(desk.records) == 5:
            desk.executor.receive(CancelStep(token))
    desk.executor.cancel_all()
    assert sorted(trace) == ["charge A", "charge B", "charge C"]
    trace.clear()
    desk.sent.clear()
    assert isinstance(
        await desk.finish("event", "pays_at_once", {"grouped": grouped}, cancel=True, ops=desk.records), StepDone
    )
    assert trace == []
    assert [op.name for op in desk.ops() if op.kind == "event"] == ["refund"] * (3 - refunds)


async def test_without_the_request_clean_up_records_are_a_disagreement(desk: Desk) -> None:
    token = desk.begin("step", "never_stops_asking")
    op = await desk.next(Op)
    record = desk.reply(op)
    desk.executor.receive(CancelStep(token))
    await desk.next(StepRaised)
    marked = type(record)(f"~{record.key}", record.value)
    assert isinstance(await desk.finish("step", "never_stops_asking", ops=[marked]), StepStuck)


async def test_an_abandoned_handler_cleans_up_and_lets_nothing_out(desk: Desk) -> None:
    token = desk.begin("step", "cannot_be_stopped")
    await turns()
    desk.executor.receive(AbandonStep(token))
    assert await desk.next() == StepGone(token)
    assert desk.sent == [StepGone(token)]
    assert "was ended by the daemon" in trace[0]


async def test_an_abandoned_operation_ends_with_the_handler(desk: Desk) -> None:
    token = desk.begin("start", "cleans_up")
    op = await desk.next(Op)
    desk.executor.receive(AbandonStep(token))
    assert await desk.next() == StepGone(token)
    desk.reply(op)
    assert trace == []


async def test_a_step_abandoned_before_it_began_never_runs(desk: Desk) -> None:
    token = desk.begin("step", "waits_first")
    desk.executor.receive(AbandonStep(token))
    assert await desk.next() == StepGone(token)
    assert trace == []


async def test_abandoning_an_unknown_step_is_answered_for_its_answer_crossed(desk: Desk) -> None:
    desk.executor.receive(AbandonStep(41))
    assert desk.sent == [StepGone(41)]


async def test_a_cancelled_thread_gets_it_at_its_next_operation(desk: Desk) -> None:
    token = desk.begin("step", "in_a_thread")
    op = await desk.next(Op)
    desk.executor.receive(CancelStep(token))
    desk.reply(op)
    assert (await desk.next(StepRaised)).cancelled
    assert trace == ["thread cancelled"]


async def test_an_abandoned_thread_gets_it_in_its_pending_operation(desk: Desk) -> None:
    token = desk.begin("step", "in_a_thread")
    await desk.next(Op)
    desk.executor.receive(AbandonStep(token))
    assert await desk.next() == StepGone(token)
    assert trace == ["thread cancelled"]


async def test_an_abandoned_thread_that_blocks_is_gone_only_when_it_has_ended(desk: Desk) -> None:
    token = desk.begin("step", "blocks_in_a_thread")
    while not trace:
        await asyncio.sleep(0)
    desk.executor.receive(AbandonStep(token))
    await turns(50)
    assert desk.sent == []
    gate.set()
    assert await desk.next() == StepGone(token)
    assert trace == ["blocking", "unblocked"]


async def test_a_plain_handler_waiting_for_a_thread_is_abandoned_at_once(desk: Desk) -> None:
    blocked = [desk.begin("step", "blocks_in_a_thread") for _ in range(64)]
    queued = desk.begin("step", "blocks_in_a_thread")
    while len(trace) < len(blocked):
        await asyncio.sleep(0)
    desk.executor.receive(AbandonStep(queued))
    assert await desk.next() == StepGone(queued)
    assert len(trace) == len(blocked)


ALL_WAYS = [("pays_in_a_thread", "line"), ("pays_in_a_thread", "group"), ("pays_in_a_thread_of_its_own", "")]


@pytest.mark.parametrize(("handler", "way"), ALL_WAYS)
async def test_what_undoes_a_plain_task_waits_until_that_has_returned(desk: Desk, handler: str, way: str) -> None:
    token = desk.begin("event", handler, {"way": way})
    begun = await desk.next(Op)
    while not trace:
        await asyncio.sleep(0)
    desk.executor.receive(CancelStep(token))
    await turns(50)
    assert trace == ["charging"]
    gate.set()
    left, undo = await desk.next(Op), await desk.next(Op)
    assert (left.kind, undo.name) == ("task_left", "refund")
    assert trace == ["charging", "charged", "refunding after CancelledError"]
    # What it returned is not recorded: a replay is cancelled at the same place.
    trace.clear()
    desk.executor.receive(AbandonStep(token))
    await desk.next(StepGone)
    assert isinstance(
        await desk.finish("event", handler, {"way": way}, ops=[desk.commit(begun)], cancel=True), StepDone
    )
    assert trace == ["refunding after CancelledError"]


@pytest.mark.parametrize(("handler", "way"), ALL_WAYS)
@pytest.mark.parametrize("between", [0, 50])
async def test_a_step_that_is_ended_waits_for_no_plain_task(desk: Desk, handler: str, way: str, between: int) -> None:
    token = desk.begin("event", handler, {"way": way})
    while not trace:
        await asyncio.sleep(0)
    desk.executor.receive(CancelStep(token))
    await turns(between)
    desk.executor.receive(AbandonStep(token))
    assert await desk.next(StepGone) == StepGone(token)
    assert "charged" not in trace


async def test_a_limit_of_the_handlers_own_does_not_wait_for_a_plain_task(desk: Desk) -> None:
    desk.begin("event", "pays_in_a_thread", {"way": "limited by itself"})
    while (await desk.next(Op)).name != "refund":
        pass
    assert trace[-1] == "refunding after TimeoutError"
    assert "charged" not in trace


async def test_a_plain_task_is_left_behind_when_its_time_is_over_also_while_a_cancelled_handler_waits(
    desk: Desk,
) -> None:
    given_up.clear()
    token = desk.begin("step", "shields_a_slow_one")
    desk.executor.receive(CancelStep(token))
    while not isinstance(message := await desk.next(), StepDone):
        if isinstance(message, Op) and message.kind != "task":
            desk.reply(message)
    assert given_up.is_set()
    assert trace == ["charging", "too long"]
