"""Taking closed runs away: which trees go, that they go whole, and that nothing else notices."""

from __future__ import annotations

import asyncio
import errno
import shutil
import threading
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.faults import evict
from support.rows import check, contents
from support.waiting import until
from wfctl import Context, Directive, Workflow
from wfctl.errors import InvalidArgumentError, RunNotFoundError, StorageError
from wfctl.protocol import calls
from wfctl.values.status import CLOSED, Status
from wfd.engine import purges
from wfd.engine.commands import Commands
from wfd.engine.passes import Tally
from wfd.engine.retention import KEEP, OFTEN_MS, SELDOM_MS, Retention
from wfd.store import purge
from wfd.store.connect import wal_of
from wfd.store.purge import Rule
from wfd.store.rows import Scope
from wfd.testing import WorkflowEnvironment

DAY = timedelta(days=1)
DAY_MS = 86_400_000


def _order() -> Workflow:
    """Completes, fails, or waits for `go`, after it has started so many children that do as they are told."""
    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context, end: str = "complete", children: list[str] | None = None) -> Directive:
        for number, child in enumerate(children or []):
            await ctx.start("Order", workflow_id=f"{ctx.run.workflow_id}.{number}", workflow_input={"end": child})
        ctx.logger.info("begun")
        ctx.store.put("end", end)
        if end == "wait":
            return ctx.next.wait_for_event("go", "again")
        return ctx.next.complete(end) if end == "complete" else ctx.next.fail("no")

    @wf.event()
    async def go(ctx: Context) -> Directive:
        return ctx.next.complete()

    @wf.event()
    async def again(ctx: Context) -> Directive:
        child = await ctx.start("Order", workflow_id=f"{ctx.run.workflow_id}.0", workflow_input={"end": "complete"})
        ctx.store.put("child", child.run_info.id)
        return ctx.next.wait_for_event("go", "again")

    return wf


async def _started(env: WorkflowEnvironment, workflow_id: str, **given: Any) -> str:
    handle = await env.client.start("Order", workflow_id=workflow_id, workflow_input=given)
    await env.settle()
    assert handle.run_info is not None
    return handle.run_info.id


def _somebody_waits_for_a_tree(env: WorkflowEnvironment) -> bool:
    return any(bar._waiters for bar in env.engine.memory._barred.values())  # type: ignore[attr-defined]


async def _left(env: WorkflowEnvironment) -> list[str]:
    return sorted(run.workflow_id for run in await env.client.list())


async def test_each_run_is_looked_at_once_however_many_types_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    types = [Workflow(f"Type {number}") for number in range(4)]
    for wf in types:

        @wf.start()
        async def begin(ctx: Context) -> Directive:
            return ctx.next.complete()

    looked: list[int] = []

    async def roots_of(*words: Any) -> purge.Looked:
        found = await roots_of_type(*words)
        looked.append(found.runs)
        return found

    roots_of_type = purge.roots_of
    monkeypatch.setattr(purge, "roots_of", roots_of)
    monkeypatch.setattr(purges, "LOOK", 2)
    async with WorkflowEnvironment(types) as env:
        for number in range(12):
            await env.client.start(f"Type {number % 4}", workflow_id=f"w-{number:02}")
        await env.settle()
        for chosen in ([], ["Type 1", "Type 3", "None"]):
            looked.clear()
            call = calls.Purge(closed_until_at=env.engine.clock.now_ms(), types=chosen, dry_run=True, each=True)
            told = [item async for item in env.engine.purges.purge(call)]
            there = [f"w-{number:02}" for number in range(12) if not chosen or number % 4 in (1, 3)]
            assert [tree.workflow_id for item in told for tree in item.trees] == there, "the oldest first, of all types"
            assert sum(looked) == len(there)


async def test_no_more_is_looked_for_once_nobody_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purges, "LOOK", 2)
    async with WorkflowEnvironment([_order()]) as env:
        for number in range(9):
            await _started(env, f"o{number}")
        rule, answers = Rule({Status.COMPLETED: env.clock.now_ms()}), [True, True]
        going = await env.engine.purges.find(rule, wanted=lambda: bool(answers and answers.pop()))
        assert (going.looked, going.tally.total, going.next()) == (4, 4, [1, 2, 3, 4])


