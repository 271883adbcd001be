"""`Context` on an in-memory host: what each operation checks, records and returns."""

from __future__ import annotations

import logging
import threading
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from support.memory_port import Asked, MemoryOps
from wfctl import ChildOutcome, Context, Directive, InvalidDirectiveError, NoParentError, Workflow
from wfctl.errors import (
    InvalidArgumentError,
    InvalidPayloadError,
    WorkflowAlreadyRunning,
)
from wfctl.sdk.surroundings import discard_unawaited
from wfctl.values.runinfo import ParentInfo

order_wf = Workflow("Order")
payment_wf = Workflow("Payment")
PARENT = ParentInfo("RUN-0", "order-1", "Order")


class Card(msgspec.Struct):
    number: str
    limit: Decimal


@order_wf.start()
async def order_start(ctx: Context) -> Directive: ...  # type: ignore[empty-body]


@order_wf.event(name="payment_completed")
async def on_payment(ctx: Context, txn_id: str) -> Directive: ...  # type: ignore[empty-body]


@payment_wf.start()
async def payment_start(ctx: Context, card: Card, amount: float = 0.0) -> Directive: ...  # type: ignore[empty-body]


CARD = {"number": "4111", "limit": "9.50"}


async def test_start_records_the_bound_input_and_returns_a_handle() -> None:
    ops = MemoryOps(order_wf, payment_wf)
    handle = await Context(ops).start("Payment", "pay-1", {"card": Card("4111", Decimal("9.50"))}, timedelta(minutes=5))
    assert handle.run_info.id == "RUN-pay-1"
    assert handle.run_info.parent == ParentInfo("RUN-1", "one", "Order")
    assert ops.asked == [
        Asked(
            "child",
            "Payment",
            {"workflow_id": "pay-1", "timeout_ms": 300_000, "input": {"card": CARD}},
        )
    ]


async def test_an_input_that_is_no_dict_is_the_first_argument() -> None:
    ops = MemoryOps(order_wf, payment_wf)
    await Context(ops).start("Payment", workflow_id="pay-1", workflow_input=Card("4111", Decimal("9.50")))
    assert ops.asked[0].args["input"] == {"card": CARD}


async def test_the_same_start_again_is_another_occurrence_with_the_same_content() -> None:
    ops = MemoryOps(order_wf, payment_wf)
    ctx = Context(ops)
    await ctx.start("Payment", "pay-1", {"card": CARD})
    await ctx.start("Payment", "pay-1", {"card": CARD})
    first, second = (record.key for record in ops.records)
    assert first.removesuffix(":0") == second.removesuffix(":1")


async def test_a_child_type_that_this_code_does_not_have_is_the_daemons_to_know() -> None:
    """Another generation may serve it; the daemon says what there is where none does."""
    ops = MemoryOps(order_wf, payment_wf)
    await Context(ops).start("Paymnt", "pay-1", {"amount": 3})
    args = {"workflow_id": "pay-1", "timeout_ms": None, "input": {"amount": 3}, "unbound": True, "positional": False}
    assert ops.asked == [Asked("child", "Paymnt", args)]


async def test_an_input_the_child_cannot_take_is_refused_with_its_signature() -> None:
    ops = MemoryOps(order_wf, payment_wf)
    with pytest.raises(InvalidPayloadError, match=r"input of 'Payment': unknown parameter 'kard'") as caught:
        await Context(ops).start("Payment", "pay-1", {"kard": CARD})
    assert caught.value.hint == "it takes (card: Card, amount: float = 0.0)"
    with pytest.raises(InvalidPayloadError, match="number"):
        await Context(ops).start("Payment", "pay-1", {"card": Card(4111, Decimal(9))})  # type: ignore[arg-type]
    assert ops.asked == []


async def test_arguments_of_start_that_cannot_be_are_refused() -> None:
    ctx = Context(MemoryOps(order_wf, payment_wf))
    with pytest.raises(InvalidArgumentError, match=r"workflow ID is empty"):
        await ctx.start("Payment", "")
    with pytest.raises(InvalidArgumentError, match=r"workflow_timeout of zero"):
        await ctx.start("Payment", "p", workflow_timeout=timedelta(0))
    with pytest.raises(InvalidPayloadError, match=r"input of 'Payment'\['amount'\] is nan"):
        await ctx.start("Payment", "p", {"amount": float("nan")})


