"""Children that answer, and sleeps: what a step waits for, and what a crash or a cancellation makes of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from support.handlers import Desk
from support.waiting import until
from wfctl import ChildOutcome, Context, Directive, RunFailedError, Workflow
from wfctl.errors import RunNotFoundError
from wfctl.protocol.channel import CancelStep, Op, OpDone, StepDone, StepRaised, StepStuck
from wfd.worker import live

wf = Workflow("Order")
kid_wf = Workflow("Kid")
trace: list[Any] = []


class Receipt(msgspec.Struct):
    amount: Decimal


@kid_wf.start()
async def kid(ctx: Context, how: str = "") -> Directive:
    return ctx.next.complete()


@wf.start()
async def waits_for_its_child(ctx: Context, typed: bool = False) -> Directive:
    handle = await ctx.start("Kid", "kid-1")
    result: Any = await handle.result(Receipt) if typed else await handle.result()
    again = await handle.result()
    return ctx.next.complete([repr(result), again])


@wf.step()
async def ends_one_child_after_the_other(ctx: Context) -> Directive:
    one = await ctx.start("Kid", "kid-1")
    await one.cancel("late")
    heard = [await one.result()]
    other = await ctx.start("Kid", "kid-2")
    await other.terminate()
    heard.append(await other.result())
    await ctx.now()
    return ctx.next.complete(heard)


@wf.step()
async def runs_a_child(ctx: Context) -> Directive:
    try:
        receipt = await ctx.run_child("Kid", "kid-1", {"how": "x"}, result_type=Receipt)
    except RunFailedError as error:
        return ctx.next.complete(str(error))
    return ctx.next.complete(repr(receipt))


@wf.step()
def runs_a_child_in_a_thread(ctx: Any) -> Directive:
    first = ctx.run_child("Kid", "kid-1", result_type=Receipt)
    ctx.sleep(timedelta(seconds=1))
    return ctx.next.complete([repr(first), repr(ctx.start("Kid", "kid-2").result())])


@wf.step()
async def takes_the_first(ctx: Context) -> Directive:
    handles = [await ctx.start("Kid", f"kid-{number}") for number in (1, 2)]
    waits = [asyncio.ensure_future(handle.result()) for handle in handles]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    return ctx.next.complete([wait.done() for wait in waits])


@wf.step()
async def looks_again_and_again(ctx: Context) -> Directive:
    handle = await ctx.start("Kid", "kid-1")
    for _ in range(50):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(handle.result(), 0.0001)
    trace.append("looked")
    return ctx.next.complete([await handle.result(), await handle.result()])


@wf.step()
async def asks_in_an_except_block(ctx: Context) -> Directive:
    try:
        raise KeyError("first")
    except KeyError:
        await asks(ctx, await ctx.store.get("what"))
    return ctx.next.complete()


async def asks(ctx: Context, what: str) -> None:
    if what == "event":
        await ctx.send("nobody", "x")
    else:
        handle = await ctx.start("Kid", "kid-1")
        await handle.result()


@wf.step()
async def hears(ctx: Context, outcome: ChildOutcome[Receipt]) -> Directive:
    return ctx.next.complete([outcome.ok, repr(outcome.result), str(outcome.error), outcome.status])


@wf.step()
async def sleeps(ctx: Context) -> Directive:
    try:
        await ctx.sleep(timedelta(hours=1))
    except asyncio.CancelledError:
        trace.append("woken")
        await ctx.send("other", "undo")
        raise
    return ctx.next.complete(str(await ctx.random() < 1))


@wf.step()
def sleeps_in_a_thread(ctx: Any) -> Directive:
    try:
        ctx.sleep(timedelta(hours=1))
    except asyncio.CancelledError:
        trace.append("woken")
        raise
    return ctx.next.complete()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    trace.clear()
    desk = Desk(wf, kid_wf)
    yield desk
    desk.executor.close()


def closed(status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"run_id": "RUN-kid-1", "workflow_id": "kid-1", "workflow_type": "Kid", "status": status, **more}


async def ended(desk: Desk, outcome: Any, *given: Any, **options: Any) -> Any:
    """Run a step to its end; children close with `outcome`."""
    desk.begin(*given, **options)
    while True:
        message = await desk.next((Op, StepDone, StepRaised, StepStuck))
        if not isinstance(message, Op):
            return message
        desk.reply(message, outcome if message.kind == "child_result" else desk.value(message))


async def test_a_handle_waits_for_the_result_which_is_recorded_each_time_it_is_asked_for(desk: Desk) -> None:
    done = await ended(desk, closed(result={"amount": "1.50"}), "start", "waits_for_its_child", {"typed": True})
    assert msgspec.json.decode(done.value) == ["Receipt(amount=Decimal('1.50'))", {"amount": "1.50"}]
    asked = [op for op in desk.ops() if op.kind == "child_result"]
    assert [(op.name, op.args) for op in asked] == [("kid-1", b'{"run_id":"RUN-kid-1"}')] * 2
    assert [record.key.partition(":")[0] for record in desk.records] == ["child", "child_result", "child_result"]
    desk.sent.clear()
    again = await ended(desk, closed("failed"), "start", "waits_for_its_child", ops=desk.records)
    assert msgspec.json.decode(again.value)[0] == "{'amount': '1.50'}"
    assert desk.ops() == []


async def test_what_an_older_version_recorded_of_a_step_is_replayed_and_the_rest_asked_for_as_then(desk: Desk) -> None:
    done = await ended(desk, closed(result=1), "step", "ends_one_child_after_the_other")
    assert [record.key.partition(":")[0] for record in desk.records] == [
        "child", "child_cancel", "child_result", "child", "child_terminate", "child_result", "now"
    ]  # fmt: skip
    older = [
        msgspec.structs.replace(record, value=record.value.replace(b',"records_ends":true', b""), place=place)
        for place, record in enumerate(desk.records)
        if not record.key.startswith("child_")
    ]
    for records in (older, older[:2], older[:1]):
        desk.sent.clear()
        desk.records = list(records)
        again = await ended(desk, closed(result=1), "step", "ends_one_child_after_the_other", ops=records)
        assert again.value == done.value
        first = next(op for op in desk.ops() if op.kind == "child_cancel")
        assert msgspec.json.decode(first.args) == {"run_id": "RUN-kid-1", "reason": "late", "recorded": False}
    # How a child ended may then be recorded after what had followed it.
    moved = sorted(desk.records, key=lambda record: record.key.startswith("child_result"))
    desk.sent.clear()
    again = await ended(desk, closed(result=2), "step", "ends_one_child_after_the_other", ops=moved)
    assert again.value == done.value
    assert [op.kind for op in desk.ops()] == ["child_cancel"]


async def test_run_child_starts_and_waits(desk: Desk) -> None:
    done = await ended(desk, closed(result={"amount": "2"}), "step", "runs_a_child")
    assert done.value == b"\"Receipt(amount=Decimal('2'))\""
    assert [op.kind for op in desk.ops()] == ["child", "child_result"]
    failed = closed("failed", error={"type": "ValueError", "message": "no luck"})
    done = await ended(desk, failed, "step", "runs_a_child")
    assert done.value == b'"Kid kid-1 failed: ValueError: no luck"'


async def test_in_a_plain_handler_children_and_sleeps_block(desk: Desk) -> None:
    done = await ended(desk, closed(result={"amount": "2"}), "step", "runs_a_child_in_a_thread")
    assert msgspec.json.decode(done.value) == ["Receipt(amount=Decimal('2'))", "{'amount': '2'}"]
    assert [op.kind for op in desk.ops()] == ["child", "child_result", "sleep", "child", "child_result"]


async def test_a_handler_may_return_while_it_waits_for_the_result_of_another_child(desk: Desk) -> None:
    desk.begin("step", "takes_the_first")
    for _ in range(2):
        started = await desk.next(Op)
        desk.reply(started, desk.value(started))
    first, _ = await desk.next(Op), await desk.next(Op)
    desk.reply(first, closed())
    done = await desk.next((StepDone, StepRaised))
    assert done.value == b"[true,false]"
    assert "returned without awaiting handle.result() of 'kid-2' [44136fa355b3678a]: write `await`" in desk.lines[0]


async def test_a_result_that_is_given_up_and_asked_for_again_is_asked_for_once(desk: Desk) -> None:
    desk.begin("step", "looks_again_and_again")
    started = await desk.next(Op)
    desk.reply(started, desk.value(started))
    first = await desk.next(Op)
    await until(lambda: trace == ["looked"])
    assert [op.kind for op in desk.ops()] == ["child", "child_result"]
    desk.reply(first, closed(result=1))
    # Answered once, the next is a question of its own.
    second = await desk.next(Op)
    desk.reply(second, closed(result=2))
    assert (await desk.next(StepDone)).value == b"[1,2]"


async def test_a_cancellation_reaches_a_handler_that_waits_again_for_what_it_gave_up(desk: Desk) -> None:
    token = desk.begin("step", "looks_again_and_again")
    started = await desk.next(Op)
    desk.reply(started, desk.value(started))
    await until(lambda: trace == ["looked"])
    desk.executor.receive(CancelStep(token))
    assert (await desk.next((StepRaised, StepDone))).cancelled


async def test_a_step_is_answered_whatever_goes_wrong_where_it_is_closed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(key: str) -> str:
        raise ValueError(key)

    monkeypatch.setattr(live, "in_words", fails)
    desk.begin("step", "takes_the_first")
    for _ in range(2):
        started = await desk.next(Op)
        desk.reply(started, desk.value(started))
    desk.reply(await desk.next(Op), closed())
    assert (await desk.next(StepRaised)).failure.type == "ValueError"
    assert desk.executor.idle


@pytest.mark.parametrize("what", ["event", "child", "result"])
async def test_what_is_refused_fails_at_the_line_that_asked_also_in_an_except_block(desk: Desk, what: str) -> None:
    desk.begin("step", "asks_in_an_except_block", store={"what": what})
    op = await desk.next(Op)
    if what == "result":
        desk.reply(op, desk.value(op))
        op = await desk.next(Op)
    desk.executor.receive(OpDone(op.token, op.op, error=RunNotFoundError("no run").to_data()))
    raised = await desk.next(StepRaised)
    assert raised.failure.type == "RunNotFoundError"
    assert raised.failure.frame.endswith(" in asks")


async def test_a_wait_for_a_child_does_not_hold_up_a_cancellation(desk: Desk) -> None:
    token = desk.begin("start", "waits_for_its_child")
    started = await desk.next(Op)
    desk.reply(started, desk.value(started))
    await desk.next(Op)
    desk.executor.receive(CancelStep(token))
    assert (await desk.next(StepRaised)).cancelled


async def test_a_step_gets_the_outcome_of_a_child_with_its_result_converted(desk: Desk) -> None:
    done = await desk.finish("step", "hears", {"outcome": closed(result={"amount": "1.50"})})
    assert msgspec.json.decode(done.value) == [True, "Receipt(amount=Decimal('1.50'))", "None", "completed"]
    failed = closed("failed", error={"type": "ValueError", "message": "no luck"})
    done = await desk.finish("step", "hears", {"outcome": failed})
    assert msgspec.json.decode(done.value) == [False, "None", "ValueError: no luck", "failed"]
    stuck = await desk.finish("step", "hears", {"outcome": closed(result={"amount": []})})
    assert isinstance(stuck, StepStuck)
    assert "step 'hears' of workflow 'Order' was given does not fit" in stuck.reason


async def test_a_sleep_is_recorded_with_its_length_and_goes_on_after_a_crash(desk: Desk) -> None:
    await desk.finish("step", "sleeps", crash_after=1)
    assert [(op.kind, op.args) for op in desk.ops()] == [("sleep", b'{"duration_ms":3600000}')]
    assert desk.records[0].open
    desk.sent.clear()
    desk.begin("step", "sleeps", ops=desk.records)
    resume = await desk.next(Op)
    while resume.kind != "resume":
        resume = await desk.next(Op)
    for _ in range(10):
        await asyncio.sleep(0)
    assert [op.kind for op in desk.ops()] == ["resume"]
    desk.reply(resume)
    random = await desk.next(Op)
    desk.reply(random, 0.5)
    assert isinstance(await desk.next(StepDone), StepDone)


@pytest.mark.parametrize("handler", ["sleeps", "sleeps_in_a_thread"])
async def test_a_cancellation_ends_a_sleep_at_once_and_at_the_same_place_on_replay(desk: Desk, handler: str) -> None:
    token = desk.begin("step", handler)
    sleep = await desk.next(Op)
    desk.commit(sleep)
    desk.executor.receive(CancelStep(token))
    if handler == "sleeps":
        desk.reply(await desk.next(Op), {"outcome": "queued"})
    assert (await desk.next(StepRaised)).cancelled
    assert trace == ["woken"]
    desk.sent.clear()
    again = await desk.finish("step", handler, ops=desk.records, cancel=True)
    assert again.cancelled
    assert trace == ["woken", "woken"]
    assert desk.ops() == []
