"""A row that nobody understands costs its run, and no other."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from support.old_databases import file_of
from support.waiting import until_async
from wfctl import ChildOutcome, Context, Directive, StorageError, Workflow
from wfctl.protocol import calls
from wfd.store.inspect import inspect
from wfd.testing import WorkflowEnvironment


def workflows() -> list[Workflow]:
    order, parent = Workflow("Order"), Workflow("Parent")

    @order.start()
    async def begin(ctx: Context, minutes: int = 0) -> Directive:
        if minutes:
            return ctx.next.step(done, after=timedelta(minutes=minutes))
        return ctx.next.wait_for_event("go", timeout=timedelta(minutes=5), on_timeout=done)

    @order.event()
    async def go(ctx: Context) -> Directive:
        return ctx.next.complete("gone")

    @order.step()
    async def done(ctx: Context) -> Directive:
        return ctx.next.complete("in time")

    @parent.start()
    async def first(ctx: Context) -> Directive:
        await ctx.start("Order", workflow_id="child", on_completed_step=second)
        return ctx.next.wait_for_event()

    @parent.step()
    async def second(ctx: Context, outcome: ChildOutcome[str]) -> Directive:
        return ctx.next.complete()

    return [order, parent]


def damage(database: Path, *statements: str) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        for statement in statements:
            assert db.execute(statement).rowcount == 1


async def test_the_run_of_a_row_that_nobody_understands_is_set_aside_and_the_others_go_on(tmp_path: Path) -> None:
    async with WorkflowEnvironment(workflows(), path=tmp_path) as env:
        for workflow_id in ("empty", "nonsense", "good"):
            await env.client.start("Order", workflow_id=workflow_id)
        await env.client.start("Order", workflow_id="sleeper", workflow_input={"minutes": 1})
        await env.client.start("Order", workflow_id="late", workflow_input={"minutes": 30})
        await env.client.start("Parent", workflow_id="parent")
        await env.settle()
    damage(
        tmp_path / "wfctl.db",
        "update runs set state = '{}' where workflow_id = 'empty'",
        "update runs set state = 'nonsense' where workflow_id = 'nonsense'",
        "update runs set state = '{}' where workflow_id = 'parent'",
        "update runs set state = '{}', wake_at = 1 where workflow_id = 'sleeper'",
    )
    found = {text.split("'")[1] for text in inspect(tmp_path / "wfctl.db").unreadable}
    assert found == {"empty", "nonsense", "sleeper", "parent"}
    async with WorkflowEnvironment(workflows(), path=tmp_path) as env:
        with pytest.raises(
            StorageError, match=r"run 'empty' \(\w+\) cannot be read: column state of its row in table runs"
        ):
            await env.client.handle("empty").cancel()
        with pytest.raises(StorageError, match=r"run 'child' .* its parent is set aside: run 'parent' "):
            await env.client.handle("child").send("go")
        with pytest.raises(StorageError, match="run 'nonsense' "):
            await env.client.start("Order", workflow_id="nonsense")
        # Who only looks sees it, and what code the others need.
        assert "empty" in [run.workflow_id for run in await env.client.list(status="waiting")]
        assert (await env.client._link.call(calls.Workflows())).items[0].missing == []
        # Deadlines of others come in time though those of the damaged ones are due for ever.
        await env.advance(timedelta(minutes=5))
        assert await env.client.handle("good").result() == "in time"
        await env.advance(timedelta(minutes=25))
        assert await env.client.handle("late").result() == "in time"
    # Nothing of it was changed: corrected, it goes on.
    with closing(sqlite3.connect(tmp_path / "wfctl.db")) as db:
        assert db.execute("select count(*) from runs where closed_at is null").fetchone() == (5,)


async def test_a_record_of_an_open_step_that_nobody_understands_is_named(tmp_path: Path) -> None:
    flow = Workflow("Slow")

    @flow.start()
    async def wait(ctx: Context) -> Directive:
        await ctx.now()
        await ctx.sleep(timedelta(hours=1))
        return ctx.next.complete()

    async with WorkflowEnvironment([flow], path=tmp_path) as env:
        await env.client.start("Slow", workflow_id="bad")
        await env.client.start("Slow", workflow_id="good")
        await env.settle()
    damage(
        tmp_path / "wfctl.db",
        "update history set data = '[]' where kind = 'timestamp.recorded' and run = 1",
    )
    async with WorkflowEnvironment([flow], path=tmp_path) as env:
        with pytest.raises(
            StorageError, match=r"column data of its record \d+ \(timestamp.recorded\) in table history"
        ):
            await env.client.handle("bad").terminate()
        await env.advance(timedelta(hours=1))
        assert await env.client.handle("good").result() is None


async def test_who_asks_for_a_child_that_is_set_aside_waits_for_it_and_that_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parent = Workflow("Again")

    @parent.start()
    async def first(ctx: Context) -> Directive:
        await ctx.start("Order", workflow_id="child")
        return ctx.next.wait_for_event()

    @parent.event()
    async def again(ctx: Context) -> Directive:
        await ctx.start("Order", workflow_id="child")
        return ctx.next.complete()

    flows = [*workflows(), parent]
    async with WorkflowEnvironment(flows, path=tmp_path) as env:
        await env.client.start("Again", workflow_id="parent")
        await env.settle()
    damage(tmp_path / "wfctl.db", "update runs set state = '{}' where workflow_id = 'child'")
    async with WorkflowEnvironment(flows, path=tmp_path) as env:
        await env.client.handle("parent").send("again")

        async def tried() -> bool:
            env.clock.advance(1_000)
            return [r.getMessage() for r in caplog.records if "waits for its child 'Order'" in r.getMessage()] != []

        await until_async(tried)
        for _ in range(20):
            await tried()
            await asyncio.sleep(0)
        (said,) = [r.getMessage() for r in caplog.records if "waits for its child 'Order'" in r.getMessage()]
        assert said.startswith("parent waits for its child 'Order': run 'child' ")
        assert (await env.client.handle("parent").describe()).run.status == "running"
        await env.client.handle("parent").terminate()


async def test_a_daemon_can_be_had_on_the_oldest_database(tmp_path: Path) -> None:
    """Its rows are written by hand, and hold states that no daemon has made."""
    (tmp_path / "wfctl.db").write_bytes(file_of(1).read_bytes())
    async with WorkflowEnvironment(workflows(), path=tmp_path) as env:
        await env.settle()  # deadlines are looked at when commands are taken already
        assert len(env.engine.memory.aside) == 8
        new = await env.client.start("Order", workflow_id="new")
        await new.send("go")
        assert await new.result() == "gone"
