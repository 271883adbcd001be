"""Going back: to an earlier step of a run, of a run that is stuck, and what parents and children make of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from spec.conftest import Serve
from support.checker import broken_promises
from support.history import kinds, records
from wfctl import ChildOutcome, Context, Directive, RunFailedError, Workflow, task
from wfctl.errors import NotFoundError
from wfd.testing import WorkflowEnvironment


def collector(broken: set[str]) -> Workflow:
    """Collects what the events bring, in order; a `bad` one fails while `broken` says so."""
    wf = Workflow("Collect")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        ctx.store.put("got", [])
        return ctx.next.wait_for_event("item", "bad", "end")

    async def add(ctx: Context, what: str) -> None:
        ctx.store.put("got", [*await ctx.store.get("got", list), what])

    @wf.event()
    async def item(ctx: Context, what: str) -> Directive:
        await add(ctx, what)
        return ctx.next.wait_for_event("item", "bad", "end")

    @wf.event()
    async def bad(ctx: Context, what: str) -> Directive:
        if broken:
            raise ValueError(f"cannot take {what}")
        await add(ctx, what)
        return ctx.next.wait_for_event("item", "bad", "end")

    @wf.event()
    async def end(ctx: Context) -> Directive:
        return ctx.next.complete(await ctx.store.get("got", list))

    return wf


async def test_going_back_brings_the_store_and_the_events_of_then(serve: Serve) -> None:
    broken = {"yes"}
    env = await serve(collector(broken))
    handle = await env.client.start("Collect")
    for what in ("a", "b"):
        await handle.send("item", what)
    await handle.send("bad", "c")
    await env.settle()
    with pytest.raises(RunFailedError):
        await handle.result()
    broken.clear()
    retried = await handle.retry(from_step="2")
    assert (retried.from_step, retried.step, retried.attempt, retried.handler) == (2, 5, 1, "item")
    assert (retried.stored, retried.requeued, retried.kept) == (["got"], ["item", "bad"], [])
    await env.settle()
    assert (await handle.describe()).store == {"got": ["a", "b", "c"]}
    await handle.send("end")
    assert await handle.result() == ["a", "b", "c"]
    started = [entry["handler"] for entry in await records(handle, "step.started")]
    assert started == ["begin", "item", "item", "bad", "item", "bad", "end"]
    assert broken_promises(env.store.path) == []


async def test_steps_that_were_gone_back_over_are_no_longer_there_to_go_back_to(serve: Serve) -> None:
    broken = {"yes"}
    env = await serve(collector(broken))
    handle = await env.client.start("Collect")
    await handle.send("item", "a")
    await handle.send("bad", "b")
    await env.settle()
    for _ in range(2):
        await handle.retry(from_step="item")
        await env.settle()
    with pytest.raises(NotFoundError, match=r"no step '2'.*its steps are: 1 begin, 6 item, 7 bad"):
        await handle.retry(from_step="2")
    with pytest.raises(NotFoundError, match="did you mean 'item'"):
        await handle.retry(from_step="itm")
    assert (await handle.retry(from_step="begin")).requeued == ["item", "bad"]
    await env.settle()
    with pytest.raises(RunFailedError):
        await handle.result()
    broken.clear()
    await handle.retry()
    await handle.send("end")
    assert await handle.result() == ["a", "b"]
    assert broken_promises(env.store.path) == []


async def test_a_stuck_run_tries_again_at_once_or_goes_back(serve: Serve) -> None:
    def code(name: str) -> Workflow:
        wf = Workflow("W")

        @wf.start()
        async def begin(ctx: Context) -> Directive:
            ctx.store.put("n", 1)
            return ctx.next.step(last, after=timedelta(minutes=1))

        async def last(ctx: Context) -> Directive:
            return ctx.next.complete(name)

        last.__name__ = name
        wf.step()(last)
        return wf

    env = await serve(code("pay"))
    handle = await env.client.start("W")
    await env.settle()
    env.load([code("rest")])
    await env.advance(timedelta(minutes=1))
    again = await handle.retry(reason="now?")
    assert (again.was, again.handler, again.attempt) == ("stuck", "pay", 2)
    await env.settle()
    assert (await handle.describe()).run.status == "stuck"
    assert (await handle.retry(from_step="begin")).was == "stuck"
    await env.advance(timedelta(minutes=1))
    assert await handle.result() == "rest"
    assert broken_promises(env.store.path) == []


# -- parents and children ---------------------------------------------------------------------------


def family(broken: set[str]) -> list[Workflow]:
    """A parent that counts the ends of its child, which fails while `broken` says so."""
    parent, kid = Workflow("Parent"), Workflow("Kid")

    @parent.start()
    async def begin(ctx: Context, bound: str = "abandon") -> Directive:
        await ctx.start("Kid", workflow_id="kid", on_completed_step=heard, on_parent_close=bound)
        return ctx.next.wait_for_event("note", "end")

    @parent.step()
    async def heard(ctx: Context, outcome: ChildOutcome[Any]) -> Directive:
        ctx.store.put("heard", [*await ctx.store.get("heard", list, default=[]), outcome.status])
        return ctx.next.wait_for_event("note", "end")

    @parent.event()
    async def note(ctx: Context, what: str) -> Directive:
        if "parent" in broken:
            raise ValueError("the parent is broken")
        ctx.store.put("notes", [*await ctx.store.get("notes", list, default=[]), what])
        return ctx.next.wait_for_event("note", "end")

    @parent.event()
    async def end(ctx: Context) -> Directive:
        return ctx.next.complete(await ctx.store.get("heard", list, default=[]))

    @kid.start()
    async def grow(ctx: Context) -> Directive:
        return ctx.next.wait_for_event("go")

    @kid.event()
    async def go(ctx: Context) -> Directive:
        if "kid" in broken:
            raise ValueError("the kid is broken")
        await ctx.send_to_parent("note", "grown")
        return ctx.next.complete("grown")

    return [parent, kid]


async def test_a_parent_hears_of_the_second_end_of_its_child_once(serve: Serve) -> None:
    broken = {"kid"}
    env = await serve(*family(broken))
    parent = await env.client.start("Parent")
    await env.settle()
    kid = env.client.handle("kid")
    await kid.send("go")
    await env.settle()
    assert (await parent.describe()).store["heard"] == ["failed"]
    broken.clear()
    await kid.retry()
    await env.settle()
    assert (await parent.describe()).store["heard"] == ["failed", "completed"]
    family_records = [kind for kind in await kinds(parent) if kind.startswith("child.")]
    assert family_records == ["child.started", "child.closed", "child.resumed", "child.closed"]
    run = (await parent.describe()).run
    assert (run.children, run.open_children) == (1, 0)
    assert broken_promises(env.store.path) == []


async def test_a_child_goes_on_beside_a_parent_that_is_closed(serve: Serve) -> None:
    broken = {"kid"}
    env = await serve(*family(broken))
    parent = await env.client.start("Parent")
    await env.settle()
    kid = env.client.handle("kid")
    await kid.send("go")
    await env.settle()
    await parent.send("end")
    assert await parent.result() == ["failed"]
    broken.clear()
    await kid.retry()
    assert await kid.result() == "grown"
    assert (await kinds(parent))[-3:] == ["child.resumed", "event.received", "child.closed"]
    assert broken_promises(env.store.path) == []


async def test_a_parent_that_goes_on_gets_what_its_child_reported_meanwhile(serve: Serve) -> None:
    broken = {"parent"}
    env = await serve(*family(broken))
    parent = await env.client.start("Parent")
    await env.settle()
    await parent.send("note", "bad")
    with pytest.raises(RunFailedError):
        await parent.result()
    await env.client.handle("kid").send("go")
    await env.settle()
    broken.clear()
    assert (await parent.retry()).requeued == ["note", "child.closed"]
    await env.settle()
    assert (await parent.describe()).store == {"notes": ["bad", "grown"], "heard": ["completed"]}
    await parent.send("end")
    assert await parent.result() == ["completed"]
    assert broken_promises(env.store.path) == []


async def test_a_bound_child_that_is_re_opened_after_its_parent_closed_is_on_its_own(tmp_path: Path) -> None:
    broken = {"kid"}
    async with WorkflowEnvironment(family(broken), path=tmp_path) as env:
        parent = await env.client.start("Parent", workflow_input="terminate")
        await env.settle()
        await env.client.handle("kid").send("go")
        await env.settle()
        await parent.send("end")
        await parent.result()
        await env.advance(timedelta(seconds=1))
        broken.clear()
        broken.add("later")
        await env.client.handle("kid").retry(from_step="grow")
        await env.settle()
        now = env.now
    async with WorkflowEnvironment(family(broken), path=tmp_path, now=now) as env:
        await env.settle()
        assert (await env.client.handle("kid").describe()).run.status == "completed"
    assert broken_promises(tmp_path / "wfctl.db") == []


@pytest.mark.parametrize("from_step", [None, "pay"])
async def test_a_daemon_that_dies_after_the_re_opening_goes_on_with_it(tmp_path: Path, from_step: str | None) -> None:
    done: list[str] = []
    broken = {"ship"}

    @task
    async def call(what: str) -> str:
        if what in broken:
            raise RuntimeError(f"{what} is broken")
        done.append(what)
        return what

    def code() -> Workflow:
        wf = Workflow("W")

        @wf.start()
        async def begin(ctx: Context) -> Directive:
            return ctx.next.step(pay)

        @wf.step()
        async def pay(ctx: Context) -> Directive:
            ctx.logger.info("paying")
            said = [await call("charge"), await call("ship")]
            await ctx.sleep(timedelta(hours=1))
            return ctx.next.complete(said)

        return wf

    async with WorkflowEnvironment([code()], path=tmp_path) as env:
        handle = await env.client.start("W", workflow_id="w")
        with pytest.raises(RunFailedError):
            await handle.result()
        broken.clear()
        await handle.retry(from_step=from_step)
        await env.settle()
        now = env.now
    async with WorkflowEnvironment([code()], path=tmp_path, now=now) as env:
        await env.settle()
        await env.advance(timedelta(hours=1))
        handle = env.client.handle("w")
        assert await handle.result() == ["charge", "ship"]
        logged = [entry for entry in await handle.history(logs=True) if entry.kind == "log"]
        assert len(logged) == 2, "once in the step that failed, once in the one that went on"
    assert done == (["charge", "ship"] if from_step is None else ["charge", "charge", "ship"])
    assert broken_promises(tmp_path / "wfctl.db") == []
