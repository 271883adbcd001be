"""What a program asks of many runs at once: their trees, their histories as one, their changes, a page of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import pytest

from spec.conftest import Serve
from support.waiting import until
from wfctl import Client, ClientHandle, Context, DaemonDownError, Directive, InvalidArgumentError, Workflow
from wfctl.errors import ConflictError, RunNotFoundError
from wfctl.protocol.calls import Copied, PurgedSoFar
from wfctl.protocol.views import HistoryEntry, Tree, TreeNode, WatchItem
from wfctl.values.status import Status
from wfd.testing import WorkflowEnvironment

T = TypeVar("T")
STEP = timedelta(seconds=1)


def family() -> tuple[Workflow, Workflow]:
    """A `Parent` that starts so many `Child` runs, each of which waits to be told to end or to fail; it ends when it is told."""
    parent, child = Workflow("Parent"), Workflow("Child")

    @parent.start()
    async def begin(ctx: Context, children: int = 0) -> Directive:
        for number in range(children):
            await ctx.start("Child", f"{ctx.run.workflow_id}/{number}")
        return ctx.next.wait_for_event()

    @parent.event()
    async def more(ctx: Context) -> Directive:
        await ctx.start("Child", f"{ctx.run.workflow_id}/more")
        return ctx.next.wait_for_event()

    @parent.event()
    async def done(ctx: Context) -> Directive:
        return ctx.next.complete()

    @child.start()
    async def wait(ctx: Context) -> Directive:
        ctx.logger.info("here")
        return ctx.next.wait_for_event()

    @child.event()
    async def end(ctx: Context, fail: bool = False) -> Directive:
        return ctx.next.fail("no") if fail else ctx.next.complete()

    return parent, child


async def families(serve: Serve, **children: int) -> WorkflowEnvironment:
    env = await serve(*family())
    for name, number in children.items():
        await env.client.start("Parent", workflow_id=name, workflow_input={"children": number})
    await env.settle()
    return env


async def handles(client: Client, *names: str) -> list[ClientHandle]:
    """Each of one very run."""
    return [client.handle(run) for run in await client.list() if run.workflow_id in names]


async def hear(items: AsyncIterator[T], tell: Callable[[T], object]) -> None:
    """Tell each as it comes."""
    async for item in items:
        tell(item)


def below(node: TreeNode) -> set[str]:
    return {child.run.workflow_id for child in node.children}


def roots(tree: Tree) -> list[str]:
    return [node.run.workflow_id for node in tree.roots]


# -- trees ---------------------------------------------------------------------------------------


async def test_a_tree_has_the_steps_and_children_of_a_run(serve: Serve) -> None:
    client = (await families(serve, a=2)).client
    tree = await client.tree("a")
    (root,) = tree.roots
    assert (root.run.workflow_id, below(root)) == ("a", {"a/0", "a/1"})
    assert [step.kind for step in root.steps] == ["start", "wait"]
    assert tree.complete
    assert tree.rev > 0


async def test_a_tree_is_as_deep_and_as_grouped_as_it_was_asked_for(serve: Serve) -> None:
    client = (await families(serve, a=9)).client
    (cut,) = (await client.tree("a", depth=0)).roots
    assert (cut.children, cut.groups) == ([], [])
    (root,) = (await client.tree("a")).roots
    (group,) = root.groups
    assert (group.workflow_type, group.total) == ("Child", 9)
    assert group.sample
    (bare,) = (await client.tree("a", sample=0)).roots
    assert bare.groups[0].sample == []
    (apart,) = (await client.tree("a", group_at=4, expand="Child")).roots
    (whole,) = (await client.tree("a", group_at=None)).roots
    assert len(apart.children) == len(whole.children) == 9


async def test_only_the_ways_to_what_failed_are_left_where_that_is_asked_for(serve: Serve) -> None:
    env = await families(serve, a=3, b=1)
    await env.client.handle("a/1").send("end", {"fail": True})
    await env.settle()
    tree = await env.client.tree(only_failed=True)
    assert (roots(tree), below(tree.roots[0]), tree.roots[0].failed_below) == (["a"], {"a/1"}, 1)


async def test_without_a_run_there_are_the_newest_open_roots(serve: Serve) -> None:
    client = (await families(serve, a=0, b=1, c=0)).client
    assert roots(await client.tree()) == ["c", "b", "a"]
    tree = await client.tree(limit=1)
    assert (roots(tree), tree.open_roots) == (["c"], 3)


async def test_runs_are_named_by_ids_by_handles_and_as_a_list_tells_of_them(serve: Serve) -> None:
    client = (await families(serve, a=0, b=0, c=0)).client
    (run,) = [one for one in await client.list() if one.workflow_id == "c"]
    tree = await client.tree("a", client.handle("b"), run, run.run_id, "c")
    assert roots(tree) == ["a", "b", "c"]
    with pytest.raises(RunNotFoundError, match="no run 'ab'"):
        await client.tree("ab")
    with pytest.raises(InvalidArgumentError, match="a run is an ID, a handle or a run of a list, not list"):
        await client.tree(["a", "b"])  # type: ignore[arg-type]


async def test_a_run_is_that_very_one_though_another_has_its_run_id_as_workflow_id(serve: Serve) -> None:
    env = await families(serve, a=0)
    client = env.client
    (first,) = await client.list()
    await client.start("Parent", workflow_id=first.run_id)
    assert roots(await client.tree(first)) == ["a"]
    assert {entry.workflow_id async for entry in client.tail(first)} == {"a"}
    assert await client.list(parent=first) == []
    await client.handle(first).send("done")
    await env.settle()
    assert [item.changes[-1].path async for item in client.changes(first, since_rev=first.rev)] == [["a"]]
    assert await client.handle(first).result() is None


# -- histories -----------------------------------------------------------------------------------


async def test_a_tail_merges_several_runs_and_their_descendants_in_the_order_of_commits(serve: Serve) -> None:
    env = await families(serve, a=1, b=1, c=1)
    tail = env.client.tail("a", "b", children=True)
    entries = [entry async for entry in tail]
    revs = [entry.rev for entry in entries]
    assert revs == sorted(set(revs))
    assert {entry.workflow_id for entry in entries} == {"a", "a/0", "b", "b/0"}
    assert [entry.kind for entry in entries].count("log") == 2
    assert [(one.workflow_id, one.status) for one in tail.outcomes] == [("a", "waiting"), ("b", "waiting")]


async def test_a_tail_goes_on_where_another_has_come_to(serve: Serve) -> None:
    env = await families(serve, a=0)
    first = env.client.tail("a")
    before = [entry async for entry in first]
    await env.client.handle("a").send("done")
    await env.settle()
    after = [entry async for entry in env.client.tail("a", since_rev=first.rev)]
    assert before + after == await env.client.handle("a").history()
    assert after[-1].kind == "run.completed"


async def test_a_tail_is_narrowed_by_kind_by_number_and_by_time(serve: Serve) -> None:
    env = await families(serve, a=1)
    kinds = [entry.kind async for entry in env.client.tail(kinds=["child", "run.started"])]
    assert kinds == ["run.started", "child.started", "run.started"]
    assert [entry.kind async for entry in env.client.tail("a", last=1)] == ["wait.started"]
    assert not [entry async for entry in env.client.tail(kinds="log", logs=False)]
    await env.advance(STEP)
    await env.client.handle("a").send("done")
    await env.settle()
    kinds = [entry.kind async for entry in env.client.tail("a", since=STEP / 2)]
    assert kinds[0] == "event.received"
    with pytest.raises(InvalidArgumentError, match="did you mean"):
        env.client.tail(kinds="run.complete")


async def test_a_tail_that_follows_sees_what_is_started_later_and_ends_with_the_runs(serve: Serve) -> None:
    env = await families(serve, a=0, b=0)
    tail = env.client.tail("a", "b", follow=True, children=True)
    seen: list[HistoryEntry] = []

    following = asyncio.ensure_future(hear(tail, seen.append))
    await env.client.handle("a").send("more")
    await until(lambda: any(entry.workflow_id == "a/more" for entry in seen))
    await env.client.handle("a").send("done")
    await until(lambda: any(entry.kind == "run.completed" for entry in seen))
    assert not following.done()
    await env.client.handle("b").send("done")
    await following
    assert [one.status for one in tail.outcomes] == [Status.COMPLETED] * 2
    revs = [entry.rev for entry in seen]
    assert revs == sorted(set(revs))


async def test_who_follows_is_told_that_the_daemon_stops_and_not_that_the_runs_have_ended(serve: Serve) -> None:
    env = await families(serve, a=0)
    follows = [env.client.tail("a", follow=True), env.client.handle("a").watch(), env.client.changes("a")]
    for one in follows:
        assert await anext(one)
    env.engine.hub.close()
    for one in follows:
        with pytest.raises(DaemonDownError, match="the daemon is stopping"):
            while True:
                await asyncio.gather(anext(one), env.advance(STEP))


# -- changes -------------------------------------------------------------------------------------


async def test_changes_tell_once_and_in_order_which_runs_stand_otherwise(serve: Serve) -> None:
    env = await families(serve, a=0)
    tree = await env.client.tree("a")
    seen: list[WatchItem] = []

    following = asyncio.ensure_future(hear(env.client.changes("a", since_rev=tree.rev), seen.append))
    await env.client.handle("a").send("more")
    await env.settle()
    await env.client.handle("a/more").send("end", {"fail": True})
    await env.client.handle("a").send("done")
    while not following.done():
        await env.advance(STEP)
    told = [("/".join(change.path), change.now) for notice in seen for change in notice.changes]
    assert [now for path, now in told if path == "a"][-2:] == ["running", "completed"]
    assert [now for path, now in told if path == "a/a/more"] == ["running", "waiting", "running", "failed"]
    revs = [notice.rev for notice in seen]
    assert revs == sorted(revs)


# -- pages, and what is done to several ----------------------------------------------------------


async def test_a_page_says_where_the_next_one_begins_and_how_many_there_are(serve: Serve) -> None:
    client = (await families(serve, a=0, b=0, c=0)).client
    first = await client.list_page(limit=2)
    assert ([run.workflow_id for run in first.items], first.total) == (["c", "b"], 3)
    second = await client.list_page(limit=2, after=first.next)
    assert ([run.workflow_id for run in second.items], second.next) == (["a"], None)
    with pytest.raises(InvalidArgumentError, match="is not a cursor"):
        await client.list_page(after="x")


async def test_runs_of_a_list_are_handled_one_by_one(serve: Serve) -> None:
    client = (await families(serve, a=2, b=0)).client
    for run in await client.list(workflow_type="Child", status="open"):
        await client.handle(run).cancel("enough")
    assert await client.count(workflow_type="Child") == {"cancelled": 2}
    assert (await client.handle("a/0").describe()).reason == "enough"
    assert (await client.handle("b").describe()).reason is None


async def test_a_purge_tells_how_far_it_is(serve: Serve) -> None:
    client = (await families(serve, a=1, b=0)).client
    for handle in await handles(client, "a", "b"):
        await handle.terminate(children=True)
    told: list[PurgedSoFar] = []
    purged = await client.purge(status="closed", progress=told.append)
    assert (purged.trees, purged.runs) == (2, 3)
    assert {tree.workflow_id for item in told for tree in item.trees} == {"a", "b"}


# -- a copy of the database ----------------------------------------------------------------------


async def test_a_backup_is_a_file_and_replaces_one_only_where_that_is_said(serve: Serve, tmp_path: Path) -> None:
    client = (await families(serve, a=2)).client
    told: list[Copied] = []
    done = await client.backup(tmp_path / "b.db", progress=told.append)
    size = (tmp_path / "b.db").stat().st_size
    assert (done.path, done.runs, done.bytes) == (str(tmp_path / "b.db"), 3, size)
    assert told[-1] == Copied(copied=size, total=size)
    with pytest.raises(ConflictError):
        await client.backup(tmp_path / "b.db")
    assert (await client.backup(tmp_path / "b.db", force=True)).replaced


async def test_a_backup_is_written_where_the_program_stands(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = (await families(serve, a=0)).client
    monkeypatch.chdir(tmp_path)
    assert (await client.backup("b.db")).path == str(tmp_path / "b.db")
