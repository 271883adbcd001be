"""What a parent does with the handle of a child: all of it is of that very run."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from spec.conftest import Serve
from support.history import kinds, records
from wfctl import (
    ChildHandle,
    ChildOutcome,
    Context,
    Directive,
    InvalidArgumentError,
    RunCancelledError,
    RunClosedError,
    RunFailedError,
    RunTerminatedError,
    Status,
    Workflow,
    WorkflowHandle,
)


def kid(cleaned: list[str] | None = None) -> Workflow:
    child = Workflow("Kid")

    @child.start()
    async def begin(ctx: Context, patient: bool = False) -> Directive:
        if not patient:
            return ctx.next.wait_for_event()
        try:
            await ctx.sleep(timedelta(hours=1))
        except asyncio.CancelledError:
            if cleaned is not None:
                cleaned.append(ctx.run.workflow_id)
            raise
        return ctx.next.complete()

    @child.event()
    async def note(ctx: Context, text: str) -> Directive:
        ctx.store.put("note", text)
        return ctx.next.wait_for_event()

    @child.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete("done")

    return child


@pytest.mark.parametrize("plain", [False, True], ids=["async", "plain"])
async def test_a_parent_ends_its_children_and_reads_why(serve: Serve, plain: bool) -> None:
    parent = Workflow("Parent")

    async def asynchronous(ctx: Context) -> Directive:
        handles = [await ctx.start("Kid", f"kid-{n}", {"patient": n == 0}) for n in range(2)]
        await handles[0].cancel("too late")
        await handles[1].terminate("no use")
        for handle, error in zip(handles, (RunCancelledError, RunTerminatedError), strict=True):
            with pytest.raises(error, match=r"too late|no use"):
                await handle.result()
            # A second time is no error, and changes nothing.
            await handle.cancel("again")
            await handle.terminate("again")
        return ctx.next.complete("both ended")

    def blocking(ctx: Any) -> Directive:
        handles = [ctx.start("Kid", f"kid-{n}", {"patient": n == 0}) for n in range(2)]
        handles[0].cancel("too late")
        handles[1].terminate("no use")
        for handle, error in zip(handles, (RunCancelledError, RunTerminatedError), strict=True):
            with pytest.raises(error, match=r"too late|no use"):
                handle.result()
        return ctx.next.complete("both ended")

    parent.start()(blocking if plain else asynchronous)
    cleaned: list[str] = []
    env = await serve(parent, kid(cleaned))
    run = await env.client.start("Parent", workflow_id="p")
    assert await run.result() == "both ended"
    ended = [(await env.client.handle(f"kid-{n}").describe()).run.status for n in range(2)]
    assert (ended, cleaned) == ([Status.CANCELLED, Status.TERMINATED], ["kid-0"])
    assert [one["reason"] for one in await records(env.client.handle("kid-0"), "run.cancel_requested")] == ["too late"]
    assert "operation.refused" not in await kinds(run)


async def test_a_step_that_runs_again_asks_again_for_the_end_of_a_child_that_has_closed(serve: Serve) -> None:
    parent = Workflow("Parent")
    executions: list[int] = []

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        executions.append(ctx.run.attempt)
        handle = await ctx.start("Kid", "kid")
        await handle.terminate("first")
        await ctx.sleep(timedelta(minutes=1))
        return ctx.next.complete()

    env = await serve(parent, kid())
    run = await env.client.start("Parent", workflow_id="p")
    await env.settle()
    await env.crash()
    await env.advance(timedelta(minutes=2))
    assert (await run.describe()).run.status == Status.COMPLETED
    assert executions == [1, 2]
    assert [one["reason"] for one in await records(env.client.handle("kid"), "run.terminated")] == ["first"]


async def test_an_event_by_a_handle_never_reaches_another_run_of_that_id(serve: Serve) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.start("Kid", "kid")
        return ctx.next.wait_for_event()

    @parent.event()
    async def go(ctx: Context) -> Directive:
        handle = await ctx.start("Kid", "kid")
        await handle.send("note", {"text": "for my own"})
        return ctx.next.complete()

    env = await serve(parent, kid())
    run = await env.client.start("Parent", workflow_id="p")
    await env.settle()
    await env.client.handle("kid").send("finish")
    await env.settle()
    stranger = await env.client.start("Kid", workflow_id="kid")
    await run.send("go")
    with pytest.raises(RunFailedError, match=RunClosedError.__name__):
        await run.result()
    assert (await stranger.describe()).store == {}


@pytest.mark.parametrize(
    "second", [{"on_completed_step": "heard"}, {"on_parent_close": "terminate"}], ids=["step", "close"]
)
async def test_a_child_that_was_started_otherwise_is_not_what_is_asked_for(
    serve: Serve, second: dict[str, Any]
) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.start("Kid", "kid", on_parent_close="cancel")
        with pytest.raises(InvalidArgumentError, match="'kid' was started before with"):
            await ctx.start("Kid", "kid", **second)
        # Who says nothing of it takes it as it is.
        await ctx.start("Kid", "kid")
        await ctx.start("Kid", "kid", on_parent_close="cancel")
        return ctx.next.complete("refused")

    @parent.step()
    async def heard(ctx: Context, outcome: ChildOutcome[None]) -> Directive:
        return ctx.next.complete(outcome.status)

    env = await serve(parent, kid())
    assert await (await env.client.start("Parent", workflow_id="p")).result() == "refused"
    assert len(await env.client.list(workflow_type="Kid")) == 1


async def test_every_handle_is_a_workflow_handle(serve: Serve) -> None:
    parent = Workflow("Parent")
    seen: list[WorkflowHandle] = []

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        seen.append(await ctx.start("Kid", "kid"))
        return ctx.next.complete()

    env = await serve(parent, kid())
    seen.append(await env.client.start("Parent", workflow_id="p"))
    await env.settle()
    assert all(isinstance(one, WorkflowHandle) for one in seen)
    assert [type(one) is ChildHandle for one in seen] == [False, True]
    assert [one.workflow_id for one in seen] == ["p", "kid"]


@pytest.mark.parametrize("asks", [Context.start, Context.run_child])
async def test_an_id_that_stands_for_another_type_or_input_is_refused_with_both(serve: Serve, asks: Any) -> None:
    parent, quote, payment = Workflow("Parent"), Workflow("Quote"), Workflow("Payment")

    @quote.start()
    async def quoted(ctx: Context, amounts: set[int]) -> Directive:
        return ctx.next.complete(sum(amounts))

    @payment.start()
    async def paid(ctx: Context, amounts: set[int]) -> Directive:
        raise AssertionError

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        await asks(ctx, "Quote", "order-1", {"amounts": [1, 2]})
        with pytest.raises(InvalidArgumentError, match="started before as 'Quote', and not as 'Payment'"):
            await asks(ctx, "Payment", "order-1", {"amounts": [1, 2]})
        with pytest.raises(
            InvalidArgumentError, match=r'with {"amounts":\[1,2\]}, and not with input {"amounts":\[3\]}'
        ):
            await asks(ctx, "Quote", "order-1", {"amounts": [3]})
        # Two processes may write one set differently.
        return ctx.next.complete(await ctx.run_child("Quote", "order-1", {"amounts": [2, 1]}))

    env = await serve(parent, quote, payment)
    run = await env.client.start("Parent", workflow_id="p")
    assert await run.result() == 3
    assert len(await env.client.list(workflow_type="Payment")) == 0


async def test_a_child_whose_end_was_told_is_not_started_to_be_told_again(serve: Serve) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        child = await ctx.start("Kid", "kid", {"patient": True}, on_completed_step=heard)
        await child.result()
        # It has closed, but that is still to be told.
        await ctx.start("Kid", "kid", {"patient": True}, on_completed_step=heard)
        return ctx.next.wait_for_event(timeout=timedelta(hours=1))

    @parent.step()
    async def heard(ctx: Context, outcome: ChildOutcome[None]) -> Directive:
        await ctx.run_child("Kid", "kid", {"patient": True})
        with pytest.raises(
            InvalidArgumentError, match=r"'kid' has closed \(completed\), and step 'heard' has been told"
        ):
            await ctx.start("Kid", "kid", {"patient": True}, on_completed_step=heard)
        return ctx.next.complete(outcome.status)

    env = await serve(parent, kid())
    run = await env.client.start("Parent", workflow_id="p")
    await env.advance(timedelta(hours=1))
    assert await run.result() == "completed"
