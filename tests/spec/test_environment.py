"""The environment for tests is as good as a daemon: time, workers and code change under it without a trace."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from spec.conftest import Serve
from support.checker import broken_promises
from support.waiting import until
from wfctl import Context, Directive, TaskTimeoutError, Workflow, task
from wfd.supervisor.steps import STEPS_PER_WORKER
from wfd.testing import WorkflowEnvironment

HOUR = timedelta(hours=1)


@dataclass
class Note:
    """A type that only a worker can check."""

    text: str


def slow(gate: asyncio.Event, said: str) -> Workflow:
    wf = Workflow("Slow")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await gate.wait()
        return ctx.next.step(tell)

    @wf.step()
    async def tell(ctx: Context) -> Directive:
        return ctx.next.complete(said)

    return wf


async def test_a_step_that_is_due_at_once_needs_no_time_to_pass(serve: Serve) -> None:
    wf = Workflow("Soon")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.step(go_on, after=timedelta(0))

    @wf.step()
    async def go_on(ctx: Context) -> Directive:
        return ctx.next.complete("here")

    env = await serve(wf)
    assert await asyncio.wait_for(env.client.run("Soon"), 5) == "here"


async def test_time_passes_at_once_for_handlers_that_only_wait_for_it_or_for_a_child(serve: Serve) -> None:
    parent, child = Workflow("Parent"), Workflow("Child")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.complete(await ctx.run_child("Child", "kid"))

    @child.start()
    async def sleep(ctx: Context) -> Directive:
        await ctx.sleep(timedelta(hours=24))
        return ctx.next.complete("slept well")

    env = await serve(parent, child)
    handle = await env.client.start("Parent")
    await asyncio.wait_for(env.advance(timedelta(hours=25)), 5)
    assert await handle.result() == "slept well"


async def test_all_that_sleep_are_through_when_the_time_has_passed_however_many_they_are(serve: Serve) -> None:
    wf, number = Workflow("Sleeper"), STEPS_PER_WORKER + 44

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.sleep(HOUR)
        return ctx.next.complete((await ctx.now()).isoformat())

    env = await serve(wf)
    handles = [await env.client.start("Sleeper") for _ in range(number)]
    end = env.now + HOUR
    await env.advance(HOUR)
    assert await env.client.count() == {"completed": number}
    assert {await handle.result() for handle in handles} == {end.isoformat()}


async def test_ages_and_log_lines_go_by_the_clock_of_the_environment(serve: Serve) -> None:
    wf = Workflow("Talker")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        ctx.logger.info("hello")
        return ctx.next.complete(None)

    env = await serve(wf)
    handle = await env.client.start("Talker", workflow_id="old")
    await handle.result()
    entries = await handle.history(logs=True)
    assert "log" in {entry.kind for entry in entries}
    assert {entry.at for entry in entries} == {round(env.now.timestamp() * 1_000)}
    await env.advance(2 * HOUR)
    await env.client.start("Talker", workflow_id="new")
    await env.advance(HOUR / 2)
    assert [run.workflow_id for run in await env.client.list(since=HOUR)] == ["new"]
    assert await env.client.count(since=HOUR) == {"completed": 1}
    assert await env.client.count(since=3 * HOUR) == {"completed": 2}


async def test_code_that_is_replaced_again_and_again_leaves_nothing_behind(serve: Serve) -> None:
    def quick() -> Workflow:
        wf = Workflow("Quick")

        @wf.start()
        def begin(ctx: Context) -> Directive:
            return ctx.next.complete(None)

        return wf

    env = await serve(quick())
    threads = threading.active_count()
    for _ in range(10):
        await env.client.run("Quick")
        env.load([quick()])
    assert env.workers._leaving == []
    await until(lambda: threading.active_count() <= threads + 1)


async def test_a_question_to_code_that_is_replaced_meanwhile_is_answered(serve: Serve) -> None:
    gate = asyncio.Event()

    def asked() -> Workflow:
        wf = Workflow("Asked")

        @wf.start()
        async def begin(ctx: Context) -> Directive:
            return ctx.next.wait_for_event()

        @wf.query()
        async def how(ctx: Context) -> str:
            await gate.wait()
            return "well"

        return wf

    env = await serve(asked())
    handle = await env.client.start("Asked")
    answer = asyncio.ensure_future(handle.query("how"))
    await until(lambda: bool(env.workers._asked))
    env.load([asked()])
    assert len(env.workers._leaving) == 1
    gate.set()
    assert await asyncio.wait_for(answer, 5) == "well"
    assert env.workers._leaving == []


async def test_a_handler_that_runs_while_the_code_is_replaced_finishes_on_the_old(serve: Serve) -> None:
    gate = asyncio.Event()
    env = await serve(slow(gate, "old"))
    handle = await env.client.start("Slow")
    await until(lambda: env.workers.running == 1)
    env.load([slow(gate, "new")])
    gate.set()
    assert await asyncio.wait_for(handle.result(), 5) == "new"
    assert env.workers.running == 0


async def test_a_worker_that_dies_after_its_code_was_replaced_loses_its_steps_too(serve: Serve) -> None:
    gate = asyncio.Event()
    env = await serve(slow(gate, "old"))
    handle = await env.client.start("Slow")
    await until(lambda: env.workers.running == 1)
    env.load([slow(gate, "new")])
    gate.set()
    env.workers.lose()
    assert await asyncio.wait_for(handle.result(), 5) == "new"
    env.workers.lose()
    assert env.workers.running == 0


async def test_many_payloads_are_checked_at_once(serve: Serve) -> None:
    wf = Workflow("Notes")

    @wf.start()
    async def begin(ctx: Context, note: Note) -> Directive:
        return ctx.next.complete(note.text)

    env = await serve(wf)
    texts = [f"note {number}" for number in range(50)]
    said = await asyncio.gather(*(env.client.run("Notes", workflow_input={"note": {"text": text}}) for text in texts))
    assert said == texts


async def test_a_second_environment_goes_on_with_the_database_of_the_first(tmp_path: Path) -> None:
    gate = asyncio.Event()
    gate.set()
    for round in range(3):
        async with WorkflowEnvironment([slow(gate, "said")], path=tmp_path / "state") as env:
            handles = [await env.client.start("Slow", workflow_id=f"{round}-{number}") for number in range(3)]
            for handle in handles:
                assert await handle.result() == "said"
        assert broken_promises(env.store.path) == []


@pytest.mark.parametrize("kind", ["coroutine", "coroutine in a thread", "thread"])
async def test_a_task_that_waits_for_ever_is_over_when_the_clock_says_so(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    wf, gate = Workflow("Waits"), threading.Event()

    @task(timeout=timedelta(hours=1))
    async def coroutine() -> None:
        await asyncio.Event().wait()

    @task(timeout=timedelta(hours=1))
    def thread() -> None:
        gate.wait(30)

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await immediate()
        return ctx.next.step(plain if kind == "coroutine in a thread" else patient)

    @wf.step()
    async def patient(ctx: Context) -> Directive:
        try:
            await (coroutine() if kind == "coroutine" else thread())  # type: ignore[func-returns-value]
        except TaskTimeoutError:
            return ctx.next.complete("given up")
        return ctx.next.complete("ended")

    @wf.step()
    def plain(ctx: Context) -> Directive:
        try:
            coroutine()  # type: ignore[unused-coroutine]
        except TaskTimeoutError:
            return ctx.next.complete("given up")
        return ctx.next.complete("ended")

    if kind == "thread":  # nobody knows that it never returns
        monkeypatch.setattr("wfd.testing.PATIENCE_S", 0.05)
    env = await serve(wf)
    handle = await env.client.start("Waits")
    await asyncio.wait_for(env.advance(timedelta(minutes=59)), 5)
    assert (await handle.describe()).run.status == "running"
    await asyncio.wait_for(env.advance(timedelta(minutes=2)), 5)
    assert await handle.result(timeout=timedelta(seconds=20)) == "given up"
    gate.set()
    assert env.clock.next_due_ms() is None


@task
async def immediate() -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize("daemon", ["goes on", "begins anew"])
async def test_a_step_that_is_repeated_logs_what_it_has_not_logged_before(tmp_path: Path, daemon: str) -> None:
    executions = 0

    def code() -> Workflow:
        wf = Workflow("Logs")

        @task
        async def work() -> None:
            ctx_logger.info("in the task")

        @wf.start()
        async def begin(ctx: Context) -> Directive:
            nonlocal executions, ctx_logger
            executions, ctx_logger = executions + 1, ctx.logger
            if executions > 1:
                ctx.logger.info("resuming")
            await work()
            ctx.logger.info("after it")
            await ctx.sleep(timedelta(hours=1))
            ctx.logger.info("new")
            return ctx.next.complete()

        return wf

    ctx_logger = logging.getLogger()
    async with WorkflowEnvironment([code()], path=tmp_path) as env:
        await env.client.start("Logs", workflow_id="w")
        await env.settle()
        if daemon == "goes on":
            await env.crash()
            await env.advance(timedelta(hours=1))
        now = env.now
    async with WorkflowEnvironment([code()], path=tmp_path, now=now) as env:
        await env.advance(timedelta(hours=1))
        history = await env.client.handle("w").history(logs=True)
        lines = [entry.data["message"] for entry in history if entry.kind == "log"]
    assert executions == 2
    assert lines == ["in the task", "after it", "resuming", "new"]
