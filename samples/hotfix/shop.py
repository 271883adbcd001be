"""A failing payment, repaired while it is live.

An order charges the card, which works, and then books the payment, which does not: `book` has a bug. So the run fails, with
the card charged. Nobody has to give the money back and begin again:

    wfctl up
    wfctl start Order --id order-1 customer="Ann Lee" amount=30 --wait     # failed: ValueError ...
    wfctl history order-1                                                  # the charge is recorded, the booking failed

Correct the line marked BUG below (`fields = customer.split()`) and save the file: the daemon loads it beside the old code. Then

    wfctl retry order-1 --wait

goes on at the step that failed. The recorded charge is returned and not made again, only the booking is done: charges.txt, this
shop's card company, has one line. `wfctl retry order-1 --dry-run` tells beforehand what is kept.
"""

from pathlib import Path

from wfctl import Context, Directive, Workflow, current_task, task

CHARGES = Path(__file__).with_name("charges.txt")

order_wf = Workflow(workflow_type="Order")


@task
def charge(customer: str, amount: int) -> str:
    with CHARGES.open("a") as charges:
        charges.write(f"{customer} pays {amount} ({current_task().idempotency_key})\n")
    return f"txn-{amount}"


@task
def book(customer: str, transaction: str) -> str:
    fields = customer.split(",")  # BUG: names come with a blank
    first, last = fields
    return f"{last}, {first}: {transaction}"


@order_wf.start()
async def take_order(ctx: Context, customer: str, amount: int) -> Directive:
    ctx.store.put("customer", customer)
    ctx.store.put("amount", amount)
    return ctx.next.step(pay)


@order_wf.step()
async def pay(ctx: Context) -> Directive:
    customer = await ctx.store.get("customer", str)
    transaction = await charge(customer, await ctx.store.get("amount", int))
    ctx.store.put("booked", await book(customer, transaction))
    return ctx.next.complete(transaction)
