"""The specification's own example, as it stands in samples/orders."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from spec.conftest import Serve
from support.history import kinds, records
from wfctl import RunFailedError

SAMPLE = Path(__file__).parents[2] / "samples" / "orders" / "orders.py"


@pytest.fixture
def orders() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sample_orders", SAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    async def charge_card(amount: float) -> str:
        return f"txn-{amount}"

    module.charge_card = charge_card  # type: ignore[attr-defined]
    return module


async def test_an_order_starts_its_payment_and_gets_its_answer(orders: ModuleType, serve: Serve) -> None:
    env = await serve(orders.payment_wf, orders.order_wf)
    order = await env.client.start("Order", workflow_id="order-1", workflow_input={"order_id": "1", "amount": 9.99})
    await order.send("start_payment")
    assert await order.result() == "txn-9.99"
    payment = env.client.handle("payment-1")
    assert await payment.result() == "txn-9.99"
    await env.settle()
    assert await kinds(order) == [
        "run.started", "step.started", "step.completed", "wait.started",
        "event.received", "step.started", "child.started", "step.completed", "wait.started",
        "event.received", "step.started", "step.completed", "run.completed", "child.closed",
    ]  # fmt: skip
    assert await kinds(payment) == [
        "run.started", "step.started", "step.completed", "step.started", "step.completed", "step.started",
        "parent_event.sent", "step.completed", "run.completed",
    ]  # fmt: skip
    detail = await order.describe()
    assert detail.store == {"order_id": "1", "amount": 9.99, "txn_id": "txn-9.99"}
    assert detail.run.children == 1
    assert detail.run.open_children == 0


async def test_the_event_finds_its_parent_waiting_and_is_dispatched_at_once(orders: ModuleType, serve: Serve) -> None:
    env = await serve(orders.payment_wf, orders.order_wf)
    order = await env.client.start("Order", workflow_id="order-1", workflow_input={"order_id": "1", "amount": 1})
    await order.send("start_payment")
    await order.result()
    await env.settle()
    assert [data["outcome"] for data in await records(env.client.handle("payment-1"), "parent_event.sent")] == [
        "dispatched"
    ]


async def test_a_charge_that_fails_fails_the_payment_and_leaves_the_order_waiting(
    orders: ModuleType, serve: Serve
) -> None:
    async def declined(amount: float) -> str:
        raise ValueError("card declined")

    orders.charge_card = declined  # type: ignore[attr-defined]
    env = await serve(orders.payment_wf, orders.order_wf)
    order = await env.client.start("Order", workflow_id="order-1", workflow_input={"order_id": "1", "amount": 1})
    await order.send("start_payment")
    with pytest.raises(RunFailedError, match=r"failed: ValueError: card declined \(.*test_orders.py:\d+ in declined\)"):
        await env.client.handle("payment-1").result()
    await env.settle()
    assert (await order.describe()).run.status == "waiting"
    assert [data["status"] for data in await records(order, "child.closed")] == ["failed"]
