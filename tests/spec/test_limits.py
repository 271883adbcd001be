"""How many runs of a type are at it at once, where wfctl.toml limits that; and floods, which wait on disk."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta
from pathlib import Path

import pytest

from support.checker import broken_promises
from support.waiting import until
from wfctl import ConflictError, Context, Directive, Workflow, task
from wfctl.client.client import Client
from wfctl.protocol import calls
from wfctl.protocol.views import RunView
from wfd.core.stimuli import CancelAsked
from wfd.engine import inboxes, sending
from wfd.engine.commands import Commands
from wfd.supervisor import steps
from wfd.testing import WorkflowEnvironment


class Pay:
    """Counts how many of its runs are at it, and in which order they came."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.order: list[str] = []
        self.gate = asyncio.Event()
        self.wf = Workflow("Pay")

        @self.wf.start()
        async def begin(ctx: Context) -> Directive:
            self.order.append(ctx.run.workflow_id)
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await self.gate.wait()
            finally:
                self.now -= 1
            return ctx.next.wait_for_event()

        @self.wf.event()
        async def go(ctx: Context) -> Directive:
            self.order.append(f"{ctx.run.workflow_id} again")
            return ctx.next.complete()


def nested() -> Workflow:
    """A run waits for the child it has, as deep as its input says."""
    wf = Workflow("Nested")

    @wf.start()
    async def begin(ctx: Context, depth: int) -> Directive:
        if depth == 0:
            return ctx.next.complete(0)
        below = await ctx.run_child("Nested", workflow_id=f"{ctx.run.workflow_id}.{depth}", workflow_input=depth - 1)
        return ctx.next.complete(below + 1)

    return wf


async def views(client: Client) -> list[RunView]:
    page: calls.RunPage = await client._link.call(calls.List())
    return list(reversed(page.items))


async def test_runs_of_a_limited_type_begin_as_others_stop_executing_in_the_order_they_were_started() -> None:
    pay = Pay()
    async with WorkflowEnvironment([pay.wf], limits={"Pay": 2}) as env:
        handles = [await env.client.start("Pay", workflow_id=f"pay-{number}") for number in range(6)]
        await until(lambda: pay.now == 2)
        seen = await views(env.client)
        assert [run.limit for run in seen] == [None, None, 2, 2, 2, 2]
        assert {str(run.status) for run in seen} == {"running"}
        (shown,) = (await env.client._link.call(calls.Workflows())).items
        assert (shown.limit, shown.executing, shown.waiting) == (2, 2, 4)
        pay.gate.set()
        await env.settle()
        # All of them wait for an event now, which takes no turn.
        assert pay.order == [f"pay-{number}" for number in range(6)]
        assert pay.most == 2
        for handle in handles:
            await handle.send("go")
        await asyncio.gather(*(handle.result() for handle in handles))


async def test_a_parent_that_waits_in_a_step_for_a_child_of_its_own_limited_type_goes_on() -> None:
    async with WorkflowEnvironment([nested()], limits={"Nested": 1}) as env:
        handles = [
            await env.client.start("Nested", workflow_id=f"root-{number}", workflow_input=3) for number in range(3)
        ]
        await env.advance(timedelta(seconds=10))
        assert [await handle.result() for handle in handles] == [3, 3, 3]


async def test_a_parent_that_has_given_up_a_task_waits_for_a_child_of_its_own_limited_type_as_any() -> None:
    wf = Workflow("Nested")

    @task
    async def slow() -> None:
        await asyncio.Event().wait()

    @wf.start()
    async def begin(ctx: Context, child: bool) -> Directive:
        if not child:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(slow(), 0.01)
            await ctx.run_child("Nested", workflow_id="child", workflow_input=True)
        return ctx.next.complete()

    async with WorkflowEnvironment([wf], limits={"Nested": 1}) as env:
        handle = await env.client.start("Nested", workflow_id="parent", workflow_input=False)
        assert await asyncio.wait_for(handle.result(), 10) is None


