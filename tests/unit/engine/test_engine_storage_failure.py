"""A disk that fails under the engine: who asks is told so, nothing acknowledged is lost, and it goes on from the disk."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from support.checker import broken_promises
from support.faults import Disk, evict, until_healthy
from support.waiting import a_moment, until, until_async
from wfctl import Context, Directive, StorageError, WfctlError, Workflow
from wfd.core import stimuli as s
from wfd.core.state import Raw
from wfd.engine import commits
from wfd.engine.engine import RETRY_STORAGE_MS, WELL_AFTER_MS
from wfd.testing import WorkflowEnvironment


@dataclass
class Note:
    """A type that only a worker can check."""

    text: str


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
    await a_moment(0.01)
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


async def test_a_disk_that_fails_again_in_the_return_ends_it_and_who_waits_for_schedules_is_told(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    disk = Disk(env)
    await env.client.schedules.create("kept", "Waits", every=timedelta(hours=1))
    returning, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        returning.set()
        await go_on.wait()

    with monkeypatch.context() as patched:
        patched.setattr(env.engine.code, "resume_stuck", slow)
        disk.fail()
        with pytest.raises(StorageError):
            await env.client.start("Waits", workflow_id="x")
        disk.work()
        await until(lambda: (env.clock.advance(1_000), returning.is_set())[1])
        late = asyncio.ensure_future(env.client.schedules.pause("kept"))
        await a_moment(0.01)
        assert not late.done()
        disk.fail()
        with pytest.raises(StorageError):
            await env.client.start("Waits", workflow_id="y")
        async with asyncio.timeout(10):
            with pytest.raises(StorageError):
                await late
        go_on.set()
        await a_moment(0.01)
        assert env.engine.failure is not None
        assert (env.engine.timers._armed, env.engine.schedules.held) == (False, {})
    await disk.heal()
    assert (await env.client.schedules.pause("kept")).status == "paused"
    assert broken_promises(env.store.path) == []


async def test_an_operation_from_before_the_failure_is_not_recorded_in_the_run_as_it_is_now(
    stack: AsyncExitStack,
) -> None:
    sender = Workflow("Sender")

    @sender.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.send("kept", "note", {"what": {"text": "hello"}})
        return ctx.next.complete("sent")

    env = await stack.enter_async_context(WorkflowEnvironment([takes_notes(), sender]))
    disk = Disk(env)
    kept = await env.client.start("Notes", workflow_id="kept")
    await env.settle()
    checking, go_on = asyncio.Event(), asyncio.Event()
    check = env.workers.check

    async def slow(*call: Any) -> bytes:
        if not checking.is_set():
            checking.set()
            await go_on.wait()
        return await check(*call)

    env.workers.check = slow  # type: ignore[method-assign]
    sent = await env.client.start("Sender", workflow_id="s")
    await checking.wait()
    disk.fail()
    with pytest.raises(StorageError):
        await env.client.start("Notes", workflow_id="other")
    await until(lambda: env.engine.failure is not None)
    disk.work()

    async def healthy() -> bool:
        env.clock.advance(1_000)
        return env.engine.failure is None

    # Without settling, which would be patient with the handler that waits for its check.
    await until_async(healthy)
    go_on.set()
    assert await sent.result() == "sent"
    await env.settle()
    assert env.engine.failure is None
    assert (await kept.describe()).store == {"notes": 1}
    assert broken_promises(env.store.path) == []


def takes_notes() -> Workflow:
    wf = Workflow("Notes")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @wf.event()
    async def note(ctx: Context, what: Note) -> Directive:
        ctx.store.put("notes", await ctx.store.get("notes", int, default=0) + 1)
        return ctx.next.wait_for_event()

    return wf


def family() -> list[Workflow]:
    """A run that starts three children, hears of each, waits a second, and completes with what it heard."""
    parent, child = Workflow("Family"), Workflow("Member")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        await asyncio.gather(*(ctx.start("Member", f"{ctx.run.workflow_id}-{n}", {"number": n}) for n in range(3)))
        return ctx.next.wait_for_event("hello", timeout=timedelta(hours=1))

    @parent.event()
    async def hello(ctx: Context, number: int) -> Directive:
        heard = [*await ctx.store.get("heard", list, default=[]), number]
        ctx.store.put("heard", heard)
        if len(heard) < 3:
            return ctx.next.wait_for_event("hello", timeout=timedelta(hours=1))
        return ctx.next.step(rest, after=timedelta(seconds=1))

    @parent.step()
    async def rest(ctx: Context) -> Directive:
        await ctx.now()
        return ctx.next.complete(sorted(await ctx.store.get("heard", list)))

    @child.start()
    async def grow(ctx: Context, number: int) -> Directive:
        await ctx.uuid4()
        await ctx.send_to_parent("hello", {"number": number})
        return ctx.next.complete(number)

    return [parent, child]


@pytest.mark.parametrize("nth", range(1, 13))
async def test_whichever_commit_fails_nothing_acknowledged_is_lost_and_it_goes_on(
    stack: AsyncExitStack, nth: int
) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment(family()))
    disk = Disk(env)
    disk.fail(nth)
    acknowledged = []
    for name in ("a", "b"):
        try:
            acknowledged.append(await env.client.start("Family", workflow_id=name))
        except StorageError:
            break
    for _ in range(20):
        if env.engine.failure is not None:
            break
        await a_moment(0.01)
        env.clock.advance(200)
    if env.engine.failure is not None:
        await disk.heal()
    disk.work()
    await env.advance(timedelta(seconds=10))
    for handle in acknowledged:
        assert await handle.result() == [0, 1, 2]
    again = [name for name in ("a", "b") if name not in {handle.workflow_id for handle in acknowledged}]
    for name in again:
        handle = await env.client.start("Family", workflow_id=name)
        await env.advance(timedelta(seconds=10))
        assert await handle.result() == [0, 1, 2]
    await env.settle()
    assert env.engine.failure is None
    assert broken_promises(env.store.path) == []


async def test_a_failure_in_the_middle_of_the_return_is_survived_too(stack: AsyncExitStack) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment(family()))
    disk = Disk(env)
    handles = await asyncio.gather(*(env.client.start("Family", workflow_id=name) for name in "abcd"))
    disk.fail()
    await until(lambda: env.engine.failure is not None)
    for _ in range(5):
        # The disk takes the proof that it can be written, and then fails again.
        disk.fail(1)
        failure = env.engine.failure
        env.clock.advance(RETRY_STORAGE_MS[-1])
        await until(lambda before=failure: env.engine.failure not in (before, None))
    await disk.heal()
    await env.advance(timedelta(seconds=10))
    for handle in handles:
        assert await handle.result() == [0, 1, 2]
    await env.settle()
    assert broken_promises(env.store.path) == []


async def test_what_is_written_while_the_return_fails_is_answered(stack: AsyncExitStack) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    disk = Disk(env)
    kept = await env.client.start("Waits", workflow_id="kept")
    await env.settle()
    disk.fail()
    with pytest.raises(StorageError):
        await kept.send("more")
    orphans, sending = env.store.reader.orphans, []

    async def unreadable() -> object:
        env.store.reader.orphans = orphans  # type: ignore[method-assign]
        disk.hold()
        sending.append(asyncio.ensure_future(kept.send("more", event_id="k")))
        await until(disk.held.is_set)
        raise StorageError("the disk cannot be read")

    env.store.reader.orphans = unreadable  # type: ignore[method-assign, assignment]
    disk.work()
    await until(lambda: bool(env.clock.advance(1_000)) or disk.held.is_set())
    await until(lambda: env.engine.failure is not None)
    disk.let_go()
    await until_healthy(env)
    assert not (await asyncio.wait_for(sending[0], 5)).duplicate
    assert (await asyncio.wait_for(kept.send("more", event_id="k"), 5)).duplicate
    await kept.send("finish")
    assert await kept.result() == 1
    await env.settle()
    assert broken_promises(env.store.path) == []


async def test_the_environment_ends_while_the_disk_fails(stack: AsyncExitStack) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment(family()))
    disk = Disk(env)
    handle = await env.client.start("Family", workflow_id="a")
    disk.fail()
    waiting = asyncio.ensure_future(handle.result())
    with pytest.raises(StorageError):
        await env.client.start("Family", workflow_id="b")
    await stack.aclose()
    assert waiting.done() or await asyncio.wait([waiting], timeout=5)
    assert isinstance(waiting.exception(), WfctlError)


async def test_a_turn_that_cannot_be_written_down_is_told_of_to_all_of_it_and_the_next_goes_on_from_the_disk(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    kept = await env.client.start("Waits", workflow_id="kept")
    await env.settle()

    def raises(*given: object) -> None:
        monkeypatch.undo()
        raise ValueError("no such thing")

    monkeypatch.setattr(commits, "unit_of", raises)
    asked = [env.client.start("Waits", workflow_id=f"lost-{number}") for number in range(3)]
    told = await asyncio.gather(*asked, kept.send("more"), return_exceptions=True)
    assert all(isinstance(error, StorageError) for error in told), told
    assert any("cannot be written down: ValueError('no such thing')" in str(error) for error in told)
    await until_healthy(env)
    assert env.engine._commits.unwritten.count == 0
    await env.client.start("Waits", workflow_id="lost-0")
    await kept.send("more")
    await kept.send("finish")
    assert await kept.result() == 1
    assert broken_promises(env.store.path) == []


async def test_a_decision_that_never_got_to_the_disk_is_not_passed_over_by_what_comes_after_it(
    stack: AsyncExitStack,
) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    kept = await env.client.start("Waits", workflow_id="kept")
    await env.settle()
    engine = env.engine
    live = await engine.memory.load(engine.open_ids["kept"])
    assert live is not None
    first, forgotten, last = engine.batch(), engine.batch(), engine.batch()
    for batch in (first, forgotten, last):  # as if something had raised before the second was committed
        batch.decide(live, s.EventArrived("more", Raw(b"{}")))
    engine.commit(first)
    with pytest.raises(StorageError, match="contradicts"):
        await engine.committed(last)
    await until_healthy(env)
    await kept.send("finish")
    assert await kept.result() == 0
    assert broken_promises(env.store.path) == []


async def test_a_disk_that_fails_again_and_again_is_tried_less_and_less_often_until_it_has_been_well(
    stack: AsyncExitStack,
) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    disk = Disk(env)

    async def is_tried_after(delay_ms: int) -> None:
        disk.fail()
        with pytest.raises(StorageError):
            await env.client.start("Waits")
        disk.work()
        env.clock.advance(delay_ms - 1)
        await a_moment(0.01)
        assert env.engine.failure is not None
        env.clock.advance(1)
        await until(lambda: env.engine.failure is None)

    for delay_ms in (*RETRY_STORAGE_MS, RETRY_STORAGE_MS[-1]):
        await is_tried_after(delay_ms)
    env.clock.advance(WELL_AFTER_MS)
    await is_tried_after(RETRY_STORAGE_MS[0])
