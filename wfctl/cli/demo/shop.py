"""The shop of `wfctl demo`: the bank answers the second time it is asked, and the label of the parcel meets a bug."""

import asyncio
from datetime import timedelta

from wfctl import Context, Directive, RetryPolicy, Workflow, current_task, task

order_wf = Workflow("Order")
payment_wf = Workflow("Payment")


@task(retry=RetryPolicy(attempts=5, delay=timedelta(seconds=1)))
async def charge_card(amount: float) -> str:
    await asyncio.sleep(0.4)
    if current_task().attempt == 1:
        raise ConnectionError("the bank does not answer")
    return f"txn-{amount:.0f}"


@task
async def print_label(customer: str) -> str:
    first, last = customer.split(",")
    return f"{last}, {first}"


@order_wf.start()
async def take_order(ctx: Context, customer: str, amount: float) -> Directive:
    ctx.store.put("customer", customer)
    ctx.store.put("amount", amount)
    return ctx.next.wait_for_event("pay", timeout=timedelta(days=3))


@order_wf.event()
async def pay(ctx: Context) -> Directive:
    amount = await ctx.store.get("amount", float)
    await ctx.start("Payment", workflow_id=f"payment-{ctx.run.workflow_id}", workflow_input={"amount": amount})
    return ctx.next.wait_for_event("paid")


@order_wf.event()
async def paid(ctx: Context, txn_id: str) -> Directive:
    ctx.store.put("txn_id", txn_id)
    return ctx.next.step(ship)


@order_wf.step()
async def ship(ctx: Context) -> Directive:
    label = await print_label(await ctx.store.get("customer", str))
    return ctx.next.complete(f"{await ctx.store.get('txn_id', str)}, shipped to {label}")


@payment_wf.start()
async def charge(ctx: Context, amount: float) -> Directive:
    txn_id = await charge_card(amount)
    await ctx.send_to_parent("paid", {"txn_id": txn_id})
    return ctx.next.complete(txn_id)