@pytest.mark.parametrize("shielded", [False, True])
async def test_a_cancelled_run_that_waits_on_for_its_child_lends_it_its_turn_again(shielded: bool) -> None:
    wf = Workflow("Nested")

    @wf.start()
    async def begin(ctx: Context, child: bool) -> Directive:
        if child:
            return ctx.next.wait_for_event()
        handle = await ctx.start("Nested", "child", True)
        ends = asyncio.ensure_future(handle.result())
        try:
            return ctx.next.complete(await (asyncio.shield(ends) if shielded else ends))
        except asyncio.CancelledError:
            return ctx.next.complete(await (ends if shielded else handle.result()))

    @wf.event()
    async def go(ctx: Context) -> Directive:
        return ctx.next.complete("went")

    async with WorkflowEnvironment([wf], limits={"Nested": 1}) as env:
        handle = await env.client.start("Nested", workflow_id="parent", workflow_input=False)
        await until(lambda: "child" in env.engine.open_ids)
        await env.advance(timedelta(seconds=1))
        await handle.cancel()
        await env.advance(timedelta(seconds=1))
        await env.client.handle("child").send("go")
        await env.advance(timedelta(seconds=1))
        assert await asyncio.wait_for(handle.result(), 10) == "went"


async def test_a_cancelled_run_that_waits_for_its_turn_does_not_wait_for_it() -> None:
    pay = Pay()
    async with WorkflowEnvironment([pay.wf], limits={"Pay": 1}) as env:
        await env.client.start("Pay", workflow_id="first")
        second = await env.client.start("Pay", workflow_id="second")
        await second.cancel()
        with pytest.raises(Exception, match="cancelled"):
            await second.result()
        pay.gate.set()


async def test_what_waits_for_long_waits_on_disk_and_keeps_its_order(tmp_path: Path) -> None:
    pay = Pay()
    async with WorkflowEnvironment([pay.wf], path=tmp_path, limits={"Pay": 1}) as env:
        env.engine.memory.parked.most_queued = 2
        env.engine.memory._idle_limit = 1
        handles = [await env.client.start("Pay", workflow_id=f"pay-{number}") for number in range(12)]
        assert len(env.engine.memory.parked) == 9
        assert len(env.engine.memory) <= 5
        await handles[10].terminate()
        await handles[11].cancel()
        with pytest.raises(Exception, match="cancelled"):
            await handles[11].result()
        assert [run.limit for run in await views(env.client)][:10] == [None] + [1] * 9
    pay.order.clear()
    pay.now = pay.most = 0
    pay.gate.set()
    async with WorkflowEnvironment([pay.wf], path=tmp_path, limits={"Pay": 1}) as env:
        env.engine.memory.parked.most_queued = 2
        await until(lambda: len(pay.order) == 10)
        await env.settle()
        assert pay.order == [f"pay-{number}" for number in range(10)]
        assert pay.most == 1
        assert broken_promises(env.store.reader.path) == []


async def test_one_that_waits_on_disk_and_is_cancelled_in_one_turn_does_not_leave_memory_in_between() -> None:
    pay = Pay()
    async with WorkflowEnvironment([pay.wf], limits={"Pay": 1}) as env:
        engine, memory = env.engine, env.engine.memory
        memory.parked.most_queued = memory._idle_limit = 1
        for name in ("first", "second"):
            await env.client.start("Pay", workflow_id=name)
        commands = Commands(engine)
        for name in ("third", "fourth"):  # as the fourth comes to rest, there is no room for the third
            assert commands.starting(calls.Start(workflow_type="Pay", workflow_id=name)) is not None
        third = memory.get(engine.open_ids["third"])
        assert third is not None
        batch = engine.batch()
        batch.decide(third, CancelAsked("no longer wanted"))
        engine.commit(batch)
        await engine.committed(engine.batch())
        assert third.token is not None
        assert memory.get(third.run.key) is third
        with pytest.raises(Exception, match="cancelled"):
            await env.client.handle(third.run.run_id).result()
        pay.gate.set()
        await env.settle()
        assert broken_promises(env.store.reader.path) == []


async def test_those_that_only_wait_keep_nobody_out_who_waits_on_disk() -> None:
    wf, gate, begun = Workflow("Nap"), asyncio.Event(), []

    @wf.start()
    async def rest(ctx: Context) -> Directive:
        begun.append(ctx.run.workflow_id)
        await gate.wait()
        await ctx.sleep(timedelta(days=1))
        return ctx.next.complete()

    async with WorkflowEnvironment([wf], limits={"Nap": 1}) as env:
        env.engine.memory.parked.most_queued = 2
        names = [f"nap-{number}" for number in range(9)]
        for name in names:
            await env.client.start("Nap", workflow_id=name)
        assert len(env.engine.memory.parked) == 6
        gate.set()
        await env.settle()
        assert begun == names


