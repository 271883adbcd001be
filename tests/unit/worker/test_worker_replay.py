"""A step that was cut short runs again: what was recorded returns, and what differs makes it stuck."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from support.handlers import Desk
from wfctl import Context, Directive, Workflow, WorkflowAlreadyRunning
from wfctl.errors import ErrorData
from wfctl.protocol.channel import Op, OpDone, OpRecord, StepDone, StepRaised, StepStuck

wf = Workflow("Order")
pay_wf = Workflow("Payment")

# Which operations the edited handler makes; a test edits it between executions.
plan: list[str] = []


@pay_wf.start()
async def pay(ctx: Context, amount: float = 0.0) -> Directive: ...  # type: ignore[empty-body]


@wf.start()
async def edited(ctx: Context) -> Directive:
    for word in plan:
        if word == "raise":
            raise OSError("the network is down")
        await ctx.send("other", word)
    return ctx.next.complete()


@wf.step()
async def chained(ctx: Context) -> Directive:
    """Three branches of two chained operations each, with values only recorded ones can repeat."""

    async def branch(number: int) -> list[str]:
        key = await ctx.uuid4()
        handle = await ctx.start("Payment", f"pay-{number}", {"amount": number})
        at = await ctx.now()
        await handle.send("go", {"key": str(key)})
        return [str(key), handle.run_info.id, at.isoformat(), str(await ctx.random())]

    ctx.logger.info("begun")
    return ctx.next.complete(await asyncio.gather(*(branch(number) for number in range(3))))


@wf.step()
async def swallows(ctx: Context) -> Directive:
    try:
        await ctx.send("other", "new")
    except BaseException:
        await ctx.send("other", "after all")
    return ctx.next.complete()


@wf.step()
async def leaves_a_task(ctx: Context) -> Directive:
    task = asyncio.create_task(ctx.now())
    await ctx.send("other", "x")
    del task
    return ctx.next.complete()


@wf.step()
def in_a_thread(ctx: Any) -> Directive:
    for word in plan:
        ctx.send("other", word)
    return ctx.next.complete()


@wf.step()
async def taken(ctx: Context) -> Directive:
    try:
        await ctx.start("Payment", "pay-1")
    except WorkflowAlreadyRunning as error:
        return ctx.next.complete(error.message)
    return ctx.next.complete("started")


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(wf, pay_wf)
    yield desk
    desk.executor.close()


async def recorded(desk: Desk, words: list[str], handler: tuple[str, str] = ("start", "edited")) -> None:
    plan[:] = words
    await desk.finish(*handler)
    desk.sent.clear()


async def test_everything_recorded_is_returned_and_nothing_is_sent_again(desk: Desk) -> None:
    await recorded(desk, ["a", "b"])
    assert isinstance(await desk.finish("start", "edited", ops=desk.records), StepDone)
    assert desk.ops() == []


async def test_a_cut_step_goes_on_where_the_records_end(desk: Desk) -> None:
    plan[:] = ["a", "b", "a"]
    await desk.finish("start", "edited", crash_after=2)
    desk.sent.clear()
    assert isinstance(await desk.finish("start", "edited", ops=desk.records), StepDone)
    assert [op.name for op in desk.ops()] == ["a"]
    assert desk.ops()[0].key.endswith(":1"), "the second of its kind"


async def test_a_changed_operation_is_found_before_it_happens(desk: Desk) -> None:
    await recorded(desk, ["a", "b"])
    plan[:] = ["a", "c"]
    stuck = await desk.finish("start", "edited", ops=desk.records)
    assert isinstance(stuck, StepStuck)
    assert desk.ops() == [], "the new operation must not have happened"
    line = edited.__code__.co_firstlineno + 5
    assert "start 'edited' of workflow 'Order'" in stuck.reason
    assert "recorded and not asked for: event 'b' [" in stuck.reason
    assert "asked for instead: event 'c' [" in stuck.reason
    assert f"test_worker_replay.py:{line} in edited" in stuck.reason
    assert stuck.reason.endswith("the step then goes on by itself"), "time moves no handler without branches"


async def test_changed_arguments_are_another_operation(desk: Desk) -> None:
    plan[:] = ["a"]
    stuck = await desk.finish("start", "edited", ops=[OpRecord("event:a:0000000000000000:0", b"null")])
    assert isinstance(stuck, StepStuck)
    assert desk.ops() == []


async def test_an_operation_left_out_is_found_when_the_handler_returns(desk: Desk) -> None:
    await recorded(desk, ["a", "b"])
    plan[:] = ["a"]
    stuck = await desk.finish("start", "edited", ops=desk.records)
    assert isinstance(stuck, StepStuck)
    assert "event 'b'" in stuck.reason
    assert "asked for instead: nothing" in stuck.reason
    assert stuck.detail == {"recorded": [desk.records[1].key], "asked": []}


async def test_operations_one_after_the_other_are_repeated_in_their_order(desk: Desk) -> None:
    await recorded(desk, ["a", "b"])
    plan[:] = ["b", "a"]
    stuck = await desk.finish("start", "edited", ops=desk.records)
    assert isinstance(stuck, StepStuck)
    assert "recorded and not asked for: event 'a' [" in stuck.reason
    assert "asked for instead: event 'b' [" in stuck.reason
    assert desk.ops() == []


async def test_an_exception_before_the_records_are_used_up_is_stuck_and_not_failed(desk: Desk) -> None:
    await recorded(desk, ["a", "b"])
    plan[:] = ["a", "raise"]
    stuck = await desk.finish("start", "edited", ops=desk.records)
    assert isinstance(stuck, StepStuck)
    assert "(it raised OSError: the network is down)" in stuck.reason
    plan[:] = ["a", "b", "raise"]
    assert isinstance(await desk.finish("start", "edited", ops=desk.records), StepRaised)


async def test_a_handler_cannot_swallow_that_it_is_stuck(desk: Desk) -> None:
    stuck = await desk.finish("step", "swallows", ops=[OpRecord("event:old:0000000000000000:0", b"null")])
    assert isinstance(stuck, StepStuck)
    assert desk.ops() == []


async def test_a_plain_handlers_changed_operation_is_found_before_it_happens(desk: Desk) -> None:
    await recorded(desk, ["a", "b"], ("step", "in_a_thread"))
    plan[:] = ["a", "c"]
    assert isinstance(await desk.finish("step", "in_a_thread", ops=desk.records), StepStuck)
    assert desk.ops() == []


async def test_a_task_left_behind_still_gets_to_ask_for_its_record(desk: Desk) -> None:
    desk.begin("step", "leaves_a_task")
    for _ in range(2):
        desk.reply(await desk.next(Op), 1)
    await desk.next(StepDone)
    assert isinstance(await desk.finish("step", "leaves_a_task", ops=desk.records), StepDone)


async def test_a_recorded_error_is_raised_again(desk: Desk) -> None:
    token = desk.begin("step", "taken")
    op = await desk.next(Op)
    error = ErrorData("already_running", "pay-1 is open")
    desk.executor.receive(OpDone(token, op.op, error=error))
    first = await desk.next(StepDone)
    again = await desk.finish("step", "taken", ops=[OpRecord(op.key, b"null", error)])
    assert first.value == again.value == b'"pay-1 is open"'


async def test_log_lines_are_not_repeated_during_replay(desk: Desk) -> None:
    await desk.finish("step", "chained", crash_after=1)
    assert desk.lines == ["begun"]
    await desk.finish("step", "chained", ops=desk.records, logged=desk.logged)
    assert desk.lines == ["begun"]


async def concurrent(order: list[int], cuts: list[int]) -> None:
    """Run `chained` answering its pending operations in `order`, with a crash after each number of records in `cuts`."""
    desk = Desk(wf, pay_wf)
    picks = itertools.cycle(order)
    sent: dict[str, str] = {}
    for cut in [*cuts, None]:
        token = desk.begin("step", "chained", ops=desk.records)
        pending: list[Op] = []
        end: Any = None
        while end is None:
            if cut is not None and len(desk.records) >= cut:
                desk.executor.cancel_all()
                break
            for _ in range(40):
                await asyncio.sleep(0)
            fresh = [one for one in desk.sent if getattr(one, "token", None) == token]
            desk.sent.clear()
            pending += [one for one in fresh if isinstance(one, Op)]
            end = next((one for one in fresh if isinstance(one, StepDone | StepStuck | StepRaised)), None)
            if end is None and pending:
                op = pending.pop(next(picks) % len(pending))
                desk.reply(op, desk.value(op))
                if op.kind == "event":
                    args = msgspec.json.decode(op.args)
                    sent[args["workflow_id"]] = args["payload"]["key"]
        if end is not None:
            break
    assert isinstance(end, StepDone), end
    assert len(desk.records) == 15
    for number, (key, child, _at, _random) in enumerate(msgspec.json.decode(end.value)):
        assert child == f"RUN-pay-{number}"
        assert sent[f"pay-{number}"] == key, "the value a branch used is the value it was recorded with"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=1, max_size=15), st.lists(st.integers(1, 15), max_size=4))
def test_concurrent_branches_replay_to_the_same_callers_for_any_order_and_any_crash(
    order: list[int], cuts: list[int]
) -> None:
    asyncio.run(concurrent(order, sorted(cuts)))


def test_a_crash_after_each_record_of_three_chained_branches_changes_nothing() -> None:
    for cut in range(1, 15):
        asyncio.run(concurrent([2, 0, 1], [cut]))