async def test_a_recorded_start_returns_its_child_even_when_its_type_is_gone() -> None:
    ops = MemoryOps(order_wf, payment_wf)
    first = await Context(ops).start("Payment", "pay-1", {"card": CARD})
    again = MemoryOps(order_wf, records=ops.records)
    assert again.replaying
    replayed = await Context(again).start("Payment", "pay-1", {"card": CARD})
    assert replayed.run_info == first.run_info
    assert again.asked == []
    assert not again.replaying


async def test_recorded_errors_are_raised_again_as_themselves() -> None:
    def refuse(asked: Asked) -> None:
        raise WorkflowAlreadyRunning("pay-1 is open", workflow_id="pay-1")

    with pytest.raises(WorkflowAlreadyRunning, match=r"pay-1 is open"):
        await Context(MemoryOps(order_wf, payment_wf, answer=refuse)).start("Payment", "pay-1", {"card": CARD})


async def test_an_event_goes_to_the_parent_as_keyword_arguments() -> None:
    ops = MemoryOps(payment_wf, order_wf, parent=PARENT)
    await Context(ops).send_to_parent("payment_completed", payload={"txn_id": "t-1"})
    await Context(ops).send_to_parent(event_name="payment_completed", payload="t-2")
    assert [asked.args for asked in ops.asked] == [{"payload": {"txn_id": "t-1"}}, {"payload": {"txn_id": "t-2"}}]


async def test_without_a_parent_send_to_parent_is_a_runtime_error_and_records_nothing() -> None:
    ops = MemoryOps(payment_wf, order_wf)
    with pytest.raises(RuntimeError, match=r"no parent to send 'payment_completed' to") as caught:
        await Context(ops).send_to_parent("payment_completed")
    assert isinstance(caught.value, NoParentError)
    assert ops.asked == []


async def test_a_payload_the_parent_cannot_take_is_refused_with_what_it_can() -> None:
    ops = MemoryOps(payment_wf, order_wf, parent=PARENT)
    with pytest.raises(InvalidPayloadError, match=r"missing parameter 'txn_id'") as payload:
        await Context(ops).send_to_parent("payment_completed", {"txn": "t"})
    assert payload.value.hint == "it takes (txn_id: str)"
    assert ops.asked == []


async def test_what_is_checked_is_what_was_given_whatever_becomes_of_that_until_it_is() -> None:
    class Waiting(MemoryOps):
        """Each call waits for its turn, as one may beside others."""

        async def find(self, *given: Any) -> Any:
            payload["txn_id"] = "t-1"
            return await super().find(*given)

    payload: dict[str, Any] = {"txn_id": 7}
    ops = Waiting(payment_wf, order_wf, parent=PARENT)
    with pytest.raises(InvalidPayloadError, match="txn_id"):
        await Context(ops).send_to_parent("payment_completed", payload)
    payload = {}
    await Context(ops).start("Order", "order-2", payload)
    assert [asked.args["input"] for asked in ops.asked] == [{}]


@pytest.mark.parametrize("others", [(), (order_wf,)], ids=["no such type", "no such event"])
@pytest.mark.parametrize("parent", [None, PARENT], ids=["no parent", "a parent"])
async def test_what_is_no_name_of_an_event_is_refused_before_all_else(
    others: tuple[Workflow, ...], parent: ParentInfo | None
) -> None:
    ops = MemoryOps(payment_wf, *others, parent=parent)
    for name in ("", "a\nb", "x" * 300, 5, None, ["payment_completed"], b"payment_completed"):
        with pytest.raises(InvalidArgumentError, match=r"^event name"):
            await Context(ops).send_to_parent(name, object())  # type: ignore[arg-type]
    assert ops.asked == []


@pytest.mark.parametrize("others", [(), (order_wf,)], ids=["no such type", "no such event"])
async def test_an_event_that_this_code_does_not_have_is_the_daemons_to_know(others: tuple[Workflow, ...]) -> None:
    ops = MemoryOps(payment_wf, *others, parent=PARENT)
    await Context(ops).send_to_parent("payment_refunded", [1])
    assert ops.asked == [
        Asked("parent_event", "payment_refunded", {"payload": [1], "unbound": True, "positional": True})
    ]