async def test_who_comes_later_does_not_overtake_those_that_wait_on_disk() -> None:
    pay = Pay()
    async with WorkflowEnvironment([pay.wf], limits={"Pay": 1}) as env:
        env.engine.memory.parked.most_queued = 4
        names = [f"pay-{number}" for number in range(9)]
        first, *_ = [await env.client.start("Pay", workflow_id=name) for name in names[:8]]
        assert len(env.engine.memory.parked) == 3
        await first.terminate()  # which makes room for one, and those on disk come back where half of it is free
        await until(lambda: pay.order == names[:2])
        await env.client.start("Pay", workflow_id=names[8])
        assert len(env.engine.memory.parked) == 4
        pay.gate.set()
        await env.settle()
        assert pay.order == names


async def test_who_comes_later_does_not_overtake_those_either_that_are_just_read_from_the_disk() -> None:
    pay = Pay()
    pay.gate.set()
    async with WorkflowEnvironment([pay.wf]) as env:
        parked = env.engine.memory.parked
        parked.add("Pay", True, "R", 1_000_000)  # and nobody else waits
        await env.client.start("Pay", workflow_id="later")
        assert len(parked) == 2
        assert pay.order == []
        env.engine.executions.unpark("Pay")
        await until(lambda: pay.order == ["later"])


async def test_a_higher_limit_is_for_those_as_well_that_wait_on_disk() -> None:
    pay = Pay()
    async with WorkflowEnvironment([pay.wf], limits={"Pay": 1}) as env:
        env.engine.memory.parked.most_queued = 2
        names = [f"pay-{number}" for number in range(9)]
        for name in names:
            await env.client.start("Pay", workflow_id=name)
        assert len(env.engine.memory.parked) == 6
        env.workers.limit({"Pay": 9})
        await until(lambda: pay.now == 9)  # and none of them has ended
        assert pay.order == names
        pay.gate.set()


async def test_who_sends_to_a_full_inbox_waits_for_room_and_is_refused_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pay = Pay()
    async with WorkflowEnvironment([pay.wf]) as env:
        env.engine.inboxes.most_events = 3
        handle = await env.client.start("Pay", workflow_id="busy")
        await until(lambda: pay.now == 1)
        for _ in range(3):
            await handle.send("go")
        late = asyncio.ensure_future(handle.send("go"))
        await until(lambda: env.engine.pressure.lines())
        assert not late.done()
        env.clock.advance(sending.ROOM_MS + inboxes.LOOK_MS)
        with pytest.raises(ConflictError, match="has 3 events in its inbox that it does not take; event 'go' was not"):
            await late
        last = asyncio.ensure_future(handle.send("go"))
        await until(lambda: env.engine.pressure.lines())
        await handle.terminate()
        env.clock.advance(inboxes.LOOK_MS)
        with pytest.raises(Exception, match="event 'go' was not delivered"):
            await last
        assert env.engine.pressure.lines() == []


async def test_who_waits_for_room_waits_no_longer_for_a_clock_that_is_set_back() -> None:
    pay = Pay()
    async with WorkflowEnvironment([pay.wf]) as env:
        env.engine.inboxes.most_events = 1
        handle = await env.client.start("Pay", workflow_id="busy")
        await until(lambda: pay.now == 1)
        await handle.send("go")
        late = asyncio.ensure_future(handle.send("go"))
        await until(lambda: env.engine.pressure.lines())
        # The manual clock's timers go by what it tells, so only that is set back.
        now_ms = env.clock.now_ms
        env.clock.now_ms = lambda: now_ms() - 3_600_000  # type: ignore[method-assign]
        env.clock.advance(sending.ROOM_MS + inboxes.LOOK_MS)
        async with asyncio.timeout(10):
            with pytest.raises(ConflictError, match="has 1 events in its inbox"):
                await late
        pay.gate.set()


async def test_more_parents_than_a_worker_executes_at_once_wait_for_their_children_and_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(steps, "STEPS_PER_WORKER", 3)
    monkeypatch.setattr(steps, "MOST_IN_WORKER", 6)
    async with WorkflowEnvironment([nested()]) as env:
        env.engine.memory.parked.most_queued = 4
        starts = (env.client.start("Nested", workflow_id=f"root-{number}", workflow_input=2) for number in range(20))
        handles = await asyncio.gather(*starts)
        await env.advance(timedelta(seconds=10))
        async with asyncio.timeout(10):
            assert await asyncio.gather(*(handle.result() for handle in handles)) == [2] * 20


