"""Tasks in a running handler: what is told to the daemon, and what the handler gets."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import functools
import threading
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from support import handlers
from support.handlers import Desk
from wfctl import Context, Directive, RetryPolicy, RunInfo, Workflow, current_task, task
from wfctl.protocol.channel import (
    AbandonStep,
    CancelStep,
    Op,
    OpDone,
    OpRecord,
    Query,
    StepDone,
    StepGone,
    StepRaised,
    StepStuck,
)

wf = Workflow("Order")
did: list[Any] = []
gate = threading.Event()
var: contextvars.ContextVar[str] = contextvars.ContextVar("var", default="")
RETRIED = RetryPolicy(attempts=3, delay=timedelta(seconds=4), jitter=0, never_on=PermissionError)


class Declined(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.socket = object()


@dataclasses.dataclass
class Receipt:
    amount: Decimal
    lines: tuple[int, ...] = ()


@task
async def charge(amount: Decimal) -> Receipt:
    info = current_task()
    did.append((info.name, info.attempt, info.idempotency_key))
    return Receipt(amount, (1, 2))


@task(retry=RETRIED)
async def flaky(fail: int, kind: str = "OSError") -> str:
    did.append(current_task().attempt)
    if current_task().attempt <= fail:
        raise {"OSError": OSError(5, "broken"), "PermissionError": PermissionError("never")}[kind]
    return "done"


@task
def blocking(word: str) -> str:
    assert threading.current_thread() is not threading.main_thread()
    did.append((word, var.get(), current_task().name))
    return word.upper()


@task
async def raises() -> None:
    raise Declined(51) from KeyError("why")


@task
async def outer() -> list[str]:
    return [blocking.__name__, await inner("x")]


@task
async def inner(word: str) -> str:
    return word + current_task().name


@task(timeout=timedelta(milliseconds=1))
async def slow(swallow: bool = False) -> None:
    await asyncio.Event().wait()


@task(timeout=timedelta(milliseconds=1))
def slow_thread() -> str:
    gate.wait(10)
    did.append("late")
    return "late"


@task(timeout=timedelta(seconds=30))
async def own_timeout() -> None:
    raise TimeoutError("the provider's")


@task
async def unwritable() -> Any:
    did.append("unwritable")
    return object()


@task
async def wrong_type() -> int:
    return "text"  # type: ignore[return-value]


@task
async def hangs() -> None:
    did.append("begun")
    try:
        await asyncio.Event().wait()
    finally:
        did.append("ended")


@task
async def exits() -> None:
    raise SystemExit(3)


async def helper(amount: str) -> Receipt:
    return await charge(Decimal(amount))


@wf.start()
async def pays(ctx: Context) -> Directive:
    receipt = await helper("9.50")
    return ctx.next.complete([repr(receipt), receipt is not None])


@wf.step()
async def tries(ctx: Context, fail: int = 0, kind: str = "OSError") -> Directive:
    ctx.logger.info("begun")
    return ctx.next.complete(await flaky(fail, kind))


@wf.step()
async def many(ctx: Context) -> Directive:
    var.set("mine")
    async with asyncio.TaskGroup() as group:
        made = [group.create_task(blocking(word)) for word in "ab"]
    gathered = await asyncio.gather(blocking("c"), asyncio.create_task(charge(Decimal(1))))
    third = [await one for one in asyncio.as_completed([blocking("d")])]
    helped = await asyncio.to_thread(lambda: blocking("e"))
    return ctx.next.complete([one.result() for one in made] + [gathered[0], *third, helped])


@wf.step()
def plain(ctx: Any) -> Directive:
    receipt: Any = charge(Decimal("1.5"))
    assert isinstance(receipt, Receipt)
    try:
        raises()  # type: ignore[unused-coroutine]
    except Declined as error:
        code = error.code
    with_its_own_loop: Any = asyncio.run(helper("2"))
    return ctx.next.complete([str(receipt.amount), blocking("x"), code, str(with_its_own_loop.amount)])


@wf.step()
async def catches(ctx: Context, which: str = "raises") -> Directive:
    tasks: dict[str, Any] = {
        "raises": raises, "slow": slow, "thread": slow_thread, "own": own_timeout, "unwritable": unwritable,
        "wrong": wrong_type,
    }  # fmt: skip
    try:
        await tasks[which]()
    except Exception as error:
        cause, seen = (
            f"{error.__cause__} {error.__context__}",
            {name: repr(value) for name, value in vars(error).items()},
        )
        return ctx.next.complete([type(error).__name__, str(error), getattr(error, "code", None), cause, seen])
    return ctx.next.complete()


@wf.step()
async def fails(ctx: Context) -> Directive:
    await raises()
    return ctx.next.complete()


@wf.step()
async def fails_in_a_group(ctx: Context) -> Directive:
    async with asyncio.TaskGroup() as group:
        group.create_task(one_after_the_other())
    return ctx.next.complete()


async def one_after_the_other() -> None:
    try:
        await raises()
    except Declined:
        await own_timeout()


@wf.step()
async def nests(ctx: Context) -> Directive:
    return ctx.next.complete(await outer())


@wf.step()
async def waits(ctx: Context) -> Directive:
    try:
        await hangs()
    except asyncio.CancelledError:
        await ctx.send("other", "undo")
        raise
    return ctx.next.complete()


@wf.step()
def waits_in_a_thread(ctx: Any) -> Directive:
    try:
        hangs()  # type: ignore[unused-coroutine]
    except asyncio.CancelledError:
        ctx.send("other", "undo")
        raise
    return ctx.next.complete()


@wf.step()
async def exits_in_a_task(ctx: Context) -> Directive:
    await exits()
    return ctx.next.complete()


@wf.step()
async def leaves_one_behind(ctx: Context) -> Directive:
    kept = asyncio.create_task(hangs())
    charge(Decimal(1))  # type: ignore[unused-coroutine]
    await ctx.now()
    did.append(kept)
    return ctx.next.complete()


@wf.step()
async def uses_the_context_inside(ctx: Context) -> Directive:
    @task
    async def sends() -> None:
        await ctx.send("other", "x")

    await sends()
    return ctx.next.complete()


@wf.step()
async def with_library_tasks(ctx: Context) -> Directive:
    @task
    async def fans_out() -> int:
        return sum(await asyncio.gather(*(asyncio.sleep(0, number) for number in range(3))))

    return ctx.next.complete([await fans_out(), await fans_out()])


@wf.step()
async def shares_a_coroutine(ctx: Context) -> Directive:
    @task
    @functools.cache
    async def cached() -> str:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "done"

    outcomes = await asyncio.gather(cached(), cached(), return_exceptions=True)
    return ctx.next.complete([str(one) for one in outcomes])


@wf.query()
async def asks_for_a_task(ctx: Context) -> Any:
    return await charge(Decimal(1))


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    did.clear()
    gate.clear()
    desk = Desk(wf)
    yield desk
    gate.set()
    desk.executor.close()


def told(desk: Desk) -> list[tuple[str, Any]]:
    return [(op.kind, msgspec.json.decode(op.args)) for op in desk.ops()]


async def value(desk: Desk, *given: Any, **options: Any) -> Any:
    done = await desk.finish(*given, **options)
    assert isinstance(done, StepDone), done
    return msgspec.json.decode(done.value)


async def test_a_task_that_waits_for_nothing_costs_one_message(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "apart", lambda message: [message])
    desk.begin("start", "pays")
    op = await desk.next(Op)
    assert told(desk) == [
        (
            "task_at_once",
            {
                "arguments": {"amount": "9.50"},
                "attempt": 1,
                "result": {"amount": "9.50", "lines": [1, 2]},
                "attempts": 1,
            },
        )
    ]
    desk.executor.receive(OpDone(op.token, op.op))
    assert isinstance(await desk.next(StepDone), StepDone)


async def test_a_task_costs_one_wait_for_its_beginning_and_its_end(desk: Desk) -> None:
    token = desk.begin("start", "pays")
    begun, completed = await desk.next(Op), await desk.next(Op)
    assert (begun.kind, completed.kind, begun.name) == ("task", "task_completed", "charge")
    assert begun.key == completed.key
    assert begun.key.startswith("task:")
    assert ".charge:" in begun.key
    assert told(desk) == [
        ("task", {"arguments": {"amount": "9.50"}, "attempt": 1}),
        ("task_completed", {"result": {"amount": "9.50", "lines": [1, 2]}, "attempts": 1}),
    ]
    for op in (begun, completed):
        desk.reply(op)
    done = await desk.next(StepDone)
    assert done.token == token
    assert msgspec.json.decode(done.value)[0] == "Receipt(amount=Decimal('9.50'), lines=(1, 2))"


async def test_a_recorded_task_returns_the_same_and_is_not_done_again(desk: Desk) -> None:
    first = await value(desk, "start", "pays")
    desk.sent.clear()
    assert await value(desk, "start", "pays", ops=desk.records) == first
    assert len(did) == 1
    assert desk.ops() == []


async def test_the_idempotency_key_is_the_calls_own_and_stays(desk: Desk) -> None:
    await desk.finish("start", "pays", crash_after=1)
    for records in ([], list(desk.records)):
        await value(desk, "start", "pays", ops=records)
    keys = {key for _, _, key in did}
    assert (len(did), len(keys)) == (3, 1)
    assert all(attempt == 1 for _, attempt, _ in did)
    await value(desk, "start", "pays", step=2)
    assert did[-1][2] not in keys


async def test_attempts_follow_the_policy_and_the_daemon_keeps_the_delay(desk: Desk) -> None:
    assert await value(desk, "step", "tries", {"fail": 2}) == "done"
    kinds = [kind for kind, _ in told(desk)]
    assert kinds == ["task", "task_attempt_failed", "task", "task_attempt_failed", "task", "task_completed"]
    failed = [args for kind, args in told(desk) if kind == "task_attempt_failed"]
    assert [(args["attempt"], args["delay_ms"]) for args in failed] == [(1, 4_000), (2, 8_000)]
    assert failed[0]["failure"]["type"] == "OSError"
    assert told(desk)[-1][1] == {"result": "done", "attempts": 3}
    assert did == [1, 2, 3]
    assert desk.lines == [
        "begun",
        "task flaky failed (attempt 1 of 3): OSError: [Errno 5] broken; next in 4.0s",
        "task flaky failed (attempt 2 of 3): OSError: [Errno 5] broken; next in 8.0s",
    ]


async def test_no_attempt_begins_before_the_delay_is_over(desk: Desk) -> None:
    desk.begin("step", "tries", {"fail": 1})
    desk.reply(await desk.next(Op))
    failed = await desk.next(Op)
    for _ in range(20):
        await asyncio.sleep(0)
    assert did == [1]
    desk.reply(failed)
    assert (await desk.next(Op)).kind == "task"


@pytest.mark.parametrize(("given", "attempts"), [({"fail": 9}, 3), ({"fail": 9, "kind": "PermissionError"}, 1)])
async def test_the_last_failure_is_recorded_and_raised(desk: Desk, given: dict[str, Any], attempts: int) -> None:
    raised = await desk.finish("step", "tries", given)
    assert isinstance(raised, StepRaised)
    assert raised.failure.type == given.get("kind", "OSError")
    assert told(desk)[-1][0] == "task_failed"
    assert told(desk)[-1][1]["attempts"] == attempts == len(did)
    again = await desk.finish("step", "tries", given, ops=desk.records)
    assert (again.failure.type, again.failure.message) == (raised.failure.type, raised.failure.message)
    assert len(did) == attempts


@pytest.mark.parametrize(
    ("crash", "attempts"), [(1, [1, 1, 2, 3]), (2, [1, 2, 3]), (3, [1, 2, 2, 3]), (5, [1, 2, 3, 3])]
)
async def test_a_crash_goes_on_at_the_right_attempt(desk: Desk, crash: int, attempts: list[int]) -> None:
    await desk.finish("step", "tries", {"fail": 2}, crash_after=crash)
    desk.sent.clear()
    assert await value(desk, "step", "tries", {"fail": 2}, ops=desk.records) == "done"
    assert did == attempts
    assert told(desk)[0][0] == "resume"


async def test_a_resumed_task_waits_until_its_delay_is_over(desk: Desk) -> None:
    await desk.finish("step", "tries", {"fail": 1}, crash_after=2)
    desk.begin("step", "tries", {"fail": 1}, ops=desk.records)
    resume = await desk.next(Op)
    while resume.kind != "resume":
        resume = await desk.next(Op)
    assert resume.key == desk.records[0].key
    for _ in range(20):
        await asyncio.sleep(0)
    assert did == [1]
    desk.reply(resume)
    desk.reply(await desk.next(Op))
    assert (await desk.next(Op)).kind == "task_completed"


async def test_lines_about_attempts_that_are_not_repeated_do_not_hide_others(desk: Desk) -> None:
    await desk.finish("step", "tries", {"fail": 2}, crash_after=2)
    assert len(desk.lines) == 2
    await value(desk, "step", "tries", {"fail": 2}, ops=desk.records, logged=desk.logged)
    assert [line.partition(":")[0] for line in desk.lines] == [
        "begun", "task flaky failed (attempt 1 of 3)", "task flaky failed (attempt 2 of 3)",
    ]  # fmt: skip
    await value(desk, "step", "tries", {"fail": 2}, ops=desk.records, logged=desk.logged)
    assert len(desk.lines) == 3


async def test_tasks_of_both_kinds_are_awaited_wherever_they_are_called(desk: Desk) -> None:
    assert await value(desk, "step", "many") == ["A", "B", "C", "D", "E"]
    assert sorted(one for one in did if one[0] in "abcde") == [(word, "mine", "blocking") for word in "abcde"]
    before = len(did)
    assert await value(desk, "step", "many", ops=desk.records) == ["A", "B", "C", "D", "E"]
    assert len(did) == before


async def test_in_a_plain_handler_tasks_block_and_return(desk: Desk) -> None:
    expected = ["1.5", "X", 51, "2"]
    assert await value(desk, "step", "plain") == expected
    count = len(desk.ops())
    assert await value(desk, "step", "plain", ops=desk.records) == expected
    assert len(desk.ops()) == count


@pytest.mark.parametrize(
    ("which", "shown"),
    [
        ("raises", ["Declined", "code 51", 51]),
        ("slow", ["TaskTimeoutError", "task slow took longer than 1ms", "task_timeout"]),
        ("thread", ["TaskTimeoutError", "task slow_thread took longer than 1ms", "task_timeout"]),
        ("own", ["TimeoutError", "the provider's", None]),
        ("unwritable", ["InvalidPayloadError", "result of task 'unwritable' holds a builtins.object, which JSON cannot hold",
                        "invalid_payload"]),
        ("wrong", ["InvalidPayloadError", "result of task 'wrong_type': expected int, got \"text\"", "invalid_payload"]),
    ],
)  # fmt: skip
async def test_an_exception_is_raised_again_as_its_own_class_first_and_on_replay(
    desk: Desk, which: str, shown: list[Any]
) -> None:
    told_first = await value(desk, "step", "catches", {"which": which})
    assert told_first == [*shown, "None None", told_first[-1]]
    # All that a handler can see of it is as it was.
    assert await value(desk, "step", "catches", {"which": which}, ops=desk.records) == told_first


async def test_a_failure_names_the_line_in_the_task_first_and_on_replay(desk: Desk) -> None:
    raised = await desk.finish("step", "fails")
    assert raised.failure.frame.endswith(" in fails")
    assert "in raises)" in raised.failure.traceback
    # The line itself, and what it was raised from.
    assert 'raise Declined(51) from KeyError("why")' in raised.failure.traceback
    assert "KeyError: 'why'" in raised.failure.traceback
    assert told(desk)[-1][1]["failure"]["frame"].endswith(" in raises")
    assert "socket" not in told(desk)[-1][1]["failure"]["detail"]["attributes"]
    again = await desk.finish("step", "fails", ops=desk.records)
    assert again.failure == raised.failure


async def test_a_traceback_tells_of_every_task_that_a_group_failed_of(desk: Desk) -> None:
    raised = await desk.finish("step", "fails_in_a_group")
    for line in ('raise Declined(51) from KeyError("why")', "raise TimeoutError("):
        assert raised.failure.traceback.count(line) == 1


async def test_what_a_thread_returns_after_its_time_is_dropped(desk: Desk) -> None:
    await value(desk, "step", "catches", {"which": "thread"})
    gate.set()
    while "late" not in did:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [kind for kind, _ in told(desk)] == ["task", "task_failed"]


async def test_a_task_called_by_a_task_is_its_function(desk: Desk) -> None:
    assert await value(desk, "step", "nests") == ["blocking", "xouter"]
    assert [op.name for op in desk.ops()] == ["outer", "outer"]


async def test_operations_inside_a_task_are_refused(desk: Desk) -> None:
    raised = await desk.finish("step", "uses_the_context_inside")
    assert "task 'sends' uses the context of its handler" in raised.failure.message
    assert [op.kind for op in desk.ops()] == ["task", "task_failed"]


async def test_what_a_task_starts_inside_is_no_branch_of_the_handler(desk: Desk) -> None:
    assert await value(desk, "step", "with_library_tasks") == [3, 3]
    assert [op.key.rpartition(":")[2] for op in desk.ops()] == ["0", "0", "1", "1"]


async def test_a_coroutine_that_a_task_awaits_already_is_left_to_it(desk: Desk) -> None:
    first, second = await value(desk, "step", "shares_a_coroutine")
    assert first == "done"
    assert second == "coroutine is being awaited already"


@pytest.mark.parametrize("handler", ["waits", "waits_in_a_thread"])
async def test_a_cancellation_ends_a_running_task_without_recording_a_failure(desk: Desk, handler: str) -> None:
    token = desk.begin("step", handler)
    desk.reply(await desk.next(Op))
    while not did:
        await asyncio.sleep(0)
    desk.executor.receive(CancelStep(token))
    left, undo = await desk.next(Op), await desk.next(Op)
    assert left.kind == "task_left"
    assert undo.key.startswith("~event:undo:")
    assert did == ["begun", "ended"]
    # Its clean-up was cut by a crash: the next execution is cancelled at the same place, without beginning the task.
    desk.commit(undo, {"outcome": "queued"})
    desk.executor.receive(AbandonStep(token))
    await desk.next(StepGone)
    desk.sent.clear()
    again = await desk.finish("step", handler, ops=desk.records, cancel=True)
    assert isinstance(again, StepRaised)
    assert again.cancelled
    assert did == ["begun", "ended"]
    assert desk.ops() == []


@pytest.mark.parametrize("handler", ["waits", "waits_in_a_thread"])
async def test_an_abandoned_step_takes_its_running_task_with_it(desk: Desk, handler: str) -> None:
    token = desk.begin("step", handler)
    await desk.next(Op)
    while not did:
        await asyncio.sleep(0)
    desk.executor.receive(AbandonStep(token))
    assert await desk.next() == StepGone(token)
    assert did == ["begun", "ended"]
    assert [op.kind for op in desk.ops()] == ["task"]


async def test_a_retry_delay_does_not_hold_up_a_cancellation(desk: Desk) -> None:
    token = desk.begin("step", "tries", {"fail": 1})
    desk.reply(await desk.next(Op))
    failed = await desk.next(Op)
    desk.commit(failed)
    desk.executor.receive(CancelStep(token))
    assert (await desk.next(StepRaised)).cancelled
    desk.reply(failed)
    assert did == [1]


async def test_an_exit_inside_a_task_is_the_steps_failure_and_leaves_the_task_open(desk: Desk) -> None:
    raised = await desk.finish("step", "exits_in_a_task")
    assert raised.failure.type == "SystemExit"
    assert [op.kind for op in desk.ops()] == ["task", "task_left"]


async def test_tasks_that_were_not_awaited_are_ended_and_named(desk: Desk) -> None:
    raised = await desk.finish("step", "leaves_one_behind")
    assert isinstance(raised, StepRaised), "one of them never even began"
    assert len(desk.lines) == 1
    assert "returned without awaiting task charge, task '" in desk.lines[0]
    assert ".hangs' [" in desk.lines[0]
    [kept] = [one for one in did if isinstance(one, asyncio.Task)]
    while not kept.done():
        await asyncio.sleep(0)
    assert kept.cancelled()
    assert did[-1] == "ended"


async def test_a_recorded_result_that_does_not_fit_the_type_any_more_is_stuck(desk: Desk) -> None:
    await desk.finish("start", "pays")
    record = desk.records[0]
    stuck = await desk.finish("start", "pays", ops=[OpRecord(record.key, b'{"amount":"much"}')])
    assert isinstance(stuck, StepStuck)
    assert "what task 'charge' (tests/unit/worker/test_worker_tasks.py:" in stuck.reason
    assert "put the type back" in stuck.reason


async def test_a_task_in_a_query_is_refused(desk: Desk) -> None:
    desk.executor.receive(Query(1, RunInfo("RUN-1", "one", "Order"), "asks_for_a_task", b"{}", {}))
    answer = await desk.next()
    assert "a query changes nothing, so it cannot use task 'charge'" in answer.error.message
    assert did == []