async def test_a_closed_parent_is_logged_and_does_not_fail_the_child() -> None:
    ops = MemoryOps(payment_wf, order_wf, parent=PARENT, answer=lambda _: {"outcome": "parent_closed"})
    assert await Context(ops).send_to_parent("payment_completed", {"txn_id": "t"}) is None  # type: ignore[func-returns-value]
    assert ops.lines == [("warning", "event 'payment_completed' not delivered: the parent Order 'order-1' has closed")]


async def test_send_passes_the_payload_on_for_the_daemon_to_check() -> None:
    ops = MemoryOps(order_wf, payment_wf)
    ctx = Context(ops)
    await ctx.send("other", "note", [1, 2])
    handle = await ctx.start("Payment", "pay-1", {"card": CARD})
    await handle.send("hurry")
    assert ops.asked[0] == Asked("event", "note", {"workflow_id": "other", "payload": [1, 2]})
    assert ops.asked[2] == Asked("event", "hurry", {"workflow_id": "pay-1", "run_id": "RUN-pay-1", "payload": None})


async def test_now_random_and_uuid4_return_what_was_recorded() -> None:
    ops = MemoryOps(order_wf)
    ctx = Context(ops)
    values = (await ctx.now(), await ctx.random(), await ctx.uuid4())
    assert values[0] == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
    assert 0 <= values[1] < 1
    assert isinstance(values[2], uuid.UUID)
    again = Context(MemoryOps(order_wf, records=ops.records))
    assert (await again.now(), await again.random(), await again.uuid4()) == values


async def test_a_set_as_input_is_the_same_content_in_every_process() -> None:
    async def key(payload: object) -> str:
        ops = MemoryOps(order_wf)
        await Context(ops).send("x", "y", payload)
        return ops.records[0].key

    assert await key({"a", "b", "c"}) == await key(["a", "b", "c"])
    assert await key({"x": 1, "y": 2}) == await key({"y": 2, "x": 1})


def test_the_logger_is_a_real_one_and_its_lines_go_to_the_host() -> None:
    ops = MemoryOps(order_wf)
    logger = Context(ops).logger
    assert isinstance(logger, logging.Logger)
    logger.debug("d")
    logger.info("charged %s of %d", "4111", 5)
    logger.warning("slow", extra={"order": 7})
    logger.log(logging.ERROR, "bad")
    logger.info("wrong %d", "text")
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("while charging")
    levels, messages = zip(*ops.lines, strict=True)
    assert levels == ("debug", "info", "warning", "error", "info", "error")
    assert messages[1:5] == ("charged 4111 of 5", "slow order=7", "bad", "wrong %d ('text',)")
    assert messages[5].startswith("while charging\nTraceback")
    assert messages[5].endswith("ValueError: broken")


def test_what_cannot_be_written_does_not_keep_a_handler_from_logging() -> None:
    class Broken:
        def __str__(self) -> str:
            raise KeyError("name")

        __repr__ = __str__

    ops = MemoryOps(order_wf)
    logger = Context(ops).logger
    logger.info(Broken())
    logger.info("got %s", Broken())
    logger.info("got", extra={"order": Broken()})
    what = "that cannot be written: KeyError>"
    assert [message for _, message in ops.lines] == [
        f"<Broken {what}", f"got %s <tuple {what}", f"got order=<Broken {what}"
    ]  # fmt: skip


def test_the_logger_works_from_a_thread() -> None:
    ops = MemoryOps(order_wf)
    logger = Context(ops).logger
    thread = threading.Thread(target=lambda: logger.info("hello"))
    thread.start()
    thread.join()
    assert ops.lines == [("info", "hello")]


async def test_operations_that_were_never_awaited_are_named_and_make_no_noise() -> None:
    ops = MemoryOps(order_wf)
    ctx = Context(ops)
    ctx.send("other", "note")  # type: ignore[unused-coroutine]
    await ctx.now()
    assert discard_unawaited(ops.handed_out) == ["ctx.send()"]
    assert [asked.kind for asked in ops.asked] == ["now"]


