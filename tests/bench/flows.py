"""What the benchmarks run. The unit of work: an Order starts a Payment, whose three steps, the second with a recorded task, end
in an event that completes the Order. Besides: runs that wait, that sleep, that fail, that have many children, and one that tells
which code it ran on."""

import asyncio
from datetime import timedelta

from wfctl import ChildOutcome, Context, Directive, Workflow, task

VERSION = 0

payment = Workflow(workflow_type="Payment")
order = Workflow(workflow_type="Order")
waiter = Workflow(workflow_type="Waiter")
nap = Workflow(workflow_type="Nap")
broken = Workflow(workflow_type="Broken")
parent = Workflow(workflow_type="Parent")
fan = Workflow(workflow_type="Fan")
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
async def wait(ctx: Context, days: int = 0) -> Directive:
    return ctx.next.wait_for_event(timeout=timedelta(days=days) if days else None)


@waiter.event()
async def go(ctx: Context) -> Directive:
    return ctx.next.complete()


@waiter.event()
async def poke(ctx: Context) -> Directive:
    return ctx.next.wait_for_event()


@nap.start()
async def rest(ctx: Context, days: int) -> Directive:
    return ctx.next.step(rested, after=timedelta(days=days))


@nap.step()
async def rested(ctx: Context) -> Directive:
    return ctx.next.complete()


@broken.start()
async def breaks(ctx: Context) -> Directive:
    raise ValueError("card 4242 was declined")


@parent.start()
async def delegate(ctx: Context) -> Directive:
    await ctx.start("Waiter", workflow_id=f"{ctx.run.workflow_id}-child")
    return ctx.next.wait_for_event()


@parent.event()
async def answered(ctx: Context) -> Directive:
    return ctx.next.complete()


@fan.start()
async def spread(ctx: Context, children: int) -> Directive:
    ctx.store.put("open", children)
    name = ctx.run.workflow_id
    await asyncio.gather(
        *(ctx.start("Leaf", workflow_id=f"{name}-{number}", on_completed_step=gather) for number in range(children))
    )
    return ctx.next.wait_for_event()


@fan.event()
async def enough(ctx: Context) -> Directive:
    return ctx.next.complete()


@fan.step()
async def gather(ctx: Context, outcome: ChildOutcome[None]) -> Directive:
    left = await ctx.store.get("open") - 1
    ctx.store.put("open", left)
    return ctx.next.wait_for_event() if left else ctx.next.complete()


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