async def test_who_waits_for_a_tree_that_is_purged_holds_up_no_other_results() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        gone = await _started(env, "gone")
        await env.advance(2 * DAY)
        stays = await _started(env, "stays")
        await _started(env, "open", end="wait")
        await evict(env)
        env.engine.memory.recent.clear()
        remove, let = env.store.writer.remove, asyncio.Event()

        async def held(removal: purge.Removal) -> purge.Removed:
            await let.wait()
            return await remove(removal)

        env.store.writer.remove = held  # type: ignore[method-assign]
        going = asyncio.create_task(env.client.purge(older_than=DAY))
        await until(lambda: bool(env.engine.memory._barred))
        commands = Commands(env.engine)
        first = asyncio.create_task(commands.result(calls.Result(id=gone)))
        await until(lambda: _somebody_waits_for_a_tree(env))
        async with asyncio.timeout(30):
            assert (await commands.result(calls.Result(id=stays))).status == Status.COMPLETED
            assert (await commands.result(calls.Result(id="open", wait=False))).status == Status.WAITING
        assert not first.done()
        let.set()
        assert (await going).trees == 1
        with pytest.raises(RunNotFoundError):
            await first


async def test_what_closed_long_enough_ago_goes_and_the_rest_stays() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "old")
        await env.advance(30 * DAY)
        await _started(env, "new")
        await _started(env, "open", end="wait")
        purged = await env.client.purge(older_than=30 * DAY)
        assert (purged.trees, purged.runs, purged.held, purged.more) == (1, 1, 0, 0)
        assert await _left(env) == ["new", "open"]


async def test_a_result_is_known_without_reading_until_its_run_is_purged(monkeypatch: pytest.MonkeyPatch) -> None:
    async with WorkflowEnvironment([_order()]) as env:
        run_id = await _started(env, "a", children=["complete"])
        child = (await env.client.handle("a.0").describe()).run.run_id
        other = await _started(env, "b")
        for purged in (False, True):
            with monkeypatch.context() as patch:
                patch.setattr(type(env.store.reader), "_take", None)  # whoever reads now breaks
                for known in [other] if purged else [run_id, other]:
                    assert await env.client.handle(known).result() == "complete"
            await env.client.purge(status="completed", limit=1)
        for gone in (run_id, child, other):
            with pytest.raises(RunNotFoundError):
                await env.client.handle(gone).result()


async def test_a_purge_needs_a_status_or_an_age_and_takes_closed_statuses_alone() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "a")
        with pytest.raises(InvalidArgumentError, match="needs a status or an age"):
            await env.client.purge(workflow_type="Order")
        with pytest.raises(InvalidArgumentError, match="running is not purged"):
            await env.client.purge(status="running")
        with pytest.raises(InvalidArgumentError, match="limit must be at least 1"):
            await env.client.purge(status="failed", limit=0)
        assert await _left(env) == ["a"]


async def test_a_tree_stays_whole_as_long_as_one_run_in_it_is_open() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "parent", children=["complete", "wait"])
        purged = await env.client.purge(older_than=timedelta())
        assert (purged.trees, purged.held) == (0, 1)
        assert await _left(env) == ["parent", "parent.0", "parent.1"]
        await env.client.handle("parent.1").send("go")
        await env.settle()
        purged = await env.client.purge(older_than=timedelta())
        assert (purged.trees, purged.runs) == (1, 3)
        assert await _left(env) == []


async def test_a_tree_stays_whole_as_long_as_one_run_in_it_is_young() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "parent", children=["wait"])
        await env.advance(30 * DAY)
        await env.client.handle("parent.0").send("go")
        await env.settle()
        purged = await env.client.purge(older_than=30 * DAY)
        assert (purged.trees, purged.held) == (0, 1)
        assert await _left(env) == ["parent", "parent.0"]


