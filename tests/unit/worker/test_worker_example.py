"""The specification's complete example, as it stands, through a worker's executor."""

from __future__ import annotations

import msgspec

from support.handlers import Desk
from wfctl import Context, Directive, Workflow
from wfctl.protocol.channel import Op, StepDone
from wfctl.values.runinfo import ParentInfo


async def charge_card(amount: float) -> str:
    return f"txn-{amount}"


# fmt: off
payment_wf = Workflow(workflow_type="Payment")
order_wf = Workflow(workflow_type="Order")
# --- Child workflow ---
@payment_wf.start()
async def payment_start(ctx: Context, amount: float) -> Directive:
    ctx.store.put("amount", amount)
    return ctx.next.step(payment_process)
@payment_wf.step()
async def payment_process(ctx: Context) -> Directive:
    amount = await ctx.store.get("amount")
    txn_id = await charge_card(amount)
    ctx.store.put("txn_id", txn_id)
    return ctx.next.step(payment_done)
@payment_wf.step()
async def payment_done(ctx: Context) -> Directive:
    txn_id = await ctx.store.get("txn_id")
    await ctx.send_to_parent("payment_completed", payload={"txn_id": txn_id})
    return ctx.next.complete(txn_id)
# --- Parent workflow ---
@order_wf.start()
async def order_start(ctx: Context, order_id: str, amount: float) -> Directive:
    ctx.store.put("order_id", order_id)
    ctx.store.put("amount", amount)
    return ctx.next.wait_for_event()
@order_wf.event()
async def start_payment(ctx: Context) -> Directive:
    amount = await ctx.store.get("amount")
    order_id = await ctx.store.get("order_id")
    await ctx.start(
        "Payment",
        workflow_id=f"payment-{order_id}",
        workflow_input={"amount": amount},
    )
    return ctx.next.wait_for_event()
@order_wf.event(name="payment_completed")
async def on_payment_done(ctx: Context, txn_id: str) -> Directive:
    ctx.store.put("txn_id", txn_id)
    return ctx.next.complete(txn_id)

# fmt: on


async def test_the_order_starts_its_payment_which_answers_with_its_transaction() -> None:
    desk = Desk(payment_wf, order_wf)
    begun = await desk.finish("start", "order_start", {"order_id": "7", "amount": 12.5})
    assert (begun.directive, begun.names) == ("wait", None)
    store = {key: msgspec.json.decode(value) for key, value in begun.put.items()}

    waiting = await desk.finish("event", "start_payment", store=store)
    assert waiting.directive == "wait"
    child = desk.ops()[0]
    assert (child.kind, child.name) == ("child", "Payment")
    args = msgspec.json.decode(child.args)
    assert (args["workflow_id"], args["input"]) == ("payment-7", {"amount": 12.5})

    parent = ParentInfo("RUN-1", "order-7", "Order")
    held: dict[str, object] = {}
    step = ("start", "payment_start", args["input"])
    while True:
        done = await desk.finish(*step, workflow_type="Payment", store=held, parent=parent)
        assert isinstance(done, StepDone), done
        held |= {key: msgspec.json.decode(value) for key, value in done.put.items()}
        if done.directive == "complete":
            break
        step = ("step", done.name, {})
    assert done.value == b'"txn-12.5"'
    answer = next(op for op in desk.sent if isinstance(op, Op) and op.kind == "parent_event")
    assert answer.name == "payment_completed"

    payload = msgspec.json.decode(answer.args)["payload"]
    done = await desk.finish("event", answer.name, payload, store=store)
    assert (done.directive, done.value, done.put) == ("complete", b'"txn-12.5"', {"txn_id": b'"txn-12.5"'})
