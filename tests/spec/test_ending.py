"""Timeouts, cancellation and termination: what a handler gets to do, and what becomes of the run."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from spec.conftest import Serve
from support.history import kinds
from support.waiting import until
from wfctl import (
    Context,
    Directive,
    RunCancelledError,
    RunFailedError,
    RunTerminatedError,
    RunTimedOutError,
    StaleStepError,
    Workflow,
)


class Worker:
    """A workflow whose handler runs until it is ended, and what it noticed."""

    def __init__(self, *, timeout: timedelta | None = None, clean_up: str = "raise") -> None:
        self.notes: list[str] = []
        self.wf = Workflow("Busy")
        notes = self.notes

        @self.wf.start()
        async def begin(ctx: Context) -> Directive:
            return ctx.next.step(work)

        @self.wf.step(timeout=timeout)
        async def work(ctx: Context) -> Directive:
            notes.append("began")
            ctx.store.put("seen", len(notes))
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                notes.append("cleaned up")
                if clean_up == "complete":
                    return ctx.next.complete("in time")
                if clean_up == "step":
                    return ctx.next.step(work)
                if clean_up == "fail":
                    raise ValueError("clean-up failed") from None
                raise
            raise AssertionError

        @self.wf.event()
        async def wait(ctx: Context) -> Directive:
            return ctx.next.wait_for_event()


async def test_cancel_reaches_the_handler_so_that_it_can_clean_up(serve: Serve) -> None:
    busy = Worker()
    env = await serve(busy.wf)
    handle = await env.client.start("Busy")
    await until(lambda: busy.notes)
    await handle.cancel(reason="changed my mind")
    with pytest.raises(RunCancelledError, match="changed my mind"):
        await handle.result()
    assert busy.notes == ["began", "cleaned up"]
    assert (await kinds(handle))[-3:] == ["run.cancel_requested", "step.interrupted", "run.cancelled"]
    assert (await handle.describe()).store == {}


async def test_a_handler_that_completes_in_its_clean_up_has_completed(serve: Serve) -> None:
    busy = Worker(clean_up="complete")
    env = await serve(busy.wf)
    handle = await env.client.start("Busy")
    await until(lambda: busy.notes)
    await handle.cancel()
    assert await handle.result() == "in time"


async def test_a_handler_that_goes_on_in_its_clean_up_keeps_its_writes_and_is_cancelled(serve: Serve) -> None:
    busy = Worker(clean_up="step")
    env = await serve(busy.wf)
    handle = await env.client.start("Busy")
    await until(lambda: busy.notes)
    await handle.cancel()
    with pytest.raises(RunCancelledError):
        await handle.result()
    assert busy.notes == ["began", "cleaned up"]
    assert (await handle.describe()).store == {"seen": 1}


async def test_a_clean_up_that_raises_fails_the_run(serve: Serve) -> None:
    busy = Worker(clean_up="fail")
    env = await serve(busy.wf)
    handle = await env.client.start("Busy")
    await until(lambda: busy.notes)
    await handle.cancel()
    with pytest.raises(RunFailedError, match="clean-up failed"):
        await handle.result()


async def test_a_waiting_run_is_cancelled_at_once_and_twice_is_a_no_op(serve: Serve) -> None:
    wf = Workflow("Waits")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @wf.event()
    async def go_on(ctx: Context) -> Directive:
        return ctx.next.complete()

    env = await serve(wf)
    handle = await env.client.start("Waits")
    await env.settle()
    first = await handle.cancel()
    second = await handle.cancel()
    assert (first.status, first.changed, second.status, second.changed) == ("cancelled", True, "cancelled", False)


async def test_a_cancelled_handler_whose_worker_dies_is_cancelled_in_its_next_execution(serve: Serve) -> None:
    hold = asyncio.Event()
    wf, notes = Workflow("Slow"), []

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        notes.append("began")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            notes.append("cleaning")
            await hold.wait()
            notes.append("cleaned")
            raise
        raise AssertionError

    env = await serve(wf)
    handle = await env.client.start("Slow")
    await until(lambda: notes)
    await handle.cancel()
    await until(lambda: "cleaning" in notes)
    hold.set()
    env.workers.lose()
    with pytest.raises(RunCancelledError):
        await handle.result()
    assert notes.count("began") == 2


async def test_terminate_does_not_ask(serve: Serve) -> None:
    busy = Worker(clean_up="complete")
    env = await serve(busy.wf)
    handle = await env.client.start("Busy")
    await until(lambda: busy.notes)
    changed = await handle.terminate(reason="stop it")
    assert changed.status == "terminated"
    with pytest.raises(RunTerminatedError, match="stop it"):
        await handle.result()
    await env.settle()
    assert (await kinds(handle))[-1] == "run.terminated"


async def test_a_terminated_handler_may_clean_up_but_whatever_it_asks_for_is_refused(serve: Serve) -> None:
    wf, notes = Workflow("Busy"), []

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        notes.append("began")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ctx.store.put("seen", 1)
            await asyncio.sleep(0)
            try:
                await ctx.now()
            except StaleStepError as refused:
                notes.append(f"refused: {refused.hint}")
        finally:
            notes.append("finally")
        return ctx.next.complete("too late")

    env = await serve(wf)
    handle = await env.client.start("Busy")
    await until(lambda: notes)
    await handle.terminate()
    await until(lambda: "finally" in notes)
    assert notes == ["began", "refused: await every operation before returning", "finally"]
    await env.settle()
    assert (await kinds(handle))[-1] == "run.terminated"
    assert (await handle.describe()).store == {}


async def test_what_a_cancelled_handler_writes_is_dropped_where_it_lets_the_exception_out(serve: Serve) -> None:
    wf, notes = Workflow("Busy"), []

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        notes.append("began")
        try:
            await asyncio.Event().wait()
        finally:
            ctx.store.put("seen", 1)
        raise AssertionError

    env = await serve(wf)
    handle = await env.client.start("Busy")
    await until(lambda: notes)
    await handle.cancel()
    with pytest.raises(RunCancelledError):
        await handle.result()
    assert (await handle.describe()).store == {}


async def test_a_step_that_takes_too_long_is_cancelled_and_fails_the_run(serve: Serve) -> None:
    busy = Worker(timeout=timedelta(seconds=10), clean_up="complete")
    env = await serve(busy.wf)
    handle = await env.client.start("Busy")
    await until(lambda: busy.notes)
    # The handler never settles by itself, so time is moved without waiting for it.
    env.clock.advance(9_999)
    assert busy.notes == ["began"]
    env.clock.advance(1)
    with pytest.raises(RunFailedError, match=r"10\.0s"):
        await handle.result()
    await until(lambda: "cleaned up" in busy.notes)
    await env.settle()
    assert (await kinds(handle))[-2:] == ["step.timed_out", "run.failed"]


async def test_a_run_that_takes_too_long_is_timed_out_in_the_middle_of_a_step(serve: Serve) -> None:
    busy = Worker(clean_up="complete")
    env = await serve(busy.wf)
    handle = await env.client.start("Busy", workflow_timeout=timedelta(minutes=1))
    await until(lambda: busy.notes)
    env.clock.advance(60_000)
    with pytest.raises(RunTimedOutError, match="1m"):
        await handle.result()
    await until(lambda: "cleaned up" in busy.notes)