@order_wf.step()
async def on_paid(ctx: Context, outcome: ChildOutcome[Card]) -> Directive: ...  # type: ignore[empty-body]


@order_wf.step()
async def plain_step(ctx: Context) -> Directive: ...  # type: ignore[empty-body]


@pytest.mark.parametrize("step", [on_paid, "on_paid"])
async def test_start_tells_which_step_hears_of_the_end_and_what_becomes_of_an_orphan(step: object) -> None:
    ops = MemoryOps(order_wf, payment_wf)
    await Context(ops).start("Payment", "p", {"card": CARD}, on_completed_step=step, on_parent_close="cancel")  # type: ignore[arg-type]
    assert ops.asked[0].args["on_completed_step"] == "on_paid"
    assert ops.asked[0].args["on_parent_close"] == "cancel"


async def test_a_workflow_in_the_place_of_its_type_is_told_the_name_to_give() -> None:
    with pytest.raises(InvalidArgumentError, match=r"workflow type must be text, not Workflow .did you mean 'Payment'"):
        await Context(MemoryOps(order_wf, payment_wf)).start(payment_wf, "p")  # type: ignore[arg-type]


async def test_a_step_that_takes_no_outcome_cannot_hear_of_one_and_the_other_way_round() -> None:
    ops = MemoryOps(order_wf, payment_wf)
    ctx = Context(ops)
    with pytest.raises(InvalidDirectiveError, match=r"on_completed_step\(plain_step\): that step takes no outcome"):
        await ctx.start("Payment", "p", {"card": CARD}, on_completed_step=plain_step)
    with pytest.raises(InvalidDirectiveError, match=r"on_completed_step\(nowhere\).* no such step"):
        await ctx.start("Payment", "p", {"card": CARD}, on_completed_step="nowhere")
    with pytest.raises(
        InvalidDirectiveError, match=r"ctx.next.step\(on_paid\): that step takes the outcome of a child"
    ):
        ctx.next.step(on_paid)
    with pytest.raises(InvalidDirectiveError, match=r"on_timeout\(on_paid\): that step takes the outcome"):
        ctx.next.wait_for_event(timeout=timedelta(seconds=1), on_timeout=on_paid)
    with pytest.raises(InvalidArgumentError, match=r"on_parent_close is 'kill'"):
        await ctx.start("Payment", "p", {"card": CARD}, on_parent_close="kill")  # type: ignore[arg-type]
    assert ops.asked == []


async def test_sleep_takes_a_timedelta_of_which_a_negative_one_is_none() -> None:
    ops = MemoryOps(order_wf)
    await Context(ops).sleep(timedelta(seconds=1.5))
    await Context(ops).sleep(timedelta(seconds=-1))
    assert ops.asked == [Asked("sleep", "", {"duration_ms": 1_500}), Asked("sleep", "", {"duration_ms": 0})]


# -- progress -------------------------------------------------------------------------------------


async def test_progress_is_told_to_the_host_and_recorded_nowhere() -> None:
    ops = MemoryOps(order_wf)
    ctx = Context(ops)
    ctx.progress(3, 10, "resizing")
    ctx.progress(0.5)
    ctx.progress(12, 10)
    ctx.progress(0, 0)
    assert ops.shown == [(3, 10, "resizing"), (0.5, None, ""), (12, 10, ""), (0, 0, "")]
    assert (ops.asked, ops.records, discard_unawaited(ops.handed_out)) == ([], [], [])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((-1, 10), "progress done is -1, negative"),
        ((1, -10), "progress total is -10, negative"),
        ((float("nan"), 10), "progress done is nan, no finite number"),
        ((1, float("inf")), "progress total is inf, no finite number"),
        (("3", 10), "progress done is '3', a str"),
        ((True, 10), "progress done is True, a bool"),
        ((1, 10**19), "larger than"),
        ((1, 10, 5), "progress note is 5, a int"),
    ],
)
async def test_what_is_no_progress_is_refused_by_name(given: tuple[object, ...], said: str) -> None:
    ops = MemoryOps(order_wf)
    with pytest.raises(InvalidArgumentError, match=said):
        Context(ops).progress(*given)  # type: ignore[arg-type]
    assert ops.shown == []