async def test_a_run_in_a_status_that_was_not_named_keeps_its_tree() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "mixed", children=["fail"])
        await _started(env, "good", children=["complete"])
        purged = await env.client.purge(status="completed")
        assert (purged.trees, purged.runs, purged.held) == (1, 2, 1)
        assert await _left(env) == ["mixed", "mixed.0"]
        purged = await env.client.purge(status=["completed", "failed"])
        assert (purged.runs, await _left(env)) == (2, [])


async def test_a_type_means_that_of_the_root() -> None:
    other = Workflow("Other")

    @other.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.run_child("Order", workflow_id="other.0", workflow_input={"end": "complete"})
        return ctx.next.complete()

    async with WorkflowEnvironment([_order(), other]) as env:
        await _started(env, "order")
        await env.client.run("Other", workflow_id="other")
        purged = await env.client.purge(older_than=timedelta(), workflow_type="Other")
        assert (purged.trees, purged.runs) == (1, 2)
        assert await _left(env) == ["order"]


async def test_a_limit_takes_the_oldest_trees_and_tells_of_the_rest() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        for number, end in enumerate(["fail", "complete", "complete", "fail"]):
            await _started(env, f"o{number}", end=end)
        purged = await env.client.purge(older_than=timedelta(), limit=3)
        assert (purged.trees, purged.more) == (3, 1)
        assert await _left(env) == ["o3"]


async def test_a_dry_run_tells_the_same_and_changes_nothing() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "a", children=["complete", "complete"])
        await _started(env, "b", end="wait")
        before = contents(env.store.path)
        dry = await env.client.purge(status="completed", dry_run=True)
        assert (dry.trees, dry.runs, dry.dry_run) == (1, 3, True)
        assert contents(env.store.path) == before
        done = await env.client.purge(status="completed")
        assert (done.trees, done.runs) == (1, 3)


async def test_nothing_of_a_purged_run_is_left_and_its_id_means_nothing(tmp_path: Path) -> None:
    async with WorkflowEnvironment([_order()], path=tmp_path) as env:
        run_id = await _started(env, "gone", end="fail")
        handle = env.client.handle(run_id)
        assert (await handle.describe()).run.run_id == run_id
        with pytest.raises(Exception, match="no"):
            await handle.result()
        await env.client.purge(status="failed")
        for asked in (
            handle.describe(),
            handle.result(),
            handle.history(),
            handle.retry(),
            env.client.handle("gone").describe(),
        ):
            with pytest.raises(RunNotFoundError):
                await asked
        assert len(env.engine.memory) == 0
    assert all(rows == [] for rows in contents(tmp_path / "wfctl.db").values())
    check(tmp_path / "wfctl.db")


async def test_keys_run_ids_and_revisions_go_on_after_those_that_were_purged(tmp_path: Path) -> None:
    async with WorkflowEnvironment([_order()], path=tmp_path) as env:
        await _started(env, "kept")
        first = await _started(env, "newest")
        before = await env.client.status()
        await env.client.purge(older_than=timedelta(), limit=1)
        await env.client.purge(older_than=timedelta())
        assert await _left(env) == []
    # A clock that was set back, as far as this one can tell: it begins where the other began.
    async with WorkflowEnvironment([_order()], path=tmp_path) as env:
        second = await _started(env, "next")
        assert second > first
        (run,) = contents(env.store.path)["runs"]
        assert run[0] == 3
        history = await env.client.handle("next").history()
        assert history[0].rev > before.rev
        assert (await env.engine.reads.newest_rev()) >= before.rev


async def test_a_follower_that_resumes_from_a_purged_revision_misses_nothing() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "a")
        seen = await env.engine.reads.newest_rev()
        await env.client.purge(older_than=timedelta())
        assert await env.engine.reads.newest_rev() == seen
        await _started(env, "b")
        entries = await env.engine.reads.entries_since(Scope(), seen, 100, logs=True)
        assert {entry.workflow_id for entry in entries} == {"b"}
        assert entries[0].kind == "run.started"
        assert [entry.rev for entry in entries] == sorted(entry.rev for entry in entries)


