"""What open runs need of the code is counted with each commit: it says what the rows say, whatever a run is at."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Any

from support.rows import miscounted
from support.waiting import until
from wfctl import ChildOutcome, Context, Directive, Workflow
from wfctl.protocol import calls
from wfd.store import needs, queries
from wfd.store.connect import SCHEMA_VERSION, connect_writer, migrate
from wfd.supervisor import Catalog
from wfd.testing import WorkflowEnvironment

DAY = timedelta(days=1)


def flows(gate: asyncio.Event) -> list[Workflow]:
    plain, shy, child, parent = Workflow("Plain"), Workflow("Shy Type"), Workflow("Child"), Workflow("Parent")

    @plain.start()
    async def begin(ctx: Context, what: str) -> Directive:
        match what:
            case "any":
                return ctx.next.wait_for_event()
            case "some":
                return ctx.next.wait_for_event("a b", "größer", timeout=DAY, on_timeout=late)
            case "sleep":
                return ctx.next.step(late, after=DAY)
            case "queue":
                return ctx.next.wait_for_event("other")
        await gate.wait()
        return ctx.next.complete()

    @plain.step()
    async def late(ctx: Context) -> Directive:
        return ctx.next.complete()

    @plain.event(name="a b")
    async def spaced(ctx: Context) -> Directive:
        return ctx.next.complete()

    @plain.event(name="größer")
    async def bigger(ctx: Context) -> Directive:
        return ctx.next.complete()

    @plain.event()
    async def other(ctx: Context) -> Directive:
        return ctx.next.complete()

    @shy.start()
    async def hide(ctx: Context) -> Directive:
        return ctx.next.step(found, after=timedelta(hours=1))

    @shy.step()
    async def found(ctx: Context) -> Directive:
        return ctx.next.complete()

    @child.start()
    async def born(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @child.event()
    async def grown(ctx: Context) -> Directive:
        return ctx.next.complete()

    @parent.start()
    async def raises(ctx: Context, stays: bool) -> Directive:
        await ctx.start("Child", f"{ctx.run.workflow_id}-child", on_completed_step=hears)
        return ctx.next.wait_for_event() if stays else ctx.next.complete()

    @parent.step()
    async def hears(ctx: Context, outcome: ChildOutcome[Any]) -> Directive:
        return ctx.next.complete()

    return [plain, shy, child, parent]


async def _all_at_something(env: WorkflowEnvironment, code: list[Workflow]) -> None:
    """A run in every situation in which it needs something; one type is taken out of the code."""
    start = env.client.start
    for what in ("any", "some", "some", "sleep", "queue", "run"):
        id = f"{what}-{env.engine.rev}"
        handle = await start("Plain", workflow_id=id, workflow_input={"what": what})
        if what == "queue":
            await until(lambda: not env.engine.busy)
            for _ in range(2):
                await handle.send("a b")
    await start("Shy Type", workflow_id="stuck")
    for stays in (True, True, False):
        await start("Parent", workflow_id=f"parent-{env.engine.rev}", workflow_input={"stays": stays})
    await until(lambda: env.workers.running == 1 and not env.engine.busy)
    env.load([workflow for workflow in code if workflow.workflow_type != "Shy Type"])
    await env.advance(timedelta(hours=2))
    await until(lambda: not env.engine.busy)


def _counted_from_rows(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return db.execute(
        "select type, kind, name, count(distinct key), count(distinct case status when 'stuck' then key end)"
        " from needs where name is not null group by 1, 2, 3"
    ).fetchall()


async def test_what_is_kept_is_what_the_rows_say_in_every_situation() -> None:
    gate = asyncio.Event()
    code = flows(gate)
    async with WorkflowEnvironment(code) as env:
        await _all_at_something(env, code)
        async with env.store.reader.snapshot() as snapshot:
            kept = await needs.needs(snapshot)
            found = [exact for need in kept if (exact := await needs.exactly(snapshot, need)) is not None]
        with contextlib.closing(sqlite3.connect(env.store.path)) as db:
            db.execute(queries.load("needs")["view"])
            rows = _counted_from_rows(db)
            assert miscounted(db) == []
        assert [(need.type, need.kind, need.name, need.runs, need.stuck) for need in found] == rows
        assert rows == [
            ("Parent", "step", "hears", 2, 0),
            ("Plain", "event", "a b", 3, 0),
            ("Plain", "event", "größer", 2, 0),
            ("Plain", "event", "other", 1, 0),
            ("Plain", "start", "begin", 1, 0),
            ("Plain", "step", "late", 3, 0),
            ("Shy Type", "step", "found", 1, 1),
        ]
        # Two events in the inbox of one run, and the child of a parent that has closed.
        assert {(need.name, need.runs) for need in kept if need.about} == {("a b", 3), ("hears", 3)}
        open_runs, missing = await env.engine.reads.open_needs(Catalog())
        assert open_runs == {"Plain": 6, "Shy Type": 1, "Parent": 2, "Child": 3}
        assert {name: len(views) for name, views in missing.items()} == {"Plain": 5, "Shy Type": 1, "Parent": 1}
        tree = await env.engine.reads.tree(calls.GetTree())
        assert tree.open_roots == 9
        gate.set()


async def test_a_run_that_is_read_from_disk_is_counted_on_from_what_it_was(tmp_path: Path) -> None:
    gate = asyncio.Event()
    code = flows(gate)
    async with WorkflowEnvironment(code, path=tmp_path / "a") as env:
        await _all_at_something(env, code)
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        now = env.now
        gate.set()
    async with WorkflowEnvironment(flows(gate), path=tmp_path / "b", now=now) as env:
        for run in await env.client.list(status=("waiting", "sleeping", "stuck", "running")):
            await env.client.handle(run.run_id).cancel()
        await env.settle()
        with contextlib.closing(sqlite3.connect(env.store.path)) as db:
            assert miscounted(db) == []
            assert db.execute("select sum(runs) from totals where needs <> '' or top").fetchone() == (0,)


async def test_an_older_database_is_counted_when_it_is_brought_up_to_date(tmp_path: Path) -> None:
    gate = asyncio.Event()
    code = flows(gate)
    async with WorkflowEnvironment(code) as env:
        await _all_at_something(env, code)
        with contextlib.closing(sqlite3.connect(env.store.path)) as db:
            tables = {name: db.execute(f"select * from {name}").fetchall() for name in ("runs", "inbox", "totals")}
        gate.set()
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db", isolation_level=None)) as db:
        migrate(db, 0, 5)
        for name in ("runs", "inbox"):
            db.executemany(f"insert into {name} values ({', '.join('?' * len(tables[name][0]))})", tables[name])
        # One that nobody can read any more needs nothing that is known.
        db.execute("update runs set state = 'none' where key = 1")
        db.execute("insert into totals select type, status, count(*) from runs group by 1, 2")
    with contextlib.closing(connect_writer(tmp_path / "old.db")) as db:
        assert db.execute("pragma user_version").fetchone()[0] == SCHEMA_VERSION
        brought = set(db.execute("select * from totals").fetchall())
    assert brought == {row for row in tables["totals"] if row[-1]}
