"""What happens when things meet: in one turn of the loop, in one commit, or just before one."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from support.checker import broken_promises
from support.faults import Disk, evict
from support.waiting import a_moment, until
from wfctl import (
    Context,
    Directive,
    NotFinishedError,
    RunFailedError,
    RunNotFoundError,
    Workflow,
    WorkflowAlreadyRunning,
    task,
)
from wfctl.protocol import calls
from wfd.core import stimuli as s
from wfd.core.state import Raw
from wfd.engine.batch import Change
from wfd.engine.commands import Commands
from wfd.engine.memory import Live
from wfd.engine.streams import Tail
from wfd.testing import WorkflowEnvironment


def waits(workflow_type: str = "Waits") -> Workflow:
    wf = Workflow(workflow_type)

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @wf.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete("done")

    return wf


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    "asked", [s.EventArrived("finish", Raw(b"{}")), s.RetryAsked()], ids=["changes it", "changes nothing of it"]
)
async def test_a_run_is_not_idle_before_what_was_decided_for_it_is_on_disk(
    stack: AsyncExitStack, asked: s.Stimulus
) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    await env.client.start("Waits", workflow_id="x", delay=timedelta(hours=1))
    engine, memory = env.engine, env.engine.memory
    ((key, live),) = memory.idle.items()
    batch = engine.batch()
    batch.decide(live, asked)
    engine.commit(batch)
    assert not memory.idle
    memory.settle(live)
    assert not memory.idle
    await engine.committed(engine.batch())
    assert memory.idle == {key: live}


async def test_a_run_that_leaves_memory_open_is_not_taken_for_one_that_has_ended(stack: AsyncExitStack) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    handle = await env.client.start("Waits", workflow_id="x")
    await evict(env)
    assert env.engine.memory.get(1) is None
    assert env.engine.memory.recent.get(handle.run_info.id) is None


async def test_a_closed_run_is_not_barred_before_what_was_decided_for_it_is_on_disk(stack: AsyncExitStack) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    await (await env.client.start("Waits", workflow_id="x")).terminate()
    engine, memory = env.engine, env.engine.memory
    live = await memory.load(1)
    assert live is not None
    batch = engine.batch()
    batch.decide(live, s.EventArrived("finish", Raw(b"{}"), "its child", report=True))
    engine.commit(batch)
    assert memory.bar([1]) == set()
    await engine.committed(engine.batch())
    assert memory.bar([1]) == {1}
    memory.lift([1])


@pytest.fixture
def family() -> list[Workflow]:
    """A parent whose step does all that is decided as soon as it is asked for, and a child that does so too."""
    parent, child = Workflow("Parent"), Workflow("Child")

    @task
    async def charge() -> str:
        return "paid"

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        ctx.logger.info("begins")
        await ctx.now()
        await charge()
        handle = await ctx.start("Child", workflow_id="c")
        ctx.store.put("run", handle.run_info)
        return ctx.next.wait_for_event("paid")

    @parent.event()
    async def paid(ctx: Context) -> Directive:
        return ctx.next.complete()

    @child.start()
    async def pay(ctx: Context) -> Directive:
        ctx.store.put("run", ctx.run)
        await ctx.send_to_parent("paid")
        return ctx.next.complete()

    return [parent, child]


async def test_nobody_is_kept_in_memory_by_what_goes_wrong_after_a_commit(
    stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, family: list[Workflow]
) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment(family))
    act, wrong = env.engine.act, list[Live]()

    def acts(change: Change, now: int) -> None:
        if (parent := change.live.parent) is not None and change.live.run.closed:
            wrong.extend((change.live, parent))
            raise RuntimeError("a bug")
        act(change, now)

    monkeypatch.setattr(env.engine, "act", acts)
    await env.client.start("Parent", workflow_id="p")
    await env.settle()
    assert [env.engine.memory.pending(live) for live in wrong] == [False, False]


async def test_what_a_child_sends_stands_before_what_its_parent_receives(stack: AsyncExitStack) -> None:
    parent, child = Workflow("Parent"), Workflow("Child")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.start("Child", workflow_id="c")
        return ctx.next.wait_for_event()

    @parent.event()
    async def paid(ctx: Context) -> Directive:
        return ctx.next.complete()

    @child.start()
    async def pay(ctx: Context) -> Directive:
        await ctx.send_to_parent("paid")
        return ctx.next.complete()

    env = await stack.enter_async_context(WorkflowEnvironment([parent, child]))
    await (await env.client.start("Parent", workflow_id="p")).result()
    with contextlib.closing(sqlite3.connect(env.store.reader.path)) as db:
        kinds = [kind for (kind,) in db.execute("select kind from history order by rev")]
    assert kinds.index("parent_event.sent") < kinds.index("event.received")


async def test_that_a_child_was_started_stands_before_all_that_it_does_and_says_who_it_is(
    stack: AsyncExitStack, family: list[Workflow]
) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment(family))
    await (await env.client.start("Parent", workflow_id="p")).result()
    with contextlib.closing(sqlite3.connect(env.store.reader.path)) as db:
        ((parent, began),) = db.execute("select run, rev from history where kind = 'child.started'").fetchall()
        ((first,),) = db.execute("select min(rev) from history where run <> ?", (parent,)).fetchall()
        told, own = db.execute("select value from store where key = 'run' order by run").fetchall()
    assert began == first - 1
    assert told == own


async def test_what_a_handler_says_is_decided_as_of_the_moment_at_which_it_came(
    stack: AsyncExitStack, family: list[Workflow], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment(family))
    heard = env.engine.heard
    monkeypatch.setattr(env.engine, "heard", lambda message, now: heard(message, 1_234))
    await (await env.client.start("Parent", workflow_id="p")).result()
    await env.settle()
    with contextlib.closing(sqlite3.connect(env.store.reader.path)) as db:
        rows = db.execute("select kind, at from history order by rev").fetchall()
    assert [kind for kind, _ in rows[:2]] == ["run.started", "step.started"]
    assert {at for _, at in rows[:2]} != {1_234}
    assert {at for _, at in rows[2:]} == {1_234}
    assert {"timestamp.recorded", "task.started", "task.completed", "child.started", "parent_event.sent"} < {
        kind for kind, _ in rows
    }


@pytest.mark.parametrize("turns", [0, 2], ids=["at once", "after a while"])
async def test_that_a_sleep_was_over_is_told_where_the_task_after_it_begins(stack: AsyncExitStack, turns: int) -> None:
    wf = Workflow("W")

    @task
    async def charge() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.sleep(timedelta(seconds=5))
        await charge()
        return ctx.next.complete()

    env = await stack.enter_async_context(WorkflowEnvironment([wf]))
    handle = await env.client.start("W", workflow_id="w")
    await env.settle()
    await env.advance(timedelta(seconds=5))
    await handle.result()
    with contextlib.closing(sqlite3.connect(env.store.reader.path)) as db:
        rows = db.execute(
            "select kind, data from history where kind in ('sleep.recorded', 'task.started', 'task.completed')"
        )
        (_, slept), *after = [(kind, msgspec.json.decode(data)) for kind, data in rows]
    assert [(kind, one.get("over", [])) for kind, one in after] == [
        ("task.started", [slept["key"]]),
        ("task.completed", []),
    ]


async def test_of_two_starts_of_an_id_that_is_just_closing_one_gets_it(stack: AsyncExitStack) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    await env.client.start("Waits", workflow_id="x")
    await evict(env)
    commands = Commands(env.engine)
    answers: list[Any] = await asyncio.gather(
        commands.terminate(calls.Terminate(id="x")),
        commands.start(calls.Start(workflow_type="Waits", workflow_id="x")),
        commands.start(calls.Start(workflow_type="Waits", workflow_id="x")),
        return_exceptions=True,
    )
    assert [type(answer).__name__ for answer in answers] == ["Changed", "Started", "WorkflowAlreadyRunning"]
    await env.settle()
    assert broken_promises(env.store.path) == []


async def test_an_event_goes_to_the_run_that_was_named_and_not_to_one_that_is_called_nearly_so(
    stack: AsyncExitStack,
) -> None:
    sender = Workflow("Sender")

    @sender.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.send("order-1", "finish")
        return ctx.next.complete("sent")

    env = await stack.enter_async_context(WorkflowEnvironment([waits(), sender]))
    other = await env.client.start("Waits", workflow_id="order-10")
    with pytest.raises(RunFailedError, match="RunNotFoundError"):
        await env.client.run("Sender")
    await env.settle()
    assert (await other.describe()).run.status == "waiting"


async def test_an_end_that_is_not_on_disk_yet_is_not_shown(stack: AsyncExitStack) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    handle = await env.client.start("Waits", workflow_id="x")
    await env.settle()
    disk = Disk(env)
    disk.hold()
    waiting = asyncio.ensure_future(handle.result(timeout=timedelta(milliseconds=200)))
    await a_moment(0.05)
    ending = asyncio.ensure_future(handle.terminate())
    await until(disk.held.is_set)
    asked = [
        asyncio.ensure_future(handle.send("finish")),
        asyncio.ensure_future(handle.result()),
        asyncio.ensure_future(env.client.start("Waits", workflow_id="x")),
        asyncio.ensure_future(env.client.start("Waits", workflow_id="x")),
    ]
    await a_moment(0.5)
    assert not any(task.done() for task in [waiting, ending, *asked])
    disk.let_go()
    answers: list[Any] = await asyncio.gather(waiting, ending, *asked, return_exceptions=True)
    names = [type(answer).__name__ for answer in answers]
    assert names == [
        "RunTerminatedError", "Changed", "RunClosedError", "RunTerminatedError", "ClientHandle", "WorkflowAlreadyRunning",
    ]  # fmt: skip


async def test_a_follower_misses_nothing_of_a_child_that_begins_while_it_reads(stack: AsyncExitStack) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @parent.event()
    async def go(ctx: Context) -> Directive:
        await ctx.start("Waits", "kid")
        return ctx.next.wait_for_event()

    env = await stack.enter_async_context(WorkflowEnvironment([parent, waits()]))
    handle = await env.client.start("Parent", workflow_id="p")
    await env.settle()
    reads = env.engine.reads
    newest_rev, sent = reads.newest_rev, asyncio.Event()

    async def slow() -> int:
        found = await newest_rev()
        if not sent.is_set():
            sent.set()
            await handle.send("go")
            await env.settle()
        return found

    reads.newest_rev = slow  # type: ignore[method-assign]
    tail = Tail(reads, env.engine.hub, calls.Tail(ids=["p"], children=True, follow=True))
    told: list[tuple[str, int]] = []
    async for entry in tail:
        told.append((entry.workflow_id, entry.seq or 0))
        if entry.kind == "run.terminated":
            break
        if (entry.workflow_id == "kid" and entry.kind == "wait.started") or len(told) == 9:
            await handle.terminate()
    await tail.aclose()
    assert [seq for name, seq in told if name == "p"] == list(range(1, len([1 for name, _ in told if name == "p"]) + 1))
    assert [seq for name, seq in told if name == "kid"] == [1, 2, 3, 4]


async def test_the_same_child_started_twice_at_once_is_one_child(stack: AsyncExitStack) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @parent.event()
    async def go(ctx: Context) -> Directive:
        handles = await asyncio.gather(*(ctx.start("Waits", "kid") for _ in range(3)))
        return ctx.next.complete(len({handle.run_info.id for handle in handles}))

    env = await stack.enter_async_context(WorkflowEnvironment([parent, waits()]))
    handle = await env.client.start("Parent", workflow_id="p")
    await evict(env)
    await handle.send("go")
    assert await handle.result() == 1
    await env.settle()
    assert broken_promises(env.store.path) == []


async def test_two_runs_that_start_one_id_at_once_get_one_child_and_one_refusal(stack: AsyncExitStack) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        try:
            await ctx.start("Waits", "kid")
        except WorkflowAlreadyRunning:
            return ctx.next.complete("refused")
        return ctx.next.complete("started")

    env = await stack.enter_async_context(WorkflowEnvironment([parent, waits()]))
    said = await asyncio.gather(*(env.client.run("Parent") for _ in range(4)))
    assert sorted(said) == ["refused"] * 3 + ["started"]
    await env.settle()
    assert broken_promises(env.store.path) == []


async def test_a_run_sends_an_event_to_itself(stack: AsyncExitStack) -> None:
    wf = Workflow("Self")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await asyncio.gather(*(ctx.send(ctx.run.workflow_id, "note", {"number": n}) for n in range(3)))
        return ctx.next.wait_for_event()

    @wf.event()
    async def note(ctx: Context, number: int) -> Directive:
        seen = [*await ctx.store.get("seen", list, default=[]), number]
        ctx.store.put("seen", seen)
        return ctx.next.complete(seen) if len(seen) == 3 else ctx.next.wait_for_event()

    env = await stack.enter_async_context(WorkflowEnvironment([wf]))
    assert sorted(await env.client.run("Self", workflow_id="me")) == [0, 1, 2]
    await env.settle()
    assert broken_promises(env.store.path) == []


async def test_who_waits_with_a_limit_is_told_that_it_has_not_finished(stack: AsyncExitStack) -> None:
    env = await stack.enter_async_context(WorkflowEnvironment([waits()]))
    handle = await env.client.start("Waits")
    with pytest.raises(NotFinishedError):
        await handle.result(timeout=timedelta(milliseconds=20))
    await handle.send("finish")
    assert await handle.result() == "done"


async def test_a_run_is_ended_with_all_below_it_even_what_begins_meanwhile(stack: AsyncExitStack) -> None:
    gate, late = asyncio.Event(), asyncio.Event()
    parent, kid = Workflow("Parent"), Workflow("Kid")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.start("Kid", "kid")
        return ctx.next.wait_for_event()

    @kid.start()
    async def begin_kid(ctx: Context) -> Directive:
        await gate.wait()
        await ctx.start("Waits", "grandkid")
        late.set()
        return ctx.next.wait_for_event()

    env = await stack.enter_async_context(WorkflowEnvironment([parent, kid, waits()]))
    await env.client.start("Parent", workflow_id="p")
    await until(lambda: "kid" in env.engine.open_ids)
    reads = env.engine.reads
    descendants = reads.descendants

    async def slow(key: int) -> list[int]:
        found = await descendants(key)
        if not gate.is_set():
            gate.set()
            await late.wait()
        return found

    reads.descendants = slow  # type: ignore[method-assign]
    ended = await Commands(env.engine).terminate(calls.Terminate(id="p", children=True))
    assert ended.descendants == 2
    await env.settle()
    assert env.engine.open_ids == {}
    assert broken_promises(env.store.path) == []


@dataclass
class Note:
    """A type that only a worker can check."""

    text: str


@pytest.mark.parametrize("begins", [False, True])
async def test_an_event_for_a_run_that_is_purged_while_its_payload_is_checked(
    stack: AsyncExitStack, begins: bool
) -> None:
    wf = waits()

    @wf.event()
    async def note(ctx: Context, what: Note) -> Directive:
        return ctx.next.complete(what.text)

    env = await stack.enter_async_context(WorkflowEnvironment([wf]))
    await env.client.start("Waits", workflow_id="x")
    await env.settle()
    checking, go_on = asyncio.Event(), asyncio.Event()
    check = env.workers.check

    async def slow(*call: Any) -> bytes:
        checking.set()
        await go_on.wait()
        return await check(*call)

    env.workers.check = slow  # type: ignore[method-assign]
    start = calls.StartFirst(workflow_type="Waits") if begins else None
    payload = msgspec.Raw(b'{"what": {"text": "hello"}}')
    sending = asyncio.ensure_future(
        env.client._link.call(calls.Send(id="x", event="note", payload=payload, start=start))
    )
    await checking.wait()
    await evict(env)
    await env.client.handle("x").terminate()
    assert (await env.client.purge(status="terminated")).runs == 1
    go_on.set()
    if begins:
        assert (await sending).started
        assert await env.client.handle("x").result() == "hello"
    else:
        with pytest.raises(RunNotFoundError):
            await sending
    assert env.engine.failure is None
    assert broken_promises(env.store.path) == []


async def test_a_sleep_that_is_over_while_an_outcome_is_on_its_way_to_the_disk_is_told_after_it(
    stack: AsyncExitStack,
) -> None:
    wf, seen, go_on = Workflow("Race"), list[list[str]](), asyncio.Event()

    @task(timeout=None)
    async def work() -> str:
        await go_on.wait()
        return "work"

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        async def late() -> str:
            await ctx.sleep(timedelta(hours=1))
            return "late"

        order = [await one for one in asyncio.as_completed([work(), late()])]
        await ctx.uuid4()
        seen.append(order)
        await ctx.sleep(timedelta(hours=1))
        return ctx.next.complete(order)

    env = await stack.enter_async_context(WorkflowEnvironment([wf]))
    handle = await env.client.start("Race", workflow_id="r")
    await env.settle()
    held, arrived = threading.Event(), threading.Event()

    def hold(number: int) -> None:
        arrived.set()
        assert held.wait(30)

    env.store.writer.before_commit = hold
    go_on.set()
    await until(arrived.is_set)
    env.clock.advance(3_600_000)
    held.set()
    await env.settle()
    await env.crash()
    await env.advance(timedelta(hours=1))
    assert (await handle.describe()).run.stuck_reason is None
    assert seen == [["work", "late"]] * 2