async def test_the_tree_of_a_run_that_is_purged_once_it_was_found_is_no_empty_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "a")
        resolve = env.engine.reads.resolve

        async def slow(text: str, *, exact: bool) -> object:
            match = await resolve(text, exact=exact)
            await env.client.purge(older_than=timedelta())
            return match

        monkeypatch.setattr(env.engine.reads, "resolve", slow)
        with pytest.raises(RunNotFoundError, match="purged"):
            await env.engine.reads.tree(calls.GetTree(id="a"))


async def test_an_open_parent_that_starts_its_closed_child_again_gets_the_same() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "parent", end="wait", children=["complete"])
        child = (await env.client.handle("parent.0").describe()).run.run_id
        purged = await env.client.purge(older_than=timedelta())
        assert (purged.trees, purged.runs) == (0, 0)
        await env.client.handle("parent").send("again")
        await env.settle()
        assert (await env.client.handle("parent").describe()).store["child"] == child


class Held:
    """The writer's next commits wait until `open`; `arrived` once one does."""

    def __init__(self, env: WorkflowEnvironment) -> None:
        self.arrived = False
        self._open = threading.Event()
        env.store.writer.before_commit = self._wait

    def _wait(self, number: int) -> None:
        self.arrived = True
        assert self._open.wait(30)

    def open(self) -> None:
        self._open.set()


async def test_a_tree_of_which_a_retry_is_on_its_way_to_the_disk_stays() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "parent", end="fail", children=["complete"])
        held = Held(env)
        retry = asyncio.create_task(env.client.handle("parent").retry())
        await until(lambda: held.arrived)
        going = await env.engine.purges.find(Rule(dict.fromkeys(CLOSED, env.clock.now_ms())))
        roots = going.next(10)
        assert roots == [1]
        await env.engine.purges.take(going, roots, lambda: True)
        assert (going.tally.trees, going.tally.held) == (0, 1)
        held.open()
        assert (await retry).was == "failed"
        await env.settle()
        assert await _left(env) == ["parent", "parent.0"]


async def test_a_retry_that_comes_while_its_run_is_being_purged_finds_none() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "parent", end="fail", children=["complete"])
        held = Held(env)
        purge = asyncio.create_task(env.client.purge(older_than=timedelta()))
        await until(lambda: held.arrived)
        retry = asyncio.create_task(env.client.handle("parent").retry())
        await until(lambda: _somebody_waits_for_a_tree(env))
        held.open()
        assert (await purge).runs == 2
        with pytest.raises(RunNotFoundError):
            await retry
        assert env.engine.failure is None


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purges, "PORTION_ROWS", 12)


async def test_a_tree_that_is_too_big_for_one_portion_goes_in_several(small: None, tmp_path: Path) -> None:
    async with WorkflowEnvironment([_order()], path=tmp_path) as env:
        await _started(env, "big", children=["complete"] * 9)
        await _started(env, "small")
        commits = env.store.writer.stats.commits
        purged = await env.client.purge(older_than=timedelta())
        assert (purged.trees, purged.runs) == (2, 11)
        assert env.store.writer.stats.commits - commits > 4
        await env.settle()
        assert await env.store.reader.meta("purging") is None
        assert env.engine.memory._barred == {}
    assert all(rows == [] for rows in contents(tmp_path / "wfctl.db").values())


async def test_nobody_goes_on_with_a_tree_of_which_a_part_is_gone_and_the_next_daemon_finishes_it(
    small: None, tmp_path: Path
) -> None:
    class PowerFailure(Exception):
        pass

    async with WorkflowEnvironment([_order()], path=tmp_path) as env:
        await _started(env, "big", end="fail", children=["complete"] * 9)
        await _started(env, "kept", end="wait", children=["fail"])
        stop = env.store.writer.stats.commits + 4

        def fail(number: int) -> None:
            if number >= stop:
                raise PowerFailure

        env.store.writer.before_commit = fail
        with pytest.raises(Exception, match="PowerFailure"):
            await env.client.purge(status=["failed", "completed"])
        assert 1 < len(contents(env.store.path)["runs"]) < 12
        with pytest.raises(RunNotFoundError):
            await env.client.handle("big").retry()
        assert env.engine.failure is None
    async with WorkflowEnvironment([_order()], path=tmp_path) as env:
        await env.settle()
        assert await _left(env) == ["kept", "kept.0"]
        assert await env.store.reader.meta("purging") is None
        check(env.store.path)