def chatter() -> Workflow:
    """A run sends so many events to others, numbered, and then hears as many as it is told; its result are their numbers."""
    wf = Workflow("Chatter")

    @wf.start()
    async def begin(ctx: Context, to: list[str], events: int, hears: int, parent: bool = False) -> Directive:
        ctx.store.put("hears", hears)
        ctx.store.put("heard", [])
        for number in range(events):
            for name in to:
                await ctx.send(name, "word", {"number": number})
            if parent:
                await ctx.send_to_parent("word", {"number": number})
        return ctx.next.wait_for_event() if hears else ctx.next.complete([])

    @wf.event()
    async def word(ctx: Context, number: int) -> Directive:
        heard = [*await ctx.store.get("heard", list), number]
        ctx.store.put("heard", heard)
        return ctx.next.complete(heard) if len(heard) == await ctx.store.get("hears") else ctx.next.wait_for_event()

    return wf


def busy(free: asyncio.Event) -> Workflow:
    """A run whose handler is at it until it is `free`, and then hears five words, of its child or of anybody."""
    wf = Workflow("Busy")

    @wf.start()
    async def begin(ctx: Context, child: bool = False) -> Directive:
        if child:
            words = {"to": [], "events": 5, "hears": 0, "parent": True}
            await ctx.start("Chatter", workflow_id="child", workflow_input=words)
        ctx.store.put("heard", [])
        await free.wait()
        return ctx.next.wait_for_event()

    @wf.event()
    async def word(ctx: Context, number: int) -> Directive:
        heard = [*await ctx.store.get("heard", list), number]
        ctx.store.put("heard", heard)
        return ctx.next.complete(heard) if len(heard) == 5 else ctx.next.wait_for_event()

    return wf


@pytest.mark.parametrize("child", [True, False])
async def test_a_handler_that_sends_to_a_full_inbox_waits_for_room_and_its_events_come_in_order(child: bool) -> None:
    free = asyncio.Event()
    async with WorkflowEnvironment([chatter(), busy(free)]) as env:
        env.engine.inboxes.most_events = 2
        receiver = await env.client.start("Busy", workflow_id="busy", workflow_input={"child": child})
        if not child:
            words = {"to": ["busy"], "events": 5, "hears": 0}
            await env.client.start("Chatter", workflow_id="child", workflow_input=words)
        await until(lambda: env.engine.pressure.lines())
        (line,) = env.engine.pressure.lines()
        assert "the inbox of a run that does not take its events (1 waiting)" in line
        (live,) = (one for one in env.engine.memory._runs.values() if one.run.workflow_id == "busy")
        assert len(live.run.inbox) == 2
        free.set()
        await env.advance(timedelta(milliseconds=3 * inboxes.LOOK_MS))
        assert await receiver.result() == [0, 1, 2, 3, 4]
        assert (await env.client.handle("child").result()) == []
        assert env.engine.pressure.lines() == []


@pytest.mark.parametrize("limits", [{}, {"Chatter": 1}])
async def test_runs_that_send_to_each_other_and_to_themselves_are_slowed_down_and_never_wait_for_ever(
    limits: dict[str, int],
) -> None:
    async with WorkflowEnvironment([chatter()], limits=limits) as env:
        env.engine.inboxes.most_events = 1
        names = ["a", "b"]
        words = {"to": names, "events": 3, "hears": 6}
        await asyncio.gather(*(env.client.start("Chatter", workflow_id=name, workflow_input=words) for name in names))
        await env.settle()
        waits = 0
        while env.engine.pressure.lines() and waits < 20:
            waits += 1
            await env.advance(timedelta(milliseconds=inboxes.SLOW_MS + inboxes.LOOK_MS))
        assert 1 <= waits < 10
        for name in names:
            assert sorted(await env.client.handle(name).result()) == [0, 0, 1, 1, 2, 2]
        assert env.engine.pressure.lines() == []


async def test_an_event_that_waits_for_room_is_sent_once_by_the_step_that_a_restart_begins_again(
    tmp_path: Path,
) -> None:
    free = asyncio.Event()
    async with WorkflowEnvironment([chatter(), busy(free)], path=tmp_path) as env:
        env.engine.inboxes.most_events = 2
        await env.client.start("Busy", workflow_id="busy")
        await env.client.start("Chatter", workflow_id="a", workflow_input={"to": ["busy"], "events": 5, "hears": 0})
        await until(lambda: env.engine.pressure.lines())
    free.set()
    async with WorkflowEnvironment([chatter(), busy(free)], path=tmp_path) as env:
        env.engine.inboxes.most_events = 2
        await env.advance(timedelta(milliseconds=10 * inboxes.LOOK_MS))
        assert await env.client.handle("busy").result() == [0, 1, 2, 3, 4]
        assert broken_promises(env.store.reader.path) == []
