"""Retries that come while what they rest on is still on its way to the disk, or goes from there."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest

from support.faults import evict
from support.waiting import until
from wfctl import (
    Context,
    Directive,
    NotFinishedError,
    RunFailedError,
    RunNotFoundError,
    Workflow,
    WorkflowAlreadyRunning,
)
from wfd.testing import WorkflowEnvironment


class Gate:
    """Lets the writer's commits through one by one. `arrived` counts those that have come to it."""

    def __init__(self, env: WorkflowEnvironment) -> None:
        self.arrived = 0
        self._permits = threading.Semaphore(0)
        self._open = False
        env.store.writer.before_commit = self._wait

    def _wait(self, number: int) -> None:
        if not self._open:
            self.arrived += 1
            assert self._permits.acquire(timeout=30)

    def pass_one(self) -> None:
        self._permits.release()

    def open(self) -> None:
        self._open = True
        self._permits.release(1_000)


async def test_a_run_that_fails_while_its_retry_waits_for_the_disk_gets_its_store_back() -> None:
    seen: list[bool] = []
    go = asyncio.Event()
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        seen.append(await ctx.store.get("tried", bool, default=False))
        ctx.store.put("tried", True)
        await go.wait()
        return ctx.next.fail("no money") if len(seen) == 1 else ctx.next.complete(seen)

    @wf.event()
    async def note(ctx: Context) -> Directive:
        return ctx.next.complete()

    async with WorkflowEnvironment([wf]) as env:
        handle = await env.client.start("W", workflow_id="w")
        await until(lambda: seen == [False])
        gate = Gate(env)
        sends = [asyncio.create_task(handle.send("note"))]
        await until(lambda: gate.arrived == 1)
        # The next commit holds this event and what the retry waits for; the one after it the step's failure.
        sends.append(asyncio.create_task(handle.send("note")))
        retry = asyncio.create_task(handle.retry())
        await until(lambda: env.engine._commits.unwritten.count == 3)
        gate.pass_one()
        await until(lambda: gate.arrived == 2)
        go.set()
        await until(lambda: env.engine.memory.get(1).run.closed)  # type: ignore[union-attr]
        gate.pass_one()
        await until(lambda: gate.arrived == 3)
        gate.open()
        retried = await retry
        await asyncio.gather(*sends)
        assert (retried.was, retried.unstored) == ("failed", ["tried"])
        assert await handle.result() == [False, False]


async def test_the_id_of_a_run_is_taken_as_soon_as_its_retry_is_decided() -> None:
    again = False
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.complete("paid") if again else ctx.next.fail("no money")

    async with WorkflowEnvironment([wf]) as env:
        handle = await env.client.start("W", workflow_id="w")
        with pytest.raises(RunFailedError):
            await handle.result()
        gate, again = Gate(env), True
        retry = asyncio.create_task(handle.retry())
        await until(lambda: gate.arrived == 1)
        start = asyncio.create_task(env.client.start("W", workflow_id="w"))
        await until(lambda: env.engine._commits.unwritten.count == 2)
        gate.open()
        with pytest.raises(WorkflowAlreadyRunning):
            await start
        await retry
        assert await handle.result() == "paid"


@pytest.mark.parametrize("from_step", [None, "1", "begin"])
@pytest.mark.parametrize("portion", [1_000, 2], ids=["whole", "in parts"])
async def test_a_retry_whose_run_is_purged_before_its_history_is_read_finds_no_run(
    monkeypatch: pytest.MonkeyPatch, portion: int, from_step: str | None
) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.now()
        return ctx.next.fail("no money")

    monkeypatch.setattr("wfd.engine.purges.PORTION_ROWS", portion)
    async with WorkflowEnvironment([wf]) as env:
        handle = await env.client.start("W", workflow_id="w")
        await env.settle()
        course, remove = env.store.reader.course, env.store.writer.remove
        begun, go_on = asyncio.Event(), asyncio.Event()
        purges: list[asyncio.Task[Any]] = []

        async def removes(removal: Any) -> Any:
            removed = await remove(removal)
            begun.set()
            await go_on.wait()
            return removed

        async def reads(*asked: Any) -> Any:
            purges.append(asyncio.create_task(env.client.purge(status="failed")))
            await begun.wait()
            rows = await course(*asked)
            asyncio.get_running_loop().call_soon(go_on.set)
            return rows

        monkeypatch.setattr(env.store.writer, "remove", removes)
        monkeypatch.setattr(env.store.reader, "course", reads)
        with pytest.raises(RunNotFoundError, match="no run"):
            await handle.retry(from_step=from_step)
        assert (await purges[0]).trees == 1


async def test_how_a_run_failed_is_not_told_of_it_any_more_once_it_was_retried_and_has_left_memory() -> None:
    failures = ["no money"]
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.fail(failures.pop()) if failures else ctx.next.wait_for_event()

    @wf.event()
    async def pay(ctx: Context) -> Directive:
        return ctx.next.complete("paid")

    async with WorkflowEnvironment([wf]) as env:
        handle = await env.client.start("W", workflow_id="w")
        with pytest.raises(RunFailedError, match="no money"):
            await handle.result()
        await evict(env)
        assert env.engine.memory.recent.get(handle.run_info.id) is not None
        await handle.retry()
        await evict(env)
        assert len(env.engine.memory) == 0
        with pytest.raises(NotFinishedError):
            await handle.result(timeout=timedelta(0))
        await handle.send("pay")
        assert await handle.result() == "paid"