async def test_a_tree_that_is_begun_is_finished_before_another_is(small: None) -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "first", children=["complete"] * 9)
        await _started(env, "second", children=["complete"] * 9)
        going = await env.engine.purges.find(Rule(dict.fromkeys(CLOSED, env.clock.now_ms())), each=True)
        first, second = going.next(10)
        fails = env.store.writer.stats.commits + 3

        def fail(number: int) -> None:
            nonlocal fails
            if number == fails:
                fails = 0
                raise OSError(errno.EIO, "once")

        env.store.writer.before_commit = fail
        broken, gone = await asyncio.gather(
            *(env.engine.purges.take(going, [root], lambda: True) for root in (first, second)),
            return_exceptions=True,
        )
        assert "once" in str(broken)
        assert isinstance(gone, list)
        assert [tree.workflow_id for tree in gone] == ["second"]
        await env.settle()
        assert await _left(env) == []
        assert env.engine.memory._barred == {}


async def test_a_tree_that_is_begun_is_finished_where_the_writer_fails_and_nobody_else_writes(small: None) -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "big", children=["complete"] * 9)
        writer = env.store.writer
        stop = writer.stats.commits + 3

        def fail(number: int) -> None:
            if number == stop:
                writer.before_commit = None
                # As when its process has ended, and no other could be started.
                writer.failure = StorageError("the process that writes the database ended")
                raise writer.failure

        writer.before_commit = fail
        with pytest.raises(StorageError, match="ended"):
            await env.client.purge(older_than=timedelta())
        await until(lambda: env.engine.failure is not None)
        env.clock.advance(1_000)
        await until(lambda: env.engine.failure is None)
        await env.settle()
        assert await _left(env) == []


async def test_an_engine_that_stops_in_the_middle_of_a_tree_leaves_nothing_at_work(small: None) -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "big", children=["complete"] * 20)
        purge = asyncio.create_task(env.client.purge(older_than=timedelta()))
        await until(lambda: env.engine.memory.given_up(1))
    await asyncio.gather(purge, return_exceptions=True)
    assert not env.engine.busy


async def test_killed_between_any_two_commits_of_a_purge_there_are_whole_trees_when_it_is_up_again(
    small: None, tmp_path: Path
) -> None:
    killed: list[Path] = []
    async with WorkflowEnvironment([_order()], path=tmp_path / "first") as env:
        await _started(env, "small-1")
        await _started(env, "big", end="fail", children=["complete", "fail", "complete"])
        await _started(env, "small-2", children=["complete"])
        await _started(env, "open", end="wait", children=["complete"])

        def copy(number: int) -> None:
            # The writer waits, so these are the files as a kill at this moment leaves them.
            killed.append(tmp_path / str(number))
            killed[-1].mkdir()
            for file in (env.store.path, wal_of(env.store.path)):
                shutil.copy(file, killed[-1] / file.name)

        env.store.writer.before_commit = copy
        await env.client.purge(status=["failed", "completed"])
    trees = {"small-1": 1, "big": 4, "small-2": 2, "open": 2}
    seen = set()
    for folder in killed:
        async with WorkflowEnvironment([_order()], path=folder) as env:
            await env.settle()
            left = Counter(workflow_id.split(".")[0] for workflow_id in await _left(env))
            assert left == {root: trees[root] for root in left}
            assert "open" in left
            seen.add(len(left))
        check(folder / "wfctl.db")
    assert len(killed) >= 5
    assert len(seen) >= 3


async def test_a_tree_that_is_too_big_to_be_read_at_once_stays_where_a_run_in_it_is_open(small: None) -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "held", children=["complete"] * 14 + ["wait"])
        await _started(env, "goes", children=["complete"] * 14)
        going = await env.engine.purges.find(Rule(dict.fromkeys(CLOSED, env.clock.now_ms())))
        assert (going.next(10), going.tally.held) == ([17], 1)
        await env.engine.purges.take(going, [1, 17], lambda: True)
        assert (going.tally.trees, going.tally.runs, going.tally.held) == (1, 15, 2)
        assert len(await _left(env)) == 16


