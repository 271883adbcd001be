"""What the workers are told of a step: whose code it runs, and when."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from support.waiting import until
from wfctl import Context, Directive, Workflow
from wfctl.protocol import calls, channel
from wfd.engine.commands import Commands
from wfd.engine.retries import Retries
from wfd.supervisor import Handler, StepOrder
from wfd.testing import WorkflowEnvironment


async def test_an_order_names_the_handler_and_the_instant_goes_with_it_and_with_each_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wf = Workflow("Two")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.step(goes_on, after=timedelta(hours=1))

    @wf.step()
    async def goes_on(ctx: Context) -> Directive:
        await ctx.now()
        return ctx.next.complete()

    async with WorkflowEnvironment([wf]) as env:
        run, answer = env.workers.run, env.workers.answer
        told: list[tuple[Any, int | None]] = []

        def runs(order: StepOrder, now: int | None = None) -> None:
            told.append(((order.handler.workflow_type, order.handler.name), now))
            run(order, now)

        def answers(message: channel.OpDone, now: int | None = None) -> None:
            told.append((message.op, now))
            answer(message, now)

        monkeypatch.setattr(env.workers, "run", runs)
        monkeypatch.setattr(env.workers, "answer", answers)
        began = env.clock.now_ms()
        await env.client.start("Two")
        await env.advance(timedelta(hours=1))
        later = env.clock.now_ms()
        assert told == [(("Two", "begin"), began), (("Two", "goes_on"), later), (1, later)]


async def test_what_is_known_of_a_handler_outlives_its_runs_and_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def code() -> Workflow:
        wf = Workflow("One")

        @wf.start()
        async def begin(ctx: Context) -> Directive:
            return ctx.next.complete()

        return wf

    async with WorkflowEnvironment([code()]) as env:
        run, handlers = env.workers.run, list[Handler]()

        def runs(order: StepOrder, now: int | None = None) -> None:
            handlers.append(order.handler)
            run(order, now)

        monkeypatch.setattr(env.workers, "run", runs)
        await env.client.run("One")
        await env.client.run("One")
        env.load([code()])
        await env.client.run("One")
        first, *others = handlers
        assert len(others) == 2
        assert all(other is first for other in others)
        assert first.brief


async def test_the_store_of_a_run_that_went_back_is_told_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    wf = Workflow("Back")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        ctx.store.put("kept", {"by": ["begin"]})
        return ctx.next.step(changes)

    @wf.step()
    async def changes(ctx: Context) -> Directive:
        ctx.store.put("kept", "changed")
        return ctx.next.step(fails)

    @wf.step()
    async def fails(ctx: Context) -> Directive:
        raise ValueError("no")

    async with WorkflowEnvironment([wf]) as env:
        await env.client.start("Back", workflow_id="b")
        await env.settle()
        run, told = env.workers.run, list[bytes]()

        def runs(order: StepOrder, now: int | None = None) -> None:
            told.append(msgspec.msgpack.encode(order.message))
            run(order, now)

        monkeypatch.setattr(env.workers, "run", runs)
        await Retries(env.engine, Commands(env.engine)).retry(calls.Retry(id="b", from_step="changes"))
        await env.settle()
        stores = [msgspec.msgpack.decode(frame, type=channel.RunStep).store for frame in told]
        assert stores == [{"kept": b'{"by":["begin"]}'}, {"kept": b'"changed"'}]


async def test_a_step_that_begins_again_is_told_what_it_has_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    wf, never = Workflow("Logs"), asyncio.Event()

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        ctx.logger.info("trying")
        await never.wait()
        return ctx.next.complete()

    async with WorkflowEnvironment([wf]) as env:
        run, logged = env.workers.run, list[bytes]()

        def runs(order: StepOrder, now: int | None = None) -> None:
            logged.append(order.message.logged)
            run(order, now)

        monkeypatch.setattr(env.workers, "run", runs)
        await env.client.start("Logs")
        live = env.engine.memory.get(1)
        assert live is not None
        await until(lambda: bool(live.logged))
        assert live.token is not None
        marks = bytes(live.logged)
        env.engine.lost([live.token], "it was too slow", False)
        await until(lambda: len(logged) == 2)
        assert logged == [b"", marks]
