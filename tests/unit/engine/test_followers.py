"""What followers are told beside history: the progress of running steps, and changes of status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from support.faults import Disk, until_healthy
from support.rows import contents
from support.waiting import until
from wfctl import Context, Directive, RetryPolicy, Workflow, task
from wfctl.errors import InvalidArgumentError, RunNotFoundError, StorageError
from wfctl.protocol import calls
from wfctl.protocol.views import HistoryEntry, RunChange
from wfd.engine.streams import Tail, Watch
from wfd.testing import WorkflowEnvironment

works = Workflow("Works")
gates: dict[str, asyncio.Event] = {}


@works.start()
async def work(ctx: Context, total: int = 3) -> Directive:
    await ctx.now()
    # In one turn of the loop: the first goes at once, and of all others the last.
    for done in range(total):
        ctx.progress(done, total, f"part {done}")
    ctx.progress(total, total)
    await gates["go"].wait()
    return ctx.next.wait_for_event()


@works.event()
async def finish(ctx: Context) -> Directive:
    return ctx.next.complete("done")


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    gates["go"] = asyncio.Event()
    async with WorkflowEnvironment([works, parent, child, rests]) as env:
        yield env


async def _reported(tail: Tail, number: int) -> list[HistoryEntry]:
    found: list[HistoryEntry] = []
    async for entry in tail:
        if entry.kind == "progress":
            found.append(entry)
            if len(found) == number:
                break
    await tail.aclose()
    return found


def _tail(env: WorkflowEnvironment, **words: Any) -> Tail:
    return Tail(env.engine.reads, env.engine.hub, calls.Tail(follow=True, progress=True, **words))


async def test_progress_is_seen_and_written_nowhere(env: WorkflowEnvironment) -> None:
    tail = _tail(env, ids=[], kinds=["progress"])
    waiting = asyncio.ensure_future(_reported(tail, 2))
    handle = await env.client.start("Works", workflow_id="w")
    first, last = await waiting
    assert first.data == {"done": 0, "total": 3, "note": "part 0"}
    assert last.data == {"done": 3, "total": 3}
    assert (last.rev, last.seq, last.workflow_id) == (0, 0, "w")
    assert first.at == env.clock.now_ms()
    view = (await handle.describe()).run
    assert view.progress is not None
    assert view.progress.done == 3
    await env.store.writer.flush()
    assert "part" not in str(contents(env.store.path))


async def test_who_begins_to_follow_in_the_middle_is_told_where_the_step_is(env: WorkflowEnvironment) -> None:
    handle = await env.client.start("Works", workflow_id="w")
    await _reported(_tail(env, ids=["w"]), 2)
    (again,) = await _reported(_tail(env, ids=["w"]), 1)
    assert again.data["done"] == 3
    gates["go"].set()
    await env.settle()
    assert (await handle.describe()).run.progress is None


@pytest.mark.parametrize("end", ["returns", "terminated", "worker dies"])
async def test_progress_ends_with_the_step_however_that_ends(env: WorkflowEnvironment, end: str) -> None:
    handle = await env.client.start("Works", workflow_id="w", workflow_input={"total": 2})
    await _reported(_tail(env, ids=["w"]), 2)
    assert env.engine.hub.reports
    if end == "returns":
        gates["go"].set()
        await env.settle()
    elif end == "terminated":
        await handle.terminate()
    else:
        lost = env.engine.hub.reports.copy()
        env.workers.lose()
        assert env.engine.hub.reports != lost
        gates["go"].set()
        await env.settle()
    assert env.engine.hub.reports == {}
    assert (await env.engine.reads.tree(calls.GetTree(id="w"))).roots[0].run.progress is None


async def test_the_tree_shows_until_when_a_handler_sleeps(env: WorkflowEnvironment) -> None:
    await env.client.start("Rests", workflow_id="r")
    await env.settle()

    async def stands() -> tuple[str, int | None, int | None]:
        (root,) = (await env.engine.reads.tree(calls.GetTree(id="r"))).roots
        return root.run.status, root.run.wake_at, root.steps[-1].wake_at

    until = env.clock.now_ms() + 60_000
    assert await stands() == ("running", until, until)
    await env.advance(timedelta(minutes=1))
    assert await stands() == ("completed", None, None)


async def test_the_tree_and_a_client_show_progress(env: WorkflowEnvironment) -> None:
    handle = await env.client.start("Works", workflow_id="w")
    told = []
    async for entry in handle.watch(progress=True):
        told.append(entry.kind)
        if entry.kind == "progress":
            gates["go"].set()
        if entry.kind == "wait.started":
            await handle.send("finish")
    assert "progress" in told
    assert told.index("progress") < told.index("step.completed")
    assert [entry.kind async for entry in handle.watch()] == [kind for kind in told if kind != "progress"]


async def test_only_progress_of_followed_runs_is_told(env: WorkflowEnvironment) -> None:
    await env.client.start("Works", workflow_id="mine")
    tail = _tail(env, ids=["mine"], kinds=["progress"])
    await _reported(_tail(env, ids=["mine"]), 2)
    await env.client.start("Works", workflow_id="other")
    await _reported(_tail(env, ids=["other"]), 2)
    (entry,) = await _reported(tail, 1)
    assert entry.workflow_id == "mine"


# -- kinds and times -------------------------------------------------------------------------------


async def _told(env: WorkflowEnvironment, **words: Any) -> list[str]:
    tail = Tail(env.engine.reads, env.engine.hub, calls.Tail(**words))
    kinds = [entry.kind async for entry in tail]
    await tail.aclose()
    return kinds


async def test_kinds_narrow_what_is_told(env: WorkflowEnvironment) -> None:
    gates["go"].set()
    await env.client.start("Works", workflow_id="w")
    await env.settle()
    assert await _told(env, ids=["w"]) == [
        "run.started", "step.started", "timestamp.recorded", "step.completed", "wait.started",
    ]  # fmt: skip
    assert await _told(env, kinds=["step"]) == ["step.started", "step.completed"]
    assert await _told(env, kinds=["run.started", "wait"]) == ["run.started", "wait.started"]
    assert await _told(env, kinds=["step", "run"], last=2) == ["step.started", "step.completed"]
    with pytest.raises(InvalidArgumentError, match=r"'stepp' is no kind of history entry; did you mean 'step'\?"):
        await _told(env, kinds=["stepp"])


async def test_a_time_says_where_to_begin(env: WorkflowEnvironment) -> None:
    gates["go"].set()
    began = env.clock.now_ms()
    handle = await env.client.start("Works", workflow_id="w")
    await env.settle()
    await env.advance(timedelta(minutes=5))
    await handle.send("finish")
    await env.settle()
    late = await _told(env, ids=["w"], since_ms=began + 1)
    assert late == ["event.received", "step.started", "step.completed", "run.completed"]
    assert len(await _told(env, since_ms=began)) == 9
    assert await _told(env, since_ms=env.clock.now_ms() + 1) == []
    assert await _told(env, since_ms=began + 1, last=2) == late[-2:]
    assert await _told(env, since_ms=began + 1, last=100) == late


# -- changes of status -----------------------------------------------------------------------------

parent, child, rests = Workflow("Parent"), Workflow("Child"), Workflow("Rests")


@task(retry=RetryPolicy(attempts=2, delay=timedelta(seconds=1)))
async def flaky(fail: bool) -> None:
    if fail:
        raise ValueError("no such card")


@child.start()
async def child_start(ctx: Context, how: str) -> Directive:
    if how == "fails":
        await flaky(True)
    if how == "sleeps":
        return ctx.next.step(child_end, after=timedelta(hours=1))
    if how == "waits":
        return ctx.next.wait_for_event(timeout=timedelta(minutes=30), on_timeout=child_end)
    return ctx.next.complete()


@child.step()
async def child_end(ctx: Context) -> Directive:
    return ctx.next.complete()


@rests.start()
async def rest(ctx: Context) -> Directive:
    await ctx.sleep(timedelta(minutes=1))
    return ctx.next.complete()


@parent.start()
async def parent_start(ctx: Context) -> Directive:
    for how in ("fails", "sleeps", "waits", "ends", "waits2"):
        await ctx.start("Child", f"{ctx.run.workflow_id}-{how}", {"how": how.rstrip("2")}, on_parent_close="terminate")
    return ctx.next.wait_for_event(timeout=timedelta(hours=2))


@parent.event()
async def over(ctx: Context) -> Directive:
    return ctx.next.complete()


async def _changes(env: WorkflowEnvironment, id: str | None, since_rev: int = 0, *ids: str) -> list[RunChange]:
    call = calls.Watch(id=id, ids=[*ids], changes=True, since_rev=since_rev)
    watch = Watch(env.engine.reads, env.engine.hub, env.clock, call)
    found: list[RunChange] = []
    async for item in watch:
        found += item.changes
        if item.rev >= env.engine.rev:
            break
    await watch.aclose()
    return found


async def _lived(env: WorkflowEnvironment) -> None:
    handle = await env.client.start("Parent", workflow_id="p")
    await env.client.start("Parent", workflow_id="q")
    await env.advance(timedelta(minutes=40))
    await env.client.handle("p-waits2").terminate("enough")
    await env.advance(timedelta(minutes=40))
    await handle.send("over")
    await env.settle()


async def test_changes_add_up_to_how_the_runs_stand(env: WorkflowEnvironment) -> None:
    await _lived(env)
    stands: dict[str, str] = {}
    changes = await _changes(env, None)
    for change in changes:
        assert stands.get(change.run_id) == change.was
        stands[change.run_id] = change.now
    assert stands == {run.run_id: run.status for run in await env.client.list()}
    assert [change.rev for change in changes] == sorted({change.rev for change in changes})
    assert {"/".join(change.path) for change in changes} >= {"p", "q", "p/p-fails", "q/q-sleeps"}
    (failed,) = [change for change in changes if change.path == ["p", "p-fails"] and change.now == "failed"]
    assert (failed.was, failed.why) == ("running", "ValueError: no such card")


async def test_changes_go_on_after_any_revision_without_a_gap_or_a_guess(env: WorkflowEnvironment) -> None:
    await _lived(env)
    whole = await _changes(env, "p")
    assert {change.path[0] for change in whole} == {"p"}
    for rev in range(0, env.engine.rev + 1, 3):
        assert await _changes(env, "p", rev) == [change for change in whole if change.rev > rev]


async def test_changes_of_a_part_of_a_tree_are_named_from_there(env: WorkflowEnvironment) -> None:
    await _lived(env)
    changes = await _changes(env, "p-sleeps")
    assert [(change.path, str(change.was), str(change.now)) for change in changes] == [
        (["p-sleeps"], "None", "running"),
        (["p-sleeps"], "running", "sleeping"),
        (["p-sleeps"], "sleeping", "running"),
        (["p-sleeps"], "running", "completed"),
    ]


async def test_changes_of_several_runs_are_those_of_each_named_from_the_uppermost(env: WorkflowEnvironment) -> None:
    await _lived(env)
    both = await _changes(env, "q", 0, "p-sleeps")
    assert both == sorted([*await _changes(env, "q"), *await _changes(env, "p-sleeps")], key=lambda one: one.rev)
    assert await _changes(env, "p-sleeps", 0, "p") == await _changes(env, "p")


async def test_a_watch_of_several_runs_ends_when_all_have_closed(env: WorkflowEnvironment) -> None:
    await _lived(env)
    for ids, ends in ((["p", "p-sleeps"], True), (["p", "q"], False)):
        watch = Watch(env.engine.reads, env.engine.hub, env.clock, calls.Watch(ids=ids, every_ms=1))
        items = aiter(watch)
        await anext(items)
        if ends:
            with pytest.raises(StopAsyncIteration):
                await anext(items)
            assert watch.answer is not None
            assert watch.answer.status.closed
        else:
            rest = asyncio.ensure_future(anext(items, None))
            await env.client.handle("q").send("over")
            await env.advance(timedelta(hours=3))
            await rest
            assert [item async for item in items][1:] == []
            assert watch.answer is not None
            assert watch.answer.status.closed
        await watch.aclose()


async def test_changes_of_more_runs_than_are_remembered_are_the_same(
    env: WorkflowEnvironment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _lived(env)
    whole = await _changes(env, None)
    begun = max(change.rev for change in whole if change.path == ["q"])
    monkeypatch.setattr("wfd.engine.changes.PAGE", 1)
    monkeypatch.setattr("wfd.engine.changes.MAX_NAMES", 0)
    later = await _changes(env, None, begun)
    assert later == [change for change in whole if change.rev > begun]
    assert ["q", "q-sleeps"] in [change.path for change in later]


async def test_a_run_that_begins_later_is_told_to_have_slept_whenever_one_begins_to_follow(
    env: WorkflowEnvironment,
) -> None:
    await env.client.start("Child", workflow_id="late", workflow_input={"how": "ends"}, delay=timedelta(minutes=1))
    rev = env.engine.rev
    await env.advance(timedelta(minutes=1))
    whole = await _changes(env, "late")
    assert [str(change.now) for change in whole] == ["sleeping", "running", "completed"]
    assert await _changes(env, "late", rev) == whole[1:]


@pytest.mark.parametrize("heard", [True, False])
async def test_who_follows_several_runs_goes_on_when_one_that_has_closed_is_purged(
    env: WorkflowEnvironment, heard: bool
) -> None:
    gates["go"].set()
    first, second = [await env.client.start("Works", workflow_id=id) for id in "ab"]
    await env.settle()
    if heard:
        await first.send("finish")
        await env.settle()
    tail = Tail(env.engine.reads, env.engine.hub, calls.Tail(ids=["a", "b"], follow=True))
    told: list[tuple[str, str]] = []

    async def follow() -> None:
        async for entry in tail:
            told.append((entry.workflow_id, entry.kind))
            if told[-1] == ("b", "wait.started"):
                if not heard:
                    await first.terminate()
                await env.client.purge(older_than=timedelta(0))
                await second.send("finish")

    if heard:
        await follow()
        ends = [(end.workflow_id, str(end.status)) for end in tail.answer.outcomes]
        assert ends == [("a", "completed"), ("b", "completed")]
    else:
        # Nobody knows any more how it ended: that is told last.
        with pytest.raises(RunNotFoundError, match="purged"):
            await follow()
    await tail.aclose()
    assert told[-1] == ("b", "run.completed")


async def test_whoever_follows_is_told_what_was_committed_when_the_answer_to_it_was_lost(
    env: WorkflowEnvironment,
) -> None:
    gates["go"].set()
    handle = await env.client.start("Works", workflow_id="w")
    await env.settle()
    engine = env.engine
    tail = Tail(engine.reads, engine.hub, calls.Tail(ids=["w"], follow=True))
    watch = Watch(engine.reads, engine.hub, env.clock, calls.Watch(id="w", every_ms=1))
    entries: list[HistoryEntry] = []
    items: list[calls.WatchItem] = []
    following = [asyncio.ensure_future(follow) for follow in (_follow(tail, entries), _follow(watch, items))]
    # Both have told all that there was, and wait.
    await until(lambda: len(entries) == engine.rev and items and env.clock.next_due_ms() is not None)
    await env.advance(timedelta(milliseconds=1))
    Disk(env).lose_answer("run.terminated")
    with pytest.raises(StorageError):
        await handle.terminate("enough")
    await until_healthy(env)
    async with asyncio.timeout(30):
        await asyncio.gather(*following)
    assert (entries[-1].kind, entries[-1].rev) == ("run.terminated", engine.rev)
    assert items[-1].rev == engine.hub.rev == engine.rev
    assert tail.answer.outcomes == [watch.answer]


async def _follow(stream: Tail | Watch, told: list[Any]) -> None:
    async for item in stream:
        told += [item]
    await stream.aclose()