@pytest.mark.parametrize(("closed", "portions"), [(0, 10), (9, 6), (1_000, 2)])
async def test_a_big_tree_goes_in_fewer_portions_the_more_the_purge_is_behind(
    closed: int, portions: int, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purges, "MOST_ROWS", 80)
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "big", children=["complete"] * 14)
        going = await env.engine.purges.find(Rule(dict.fromkeys(CLOSED, env.clock.now_ms())))
        commits = env.store.writer.stats.commits
        env.engine.purges.closed[Status.COMPLETED] += closed
        await env.engine.purges.take(going, going.next(), lambda: True)
        assert (going.tally.trees, going.tally.runs) == (1, 15)
        assert env.store.writer.stats.commits - commits == portions


async def test_the_trees_of_a_portion_are_read_in_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async with WorkflowEnvironment([_order()]) as env:
        for number in range(8):
            await _started(env, f"o{number}", children=["complete"])
        going = await env.engine.purges.find(Rule(dict.fromkeys(CLOSED, env.clock.now_ms())))
        await env.engine.purges.take(going, going.next(2), lambda: True)
        reads, take = 0, env.store.reader._take

        async def counted() -> Any:
            nonlocal reads
            reads += 1
            return await take()

        monkeypatch.setattr(env.store.reader, "_take", counted)
        await env.engine.purges.take(going, going.next(6), lambda: True)
        assert (going.tally.trees, reads) == (8, 1)


async def test_a_client_that_leaves_in_the_middle_leaves_whole_trees(small: None) -> None:
    async with WorkflowEnvironment([_order()]) as env:
        for number in range(4):
            await _started(env, f"o{number}", children=["complete"] * 4)
        purge = asyncio.create_task(env.client.purge(older_than=timedelta()))
        await until(lambda: env.engine.memory._barred != {})
        purge.cancel()
        await asyncio.gather(purge, return_exceptions=True)
        await env.settle()
        left = await _left(env)
        assert len(left) % 5 == 0
        assert env.engine.memory._barred == {}


async def test_of_two_purges_at_once_each_counts_the_trees_that_it_took_away_itself() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        for number in range(9):
            await _started(env, f"o{number}", children=["complete"])
        rule, taken = Rule(dict.fromkeys(CLOSED, env.clock.now_ms())), Counter[str]()
        first, second = [await env.engine.purges.find(rule, each=True) for _ in range(2)]
        for going, trees in ((first, 2), (second, 5), (first, 7), (second, 4)):
            taken.update(
                [tree.workflow_id for tree in await env.engine.purges.take(going, going.next(trees), lambda: True)]
            )
        assert taken == Counter(f"o{number}" for number in range(9)), "each once"
        assert await _left(env) == []
        assert [(one.tally.trees, one.tally.runs, one.tally.held) for one in (first, second)] == [(6, 12, 0), (3, 6, 0)]
        assert [one.tally.total for one in (first, second)] == [6, 3], "as far as each has to go"


# -- retention -----------------------------------------------------------------------------------------


async def test_runs_go_once_they_were_kept_as_long_as_is_said_for_their_status() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        retention = Retention(env.engine.purges, env.clock, {Status.COMPLETED: 30 * DAY_MS, Status.FAILED: 90 * DAY_MS})
        await _started(env, "good")
        await _started(env, "bad", end="fail")
        await _started(env, "mixed", children=["fail", "complete"])
        await _started(env, "cancelled", end="wait")
        await env.client.handle("cancelled").cancel()
        await env.advance(29 * DAY)
        assert (await retention.purge_now()).trees == 0
        await env.advance(1 * DAY)
        assert (await retention.purge_now()).trees == 1
        assert await _left(env) == ["bad", "cancelled", "mixed", "mixed.0", "mixed.1"]
        await env.advance(60 * DAY)
        tally = await retention.purge_now()
        assert (tally.trees, tally.runs) == (2, 4)
        assert await _left(env) == ["cancelled"]


