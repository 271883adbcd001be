"""Code that is taken out under what needs it: the run waits for it, and is not failed for it."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from pathlib import Path

from spec.conftest import Serve
from support.waiting import until
from wfctl import ChildOutcome, Context, Directive, Workflow
from wfd.testing import WorkflowEnvironment


def waits(workflow_type: str) -> Workflow:
    wf = Workflow(workflow_type)

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @wf.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete("done")

    return wf


def acts(gate: asyncio.Event, how: str) -> Workflow:
    wf = Workflow("Acts")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await gate.wait()
        if how == "start":
            await ctx.start("Child", "kid")
        else:
            await ctx.send("kid", "finish")
        return ctx.next.complete("did it")

    return wf


async def stuck(env: WorkflowEnvironment) -> list[str]:
    await env.settle()
    return [run.workflow_id for run in await env.client.list(status="stuck")]


async def test_a_child_whose_code_was_just_taken_out_is_started_when_it_is_back(serve: Serve) -> None:
    gate = asyncio.Event()
    acting, child = acts(gate, "start"), waits("Child")
    env = await serve(acting, child)
    handle = await env.client.start("Acts", workflow_id="a")
    await until(lambda: env.workers.running)
    env.load([acting])
    await until(lambda: not env.engine.busy)
    gate.set()
    assert await stuck(env) == ["a"]
    env.load([acting, child])
    assert await asyncio.wait_for(handle.result(), 5) == "did it"


async def test_an_event_for_a_run_whose_code_was_taken_out_waits_there_for_it_to_be_back(serve: Serve) -> None:
    gate = asyncio.Event()
    gate.set()
    acting, child = acts(gate, "send"), waits("Child")
    env = await serve(acting, child)
    receiver = await env.client.start("Child", workflow_id="kid")
    await env.settle()
    env.load([acting])
    await until(lambda: not env.engine.busy)
    handle = await env.client.start("Acts", workflow_id="a")
    assert await asyncio.wait_for(handle.result(), 5) == "did it"
    assert await stuck(env) == ["kid"]
    env.load([acting, child])
    assert await receiver.result() == "done"


# -- the specification's example, with its event handler renamed ----------------------------------------


def shop(paid: str, sends: str = "payment_completed") -> list[Workflow]:
    order, payment = Workflow("Order"), Workflow("Payment")

    @order.start()
    async def place(ctx: Context, amount: float) -> Directive:
        return ctx.next.wait_for_event()

    @order.event()
    async def start_payment(ctx: Context) -> Directive:
        await ctx.start("Payment", f"payment-{ctx.run.workflow_id}", {"amount": 3})
        return ctx.next.wait_for_event()

    @order.event(name=paid)
    async def on_payment_done(ctx: Context, txn_id: str) -> Directive:
        return ctx.next.complete(txn_id)

    @payment.start()
    async def pay(ctx: Context, amount: float) -> Directive:
        await ctx.send_to_parent(sends, {"txn_id": f"txn-{amount:.0f}"})
        return ctx.next.complete()

    return [order, payment]


async def test_orders_whose_event_handler_is_renamed_are_stuck_and_complete_when_it_is_back(serve: Serve) -> None:
    env = await serve(*shop("payment_completed"))
    orders = [await env.client.start("Order", workflow_id=f"order-{n}", workflow_input={"amount": 3}) for n in range(5)]
    other = await env.client.start("Order", workflow_id="idle", workflow_input={"amount": 3})
    env.load(shop("payment_finished"))
    for order in orders:
        await order.send("start_payment")
    assert await stuck(env) == [f"order-{n}" for n in reversed(range(5))]
    for order in orders:
        reason = (await order.describe()).run.stuck_reason or ""
        assert "'payment_completed'" in reason
        assert "put it back" in reason
    payments = await env.client.list(workflow_type="Payment")
    assert {run.status for run in payments} == {"completed"}
    assert (await other.describe()).run.status == "waiting"
    env.load(shop("payment_completed"))
    assert [await order.result() for order in orders] == ["txn-3"] * 5
    kept = [entry for entry in await orders[0].history() if entry.kind == "event.received"]
    assert len(kept) == 2


async def test_an_event_that_there_never_was_is_the_senders_mistake(serve: Serve) -> None:
    env = await serve(*shop("payment_completed", sends="payment_complete"))
    order = await env.client.start("Order", workflow_id="o", workflow_input={"amount": 3})
    await order.send("start_payment")
    await env.settle()
    payment = await env.client.handle("payment-o").describe()
    assert payment.run.status == "failed"
    assert "it has start_payment, payment_completed" in str(payment.run.error)
    assert (await order.describe()).run.status == "waiting"


async def test_what_the_code_has_known_outlives_the_daemon(tmp_path: Path) -> None:
    async with WorkflowEnvironment(shop("payment_completed"), path=tmp_path) as env:
        order = await env.client.start("Order", workflow_id="o", workflow_input={"amount": 3})
        await env.settle()
    async with WorkflowEnvironment(shop("payment_finished"), path=tmp_path) as env:
        order = env.client.handle("o")
        await order.send("start_payment")
        assert await stuck(env) == ["o"]
        env.load(shop("payment_completed"))
        assert await order.result() == "txn-3"


async def test_what_does_not_fit_the_handler_that_is_back_stays_stuck_and_says_so(serve: Serve) -> None:
    env = await serve(*shop("payment_completed"))
    order = await env.client.start("Order", workflow_id="o", workflow_input={"amount": 3})
    env.load(shop("payment_finished"))
    await order.send("start_payment")
    assert await stuck(env) == ["o"]
    other = shop("payment_completed")
    changed = Workflow("Order")
    changed.start()(place_again)
    changed.event(name="payment_completed")(wants_more)
    env.load([changed, other[1]])
    assert await stuck(env) == ["o"]
    assert "receipt" in ((await order.describe()).run.stuck_reason or "")
    env.load(shop("payment_completed"))
    assert await order.result() == "txn-3"


async def place_again(ctx: Context, amount: float) -> Directive:
    return ctx.next.wait_for_event()


async def wants_more(ctx: Context, txn_id: str, receipt: str) -> Directive:
    return ctx.next.complete(txn_id)


async def test_how_a_child_ended_while_its_parents_code_was_missing_is_told_when_it_is_back(serve: Serve) -> None:
    parent, child = Workflow("Parent"), waits("Child")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.start("Child", "kid", on_completed_step=ended)
        return ctx.next.wait_for_event(timeout=timedelta(days=1))

    @parent.step()
    async def ended(ctx: Context, kid: ChildOutcome) -> Directive:
        return ctx.next.complete(kid.result)

    env = await serve(parent, child)
    handle = await env.client.start("Parent", workflow_id="p")
    await env.settle()
    env.load([child])
    await env.client.handle("kid").send("finish")
    assert await stuck(env) == ["p"]
    assert await stuck(env) == ["p"]
    env.load([parent, child])
    assert await asyncio.wait_for(handle.result(), 5) == "done"


async def test_an_event_that_came_while_its_handler_was_missing_has_the_types_of_the_handler_that_is_back(
    serve: Serve,
) -> None:
    def receiving(*, whole: bool) -> Workflow:
        wf = waits("Receives")
        if whole:

            @wf.event()
            async def due(ctx: Context, day: date, within: timedelta) -> Directive:
                return ctx.next.complete((day + within).isoformat())

        return wf

    sender = Workflow("Sends")

    @sender.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.send("r", "due", {"day": date(2026, 2, 28), "within": timedelta(days=1)})
        return ctx.next.complete()

    env = await serve(sender, receiving(whole=True))
    handle = await env.client.start("Receives", workflow_id="r")
    await env.settle()
    env.load([sender, receiving(whole=False)])
    await env.client.start("Sends")
    assert await stuck(env) == ["r"]
    env.load([sender, receiving(whole=True)])
    assert await asyncio.wait_for(handle.result(), 5) == "2026-03-01"


async def test_a_retry_of_a_run_whose_step_was_renamed_says_that_it_is_stuck_again(serve: Serve) -> None:
    def code(name: str) -> Workflow:
        wf = Workflow("W")

        @wf.start()
        async def begin(ctx: Context) -> Directive:
            return ctx.next.step(pay)

        async def pay(ctx: Context) -> Directive:
            raise RuntimeError("no money")

        pay.__name__ = name
        wf.step()(pay)
        return wf

    env = await serve(code("pay"))
    run = await env.client.start("W", workflow_id="w")
    await env.settle()
    assert (await run.describe()).run.status == "failed"
    env.load([code("charge")])
    before = len(await run.history())
    told = await run.retry(dry_run=True)
    assert (told.handler, told.status) == ("pay", "stuck")
    assert (told.stuck_reason or "").startswith("workflow type 'W' has no step handler 'pay' any more: put it back in ")
    assert (await run.retry(dry_run=True, from_step="begin")).stuck_reason is None
    assert len(await run.history()) == before
    assert (await run.retry()).stuck_reason == told.stuck_reason
    await env.settle()
    assert await stuck(env) == ["w"]
    again = await run.retry(dry_run=True)
    assert (again.was, again.status, again.stuck_reason) == ("stuck", "stuck", told.stuck_reason)
    env.load([code("pay")])
    await env.settle()
    assert (await run.retry(dry_run=True)).stuck_reason is None
