"""A disk that fails under the engine: who asks is told so, nothing acknowledged is lost, and it goes on from the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from support.checker import broken_promises
from support.faults import Disk, evict

from wfctl import Context, Directive, StorageError, Workflow
from wfd.testing import WorkflowEnvironment


def waits() -> Workflow:
    wf = Workflow("Waits")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @wf.event()
    async def more(ctx: Context) -> Directive:
        ctx.store.put("count", await ctx.store.get("count", int, default=0) + 1)
        return ctx.next.wait_for_event()

    @wf.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete(await ctx.store.get("count", int, default=0))

    return wf


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def test_every_kind_of_command_gets_the_storage_error_and_succeeds_afterwards(stack: AsyncExitStack) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    disk = Disk(env)
    kept = await env.client.start("Waits", workflow_id="kept")
    await kept.send("more")
    await env.settle()
    waiting = asyncio.ensure_future(kept.result())
    await asyncio.sleep(0.01)
    for ask in (
        lambda: env.client.start("Waits", workflow_id="lost"),
        lambda: kept.send("more"),
        lambda: kept.cancel(),
        lambda: kept.terminate(),
    ):
        disk.fail()
        with pytest.raises(StorageError):
            await ask()
        with pytest.raises(StorageError):
            await ask()
        await disk.heal()
    with pytest.raises(StorageError):
        await waiting
    assert await env.client.list(workflow_type="Waits", status="waiting") != []
    lost = await env.client.start("Waits", workflow_id="lost")
    await kept.send("more")
    await kept.send("finish")
    assert await kept.result() == 2
    await lost.terminate()
    await env.settle()
    assert broken_promises(env.store.path) == []


async def test_a_command_that_reads_its_run_when_the_disk_fails_gets_the_storage_error(stack: AsyncExitStack) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    disk = Disk(env)
    kept = await env.client.start("Waits", workflow_id="kept")
    await evict(env)
    reading, go_on = asyncio.Event(), asyncio.Event()
    load_run = env.store.reader.load_run

    async def slow(key: int) -> object:
        reading.set()
        await go_on.wait()
        return await load_run(key)

    env.store.reader.load_run = slow  # type: ignore[method-assign, assignment]
    sending = asyncio.ensure_future(kept.send("more"))
    await reading.wait()
    disk.fail()
    with pytest.raises(StorageError):
        await env.client.start("Waits", workflow_id="other")
    go_on.set()
    with pytest.raises(StorageError):
        await sending
    await disk.heal()
    await kept.send("finish")
    assert await kept.result() == 0


async def test_a_command_in_the_middle_of_the_return_is_not_built_on_what_was_lost(stack: AsyncExitStack) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    disk = Disk(env)
    await env.client.start("Waits", workflow_id="kept")
    await env.settle()
    disk.fail()
    with pytest.raises(StorageError):
        await env.client.start("Waits", workflow_id="x")
    answers: list[object] = []
    reads = ("open_workflow_ids", "max_key", "max_rev", "recoverable")

    def between(name: str) -> None:
        read = getattr(env.store.reader, name)

        async def hooked() -> object:
            found = await read()
            for workflow_id in ("x", f"y-{name}"):
                try:
                    answers.append(await env.client.start("Waits", workflow_id=workflow_id))
                except Exception as error:
                    answers.append(error)
            return found

        setattr(env.store.reader, name, hooked)

    for name in reads:
        between(name)
    await disk.heal()
    await env.settle()
    assert env.engine.failure is None
    started = [answer for answer in answers if not isinstance(answer, Exception)]
    assert all(isinstance(answer, StorageError) for answer in answers if isinstance(answer, Exception)), answers
    for handle in started:
        assert (await handle.describe()).run.status == "waiting"  # type: ignore[attr-defined]
    await env.client.start("Waits", workflow_id="z")
    assert broken_promises(env.store.path) == []