async def test_retention_looks_by_itself_and_other_ages_count_at_once() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        retention = Retention(env.engine.purges, env.clock, {})
        await retention.start()
        await _started(env, "a")
        await env.advance(400 * DAY)
        assert await _left(env) == ["a"]
        retention.configured({Status.COMPLETED: DAY_MS})
        await _task_of(retention, env)
        assert await _left(env) == []
        await _started(env, "b")
        env.clock.advance(DAY_MS)
        env.clock.advance(SELDOM_MS)
        await _task_of(retention, env)
        assert await _left(env) == []
        await retention.stop()
        assert env.clock.next_due_ms() is None


async def test_a_pass_that_took_longer_than_the_pause_is_followed_by_the_next_at_once() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        clock = env.clock
        retention = Retention(env.engine.purges, clock, {Status.COMPLETED: OFTEN_MS})
        take, purge_now = env.engine.purges.take, retention.purge_now
        took_ms, gone = [90_000, 20_000], list[int]()

        async def slow(*given: Any) -> list[purge.Tree]:
            clock.advance(took_ms.pop(0))
            return await take(*given)

        async def told() -> Tally:
            tally = await purge_now()
            gone.append(tally.trees)
            return tally

        async def passes(number: int) -> bool:
            await until(lambda: len(gone) >= number and retention._task is not None and retention._task.done())
            return len(gone) == number

        env.engine.purges.take = slow  # type: ignore[method-assign]
        retention.purge_now = told  # type: ignore[method-assign]
        await _started(env, "a")
        await _started(env, "b")
        await retention.start()
        clock.advance(OFTEN_MS // 2)
        await _started(env, "c")
        clock.advance(OFTEN_MS // 2)
        assert await passes(2), "the third tree had come due"
        assert gone == [2, 1]
        clock.advance(OFTEN_MS - 20_000 - 1)
        assert await passes(2)
        clock.advance(1)
        assert await passes(3), "so long after the one before has begun"
        clock.advance(OFTEN_MS - 1)
        assert await passes(3)
        assert gone == [2, 1, 0]
        await retention.stop()


async def test_what_a_pass_frees_is_for_the_runs_that_come_and_what_they_leave_goes_back_at_the_next() -> None:
    hour = timedelta(hours=1)
    async with WorkflowEnvironment([_order()]) as env:
        retention = Retention(env.engine.purges, env.clock, {Status.COMPLETED: 3_600_000})

        async def pages() -> tuple[int, int]:
            room = await env.store.writer.give_back(0)
            return room.pages, room.free

        async def round(number: int) -> None:
            for order in range(5):
                await env.client.start(
                    "Order",
                    workflow_id=f"o-{number}-{order}",
                    workflow_input={"end": "complete", "children": ["complete"] * 20},
                )
            await env.settle()
            await env.advance(hour)
            await retention.purge_now()

        await round(0)
        longest, _ = await pages()
        for number in range(1, 4):
            await round(number)
            now, free = await pages()
            assert now == pytest.approx(longest, rel=0.05), "neither longer, nor given back and taken again"
            assert free > now * KEEP
        await retention.purge_now()
        now, free = await pages()
        assert now < longest / 2
        assert free <= now * KEEP + 1


async def test_what_closes_is_counted_by_its_status() -> None:
    async with WorkflowEnvironment([_order()]) as env:
        await _started(env, "good", children=["complete", "fail"])
        await _started(env, "open", end="wait")
        assert env.engine.purges.closed == {Status.COMPLETED: 2, Status.FAILED: 1}
        going = await env.engine.purges.find(Rule({Status.FAILED: 0}))
        await _started(env, "more", children=["complete"])
        assert not going.behind()
        await _started(env, "bad", end="fail")
        assert going.behind()


async def _task_of(retention: Retention, env: WorkflowEnvironment) -> None:
    env.clock.advance(0)
    assert retention._task is not None
    await retention._task
