"""Running handlers: each gives exactly one answer, whatever it does."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import datetime
import decimal
import enum
import threading
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pydantic
import pytest

from support.handlers import Desk
from support.memory_port import MemoryOps
from wfctl import Context, Directive, Workflow
from wfctl.errors import from_data
from wfctl.protocol import channel
from wfctl.protocol.channel import Checked, Logs, Op, Pong, StepDone, StepRaised, StepStuck
from wfctl.sdk.directive import FailDirective
from wfctl.values.runinfo import ParentInfo
from wfd.worker import pool

wf = Workflow("Order")
other_wf = Workflow("Other")
var: contextvars.ContextVar[int] = contextvars.ContextVar("var", default=0)


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Line:
    sku: str
    price: decimal.Decimal


class Card(msgspec.Struct):
    number: str


class Person(pydantic.BaseModel):
    name: str
    born: datetime.date


seen: dict[str, Any] = {}


@wf.start()
async def typed(
    ctx: Context,
    lines: list[Line],
    card: Card,
    person: Person,
    at: datetime.datetime,
    total: decimal.Decimal,
    key: uuid.UUID,
    colour: Colour,
    blob: bytes,
    rate: float = 0.5,
    **rest: Any,
) -> Directive:
    seen.update(vars() | {"ctx": None})
    return ctx.next.complete({"person": person, "lines": lines})


@wf.step()
async def writes(ctx: Context) -> Directive:
    ctx.store.put("a", await ctx.store.get("a") + 1)
    ctx.store.delete("b")
    return ctx.next.step(waits, after=datetime.timedelta(seconds=2))


@wf.step()
async def waits(ctx: Context) -> Directive:
    return ctx.next.wait_for_event("paid", timeout=datetime.timedelta(seconds=1), on_timeout=writes)


@wf.step()
async def fails(ctx: Context) -> Directive:
    return ctx.next.fail("no stock")


@wf.step()
async def returns_none(ctx: Context) -> Directive:
    ctx.next.complete()
    return None  # type: ignore[return-value]


@wf.step()
async def returns_text(ctx: Context) -> Directive:
    return "done"  # type: ignore[return-value]


@wf.step()
async def returns_another_workflows(ctx: Context) -> Directive:
    return Context(seen["other ops"]).next.step("elsewhere")


@wf.step()
async def raises(ctx: Context) -> Directive:
    raise LookupError("no such card")


@wf.step()
async def exits(ctx: Context) -> Directive:
    raise SystemExit(3)


@wf.step()
def exits_in_thread(ctx: Context) -> Directive:
    raise SystemExit(3)


@wf.step()
def stops_iteration_in_thread(ctx: Context) -> Directive:
    raise StopIteration


@wf.step()
async def cancels_itself(ctx: Context) -> Directive:
    raise asyncio.CancelledError


@wf.step()
async def sets_a_context_variable(ctx: Context) -> Directive:
    before = var.get()
    var.set(before + 1)
    return ctx.next.complete(before)


@wf.step()
async def logs(ctx: Context) -> Directive:
    ctx.logger.info("one")
    await ctx.now()
    ctx.logger.info("two")
    ctx.logger.info("three")
    return ctx.next.complete()


@wf.step()
async def forgets_to_await(ctx: Context) -> Directive:
    ctx.send("x", "never begun")  # type: ignore[unused-coroutine]
    seen["task"] = asyncio.create_task(ctx.send("x", "on its way"))
    await asyncio.sleep(0)
    return ctx.next.complete()


@wf.step()
async def keeps_the_context(ctx: Context) -> Directive:
    seen["ctx"] = ctx
    return ctx.next.complete()


@wf.step()
def in_a_thread(ctx: Any) -> Directive:
    assert threading.current_thread() is not threading.main_thread()
    ctx.logger.info("before")
    ctx.store.put("a", ctx.store.get("a", int) + 1)
    handle = ctx.start("Other", workflow_id="child")
    handle.send("hello")
    ctx.send_to_parent("paid", {"amount": 1.5})
    ctx.logger.info("after")
    return ctx.next.complete([handle.run_info.id, ctx.now(), ctx.random() < 1, str(ctx.uuid4())[14]])


@wf.event()
async def paid(ctx: Context, amount: float = 0.0) -> Directive:
    return ctx.next.complete(amount)


@other_wf.start()
async def other_start(ctx: Context, person: Person | None = None) -> Directive:
    return ctx.next.complete()


@other_wf.step()
async def elsewhere(ctx: Context) -> Directive:
    return ctx.next.complete()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk(wf, other_wf)
    yield desk
    desk.executor.close()


INPUT = {
    "lines": [{"sku": "a", "price": "1.10"}],
    "card": {"number": "4111"},
    "person": {"name": "Ada", "born": "1815-12-10"},
    "at": "2026-11-23T00:00:00Z",
    "total": "1.1",
    "key": "12345678-1234-5678-1234-567812345678",
    "colour": "red",
    "blob": "aGk=",
    "extra": [1],
}


async def test_arguments_arrive_as_the_annotated_types(desk: Desk) -> None:
    done = await desk.finish("start", "typed", INPUT)
    assert isinstance(done, StepDone), done
    assert seen["lines"] == [Line("a", decimal.Decimal("1.10"))]
    assert seen["card"] == Card("4111")
    assert seen["person"] == Person(name="Ada", born=datetime.date(1815, 12, 10))
    assert seen["at"] == datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
    assert (seen["total"], seen["blob"]) == (decimal.Decimal("1.1"), b"hi")
    assert seen["key"] == uuid.UUID(INPUT["key"])  # type: ignore[arg-type]
    assert seen["colour"] is Colour.RED
    assert (seen["rate"], seen["rest"]) == (0.5, {"extra": [1]})
    assert msgspec.json.decode(done.value)["person"] == INPUT["person"]


async def test_each_directive_has_its_message_with_the_stores_changes(desk: Desk) -> None:
    done = await desk.finish("step", "writes", store={"a": 1, "b": 2})
    assert (done.directive, done.name, done.after_ms) == ("step", "waits", 2_000)
    assert (done.put, done.deleted) == ({"a": b"2"}, ["b"])
    done = await desk.finish("step", "waits")
    assert (done.directive, done.names, done.after_ms, done.name) == ("wait", ["paid"], 1_000, "writes")
    done = await desk.finish("step", "fails")
    assert (done.directive, done.failure.message) == ("fail", "no stock")
    done = await desk.finish("event", "paid", {"amount": 5})
    assert (done.directive, done.value) == ("complete", b"5.0")


async def test_the_start_handler_runs_under_whatever_name_it_has_now(desk: Desk) -> None:
    assert isinstance(await desk.finish("start", "its_old_name", INPUT), StepDone)


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        ("returns_none", "step 'returns_none' of workflow 'Order' returned None: did you forget `return ctx.next...`?"),
        ("returns_text", "step 'returns_text' of workflow 'Order' returned str 'done', which is no directive"),
    ],
)
async def test_what_is_no_directive_fails_the_step_naming_handler_and_value(
    desk: Desk, handler: str, message: str
) -> None:
    raised = await desk.finish("step", handler)
    assert isinstance(raised, StepRaised)
    assert (raised.failure.type, raised.failure.message) == ("InvalidDirectiveError", message)
    assert f" in {handler}" in raised.failure.frame


async def test_a_directive_of_another_workflow_type_is_refused(desk: Desk) -> None:
    seen["other ops"] = MemoryOps(other_wf)
    raised = await desk.finish("step", "returns_another_workflows")
    assert "'Order' has no step 'elsewhere'" in raised.failure.message


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        ("raises", "LookupError"),
        ("exits", "SystemExit"),
        ("exits_in_thread", "SystemExit"),
        ("stops_iteration_in_thread", "StopIteration"),
        ("cancels_itself", "CancelledError"),
    ],
)
async def test_whatever_a_handler_raises_is_its_failure_with_the_users_line(
    desk: Desk, handler: str, kind: str
) -> None:
    raised = await desk.finish("step", handler)
    assert isinstance(raised, StepRaised)
    assert not raised.cancelled
    assert raised.failure.type == kind
    assert raised.failure.frame.endswith(f" in {handler}")
    assert "worker/execute.py" not in raised.failure.traceback


async def test_each_handler_has_context_variables_of_its_own(desk: Desk) -> None:
    for _ in range(2):
        assert (await desk.finish("step", "sets_a_context_variable")).value == b"0"
    assert var.get() == 0


async def test_log_lines_come_before_what_happens_after_them(desk: Desk) -> None:
    await desk.finish("step", "logs")
    shown = [
        [line.message for line in message.lines] if isinstance(message, Logs) else type(message)
        for message in desk.sent
    ]
    assert shown == [["one"], Op, ["two", "three"], StepDone]


async def test_operations_that_were_not_awaited_are_cancelled_and_said_in_the_log(desk: Desk) -> None:
    raised = await desk.finish("step", "forgets_to_await")
    assert isinstance(raised, StepRaised), "one of them never even began"
    assert len(desk.lines) == 1
    assert "returned without awaiting ctx.send(), event 'on its way' [" in desk.lines[0]
    await asyncio.sleep(0)
    assert seen["task"].cancelled()


async def test_a_context_kept_beyond_its_step_can_do_no_more(desk: Desk) -> None:
    await desk.finish("step", "keeps_the_context")
    with pytest.raises(Exception, match="step 'keeps_the_context' of workflow 'Order' has returned"):
        await seen["ctx"].now()


async def test_a_plain_handler_runs_in_a_thread_where_operations_block(desk: Desk) -> None:
    parent = ParentInfo("RUN-0", "zero", "Order")
    done = await desk.finish("step", "in_a_thread", store={"a": 1}, parent=parent)
    assert isinstance(done, StepDone), done
    assert [op.kind for op in desk.ops()] == ["child", "event", "parent_event", "now", "random", "uuid"]
    assert done.put == {"a": b"2"}
    value = msgspec.json.decode(done.value)
    assert (value[0], value[2], value[3]) == ("RUN-child", True, "4")
    assert desk.lines == ["before", "after"]


async def test_a_plain_handler_is_replayed_like_any_other(desk: Desk) -> None:
    parent = ParentInfo("RUN-0", "zero", "Order")
    first = await desk.finish("step", "in_a_thread", store={"a": 1}, parent=parent)
    count = len(desk.ops())
    again = await desk.finish(
        "step", "in_a_thread", store={"a": 1}, parent=parent, ops=desk.records, logged=desk.logged
    )
    assert again.value == first.value
    assert len(desk.ops()) == count
    assert desk.lines == ["before", "after"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (("step", "gone"), "workflow 'Order' has no step 'gone' any more: put it back (it has: "),
        (("step", "writs"), "did you mean 'writes'?"),
        (("event", "payed"), "workflow 'Order' has no event 'payed' any more (did you mean 'paid'?)"),
        (("event", "paid", {"amount": "much"}), "event 'paid' of workflow 'Order' was given does not fit"),
        (("event", "paid", {"sum": 5}), "unknown parameter 'sum'"),
        (("start", "typed", {}), "missing parameter 'lines'"),
    ],
)
async def test_a_step_that_does_not_fit_the_code_is_stuck_with_what_to_put_back(
    desk: Desk, given: tuple[Any, ...], reason: str
) -> None:
    stuck = await desk.finish(*given)
    assert isinstance(stuck, StepStuck)
    assert reason in stuck.reason
    assert "put" in stuck.reason


async def test_a_step_of_a_type_that_is_not_loaded_is_stuck(desk: Desk) -> None:
    stuck = await desk.finish("step", "x", workflow_type="Ordr")
    assert stuck.reason.startswith("workflow type 'Ordr' is not loaded (did you mean 'Order'?): put back the module")


async def test_check_binds_with_the_users_types(desk: Desk) -> None:
    def check(number: int, *given: Any, text: dict[str, str] | None = None) -> Checked:
        desk.executor.receive(channel.Check(number, *given, text or {}))
        answer = desk.sent[-1]
        assert isinstance(answer, Checked)
        assert answer.call == number
        return answer

    good = check(1, "Other", "start", "other_start", b'{"person":{"name":"Ada","born":"1815-12-10"}}')
    assert msgspec.json.decode(good.kwargs) == {"person": {"name": "Ada", "born": "1815-12-10"}}
    assert good.error is None
    bad = check(2, "Other", "start", "other_start", b'{"person":{"name":"Ada"}}')
    assert bad.error is not None
    assert "born" in bad.error.message
    assert bad.error.code == "invalid_payload"
    text = check(3, "Order", "event", "paid", b"null", text={"amount": "2.5"})
    assert text.kwargs == b'{"amount":2.5}'
    for given, code in (
        (("Othr", "start", "x", b"{}"), "unknown_type"),
        (("Order", "event", "x", b"{}"), "unknown_event"),
    ):
        answer = check(4, *given)
        assert answer.error is not None
        assert from_data(answer.error).code == code


async def test_ping_is_answered_and_messages_for_unknown_steps_are_dropped(desk: Desk) -> None:
    desk.executor.receive(channel.OpDone(99, 1))
    desk.executor.receive(channel.CancelStep(99))
    desk.executor.receive(channel.Ping(7))
    assert desk.sent == [Pong(7, pool.COMPUTING)]


async def test_steps_run_side_by_side(desk: Desk) -> None:
    for _ in range(3):
        desk.begin("step", "logs")
    ops = [await desk.next(Op) for _ in range(3)]
    assert {op.token for op in ops} == {1, 2, 3}
    for op in reversed(ops):
        desk.reply(op, 0)
    assert [(await desk.next(StepDone)).token for _ in range(3)] == [3, 2, 1]


def test_a_fail_directive_is_a_directive() -> None:
    assert issubclass(FailDirective, Directive)
