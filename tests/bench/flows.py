"""What the benchmarks run. The unit of work: an Order starts a Payment, whose three steps, the second with a recorded task, end
in an event that completes the Order. Besides: runs that wait, one that tells which code it ran on, and one
with as many children as are asked for."""

import asyncio

from wfctl import Context, Directive, Workflow, task

VERSION = 0

payment = Workflow(workflow_type="Payment")
order = Workflow(workflow_type="Order")
waiter = Workflow(workflow_type="Waiter")
version = Workflow(workflow_type="Version")
family = Workflow(workflow_type="Family")
leaf = Workflow(workflow_type="Leaf")


@task
async def charge(amount: float) -> str:
    return "txn-1"


@payment.start()
async def begin(ctx: Context, amount: float) -> Directive:
    ctx.store.put("amount", amount)
    return ctx.next.step(process)


@payment.step()
async def process(ctx: Context) -> Directive:
    txn_id = await charge(await ctx.store.get("amount"))
    ctx.store.put("txn_id", txn_id)
    return ctx.next.step(done)


@payment.step()
async def done(ctx: Context) -> Directive:
    txn_id = await ctx.store.get("txn_id")
    await ctx.send_to_parent("paid", {"txn_id": txn_id})
    return ctx.next.complete(txn_id)


@order.start()
async def place(ctx: Context, order_id: str, amount: float) -> Directive:
    ctx.store.put("order_id", order_id)
    ctx.store.put("amount", amount)
    await ctx.start("Payment", workflow_id=f"payment-{order_id}", workflow_input={"amount": amount})
    return ctx.next.wait_for_event()


@order.event()
async def paid(ctx: Context, txn_id: str) -> Directive:
    ctx.store.put("txn_id", txn_id)
    return ctx.next.complete(txn_id)


@waiter.start()
async def wait(ctx: Context) -> Directive:
    return ctx.next.wait_for_event()


@waiter.event()
async def go(ctx: Context) -> Directive:
    return ctx.next.complete()


@version.start()
async def tell(ctx: Context) -> Directive:
    return ctx.next.complete(VERSION)


@family.start()
async def grow(ctx: Context, children: int) -> Directive:
    for first in range(0, children, 200):
        numbers = range(first, min(first + 200, children))
        await asyncio.gather(*(ctx.start("Leaf", workflow_id=f"{ctx.run.workflow_id}-{number}") for number in numbers))
    return ctx.next.complete()


@leaf.start()
async def fall(ctx: Context) -> Directive:
    return ctx.next.complete()
