"""Random lives: runs with children, events, waits and delays, while workers die, the daemon dies, the disk fails, the code is
replaced and runs are purged. Afterwards every promise holds, what was acknowledged is there but for whole trees that had closed
when they were purged, what was refused is not, and every run has ended.

A seed decides what is done; how the threads interleave is left to the machine. `WFCTL_SEED=17` repeats one seed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import sqlite3
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from support.checker import broken_promises
from support.faults import Disk, until_healthy
from support.waiting import a_moment, until
from wfctl import (
    ChildOutcome,
    Context,
    Directive,
    RetryPolicy,
    RunOutcomeError,
    StorageError,
    WfctlError,
    Workflow,
    WorkflowAlreadyRunning,
    current_task,
    task,
)
from wfctl.protocol import calls
from wfctl.sdk.context import OnParentClose
from wfctl.values.signature import UNBOUND
from wfd.engine import passes, purges
from wfd.engine.streams import Tail
from wfd.store.purge import Removal, Removed
from wfd.testing import WorkflowEnvironment

GROUPS = 4
SECONDS_A_GROUP = 3.0
ROUNDS = 30
ROOTS = ("oak", "elm", "fir")
SHARED = ("ivy", "moss")


def node() -> Workflow:
    """A run that does what its plan says, one action a step."""
    wf = Workflow("Node")

    @wf.start()
    async def begin(ctx: Context, plan: list[list[Any]]) -> Directive:
        ctx.store.put("plan", plan)
        return await act(ctx)

    @wf.step()
    async def go(ctx: Context) -> Directive:
        return await act(ctx)

    @wf.event()
    async def note(ctx: Context, tag: str) -> Directive:
        ctx.store.put("got", [*await ctx.store.get("got", list, default=[]), tag])
        return await act(ctx)

    @wf.step()
    async def heard(ctx: Context, outcome: ChildOutcome[Any]) -> Directive:
        ctx.store.put("heard", [*await ctx.store.get("heard", list, default=[]), outcome.run_id])
        return await act(ctx)

    async def act(ctx: Context) -> Directive:
        plan, done = await ctx.store.get("plan", list), await ctx.store.get("done", list, default=[])
        if len(done) == len(plan):
            return ctx.next.complete(len(done))
        ctx.store.put("done", [*done, len(done)])
        what, *more = plan[len(done)]
        match what:
            case "start":
                await asyncio.gather(*(child(ctx, *about) for about in more[0]))
            case "run":
                await run(ctx, *more)
            case "sleep":
                await asyncio.gather(ctx.sleep(timedelta(milliseconds=more[0])), ctx.random())
            case "task":
                numbers = await asyncio.gather(*(work(number, more[0]) for number in range(2)))
                ctx.store.put("worked", [*await ctx.store.get("worked", list, default=[]), *numbers])
            case "tell":
                await asyncio.gather(ctx.now(), ctx.uuid4(), *(tell(ctx, tag) for tag in more))
            case "send":
                await send(ctx, more[0], more[1])
            case "nap":
                await a_moment(more[0])
                ctx.logger.info("had a nap")
            case "wait":
                after = timedelta(milliseconds=more[0])
                return ctx.next.wait_for_event("note", timeout=after, on_timeout=go if more[1] else None)
            case "delay":
                return ctx.next.step(go, after=timedelta(milliseconds=more[0]))
            case "fail":
                return ctx.next.fail("as planned")
        return ctx.next.step(go)

    return wf


async def child(ctx: Context, workflow_id: str, plan: list[Any], bound: OnParentClose, tells: bool) -> None:
    step = "heard" if tells else None
    try:
        await ctx.start("Node", workflow_id, {"plan": plan}, on_completed_step=step, on_parent_close=bound)
    except WorkflowAlreadyRunning:
        ctx.logger.info("somebody else's: %s", workflow_id)


async def run(ctx: Context, workflow_id: str, plan: list[Any]) -> None:
    try:
        await ctx.run_child("Node", workflow_id, {"plan": plan})
    except (RunOutcomeError, WorkflowAlreadyRunning) as error:
        ctx.logger.info("%s", error)


@task(retry=RetryPolicy(attempts=3, delay=timedelta(milliseconds=50)))
async def work(number: int, fails: int) -> int:
    await asyncio.sleep(0)
    if current_task().attempt <= fails:
        raise RuntimeError("not yet")
    return number


async def tell(ctx: Context, tag: str) -> None:
    if ctx.run.parent is not None:
        await ctx.send_to_parent("note", {"tag": tag})


async def send(ctx: Context, workflow_id: str, tag: str) -> None:
    try:
        await ctx.send(workflow_id, "note", {"tag": tag})
    except WfctlError as error:
        ctx.logger.info("%s", error)


def other() -> Workflow:
    """What is left of the code when a module was taken out."""
    wf = Workflow("Other")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.complete()

    return wf


class Life:
    """One seed's life of an environment and of those that follow it on copies of its files."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.chance = random.Random(seed)
        self.seed = seed
        self.goes_back = seed % 2 == 1
        self.folder = folder
        self.lives = 0
        self.tags = 0
        self.env: WorkflowEnvironment
        self.disk: Disk
        self.asking: set[asyncio.Task[None]] = set()
        # What was acknowledged: (run ID, what), and the tags and IDs that were refused.
        self.kept: list[tuple[str, str, str]] = []
        self.refused: list[str] = []
        # Run IDs that were on disk when something was purged, and those of them that might go.
        self.known: set[str] = set()
        self.may_go: set[str] = set()
        self.seen: list[int] = []
        self.following: asyncio.Task[None]

    # -- what there is to do ---------------------------------------------------------------------

    def plan(self, depth: int = 0) -> list[list[Any]]:
        chance, actions = self.chance, list[list[Any]]()
        for _ in range(chance.randint(1, 5)):
            what = chance.choice(
                ("start", "start", "run", "sleep", "task", "tell", "send", "nap", "wait", "wait", "delay")
            )
            if what == "start" and depth < 2:
                actions.append(["start", [self.child(depth + 1) for _ in range(chance.randint(1, 3))]])
            elif what == "run" and depth < 2:
                actions.append(["run", self.child_id(), self.plan(depth + 1)])
            elif what == "sleep":
                actions.append(["sleep", chance.choice((0, 1, 300))])
            elif what == "task":
                actions.append(["task", chance.choice((0, 0, 1, 2))])
            elif what == "tell":
                actions.append(["tell", *(self.tag() for _ in range(chance.randint(1, 3)))])
            elif what == "send":
                actions.append(["send", chance.choice((*ROOTS, *SHARED)), self.tag()])
            elif what == "wait":
                actions.append(["wait", chance.randint(1, 5_000), chance.random() < 0.8])
            elif what == "delay":
                actions.append(["delay", chance.choice((0, 1, 50, 2_000))])
            else:
                actions.append(["nap", chance.random() * 0.004])
        if chance.random() < 0.1:
            actions.append(["fail"])
        return actions

    def child(self, depth: int) -> list[Any]:
        bound = self.chance.choice(("abandon", "abandon", "cancel", "terminate"))
        return [self.child_id(), self.plan(depth), bound, self.chance.random() < 0.5]

    def child_id(self) -> str:
        if self.chance.random() < 0.2:
            return self.chance.choice(SHARED)
        return f"leaf-{self.tag()}"

    def tag(self) -> str:
        self.tags += 1
        return f"t{self.tags:04d}"

    # -- life ------------------------------------------------------------------------------------

    async def begin(self, folder: Path, now: Any = None) -> None:
        self.env = await WorkflowEnvironment([node()], path=folder, now=now, seed=self.seed).__aenter__()
        self.env.engine.memory._idle_limit = 3
        self.disk = Disk(self.env)
        self.following = asyncio.ensure_future(self.follow(self.env, self.seen[-1] if self.seen else 0))

    async def follow(self, env: WorkflowEnvironment, after: int) -> None:
        tail = Tail(env.engine.reads, env.engine.hub, calls.Tail(ids=[], follow=True, since_rev=after, logs=True))
        try:
            async for entry in tail:
                self.seen.append(entry.rev)
        finally:
            await tail.aclose()

    async def end(self) -> None:
        for asked in self.asking:
            asked.cancel()
        await asyncio.gather(*self.asking, return_exceptions=True)
        self.asking.clear()
        await self.env.__aexit__(None, None, None)
        self.following.cancel()
        await asyncio.gather(self.following, return_exceptions=True)

    async def die(self) -> None:
        """The daemon dies: another goes on with what is on disk at this moment."""
        self.lives += 1
        folder = self.folder / str(self.lives)
        old = self.env.store.path.parent
        kept, refused = list(self.kept), list(self.refused)
        writer = self.env.store.writer
        while writer._asked:
            await writer.flush()
        shutil.copytree(old, folder)  # nothing is written meanwhile: that would have to be asked for here
        last = newest_on(folder / "wfctl.db")
        await self.end()
        self.kept, self.refused = kept, refused
        self.seen = [rev for rev in self.seen if rev <= last]
        await self.begin(folder, self.env.now)

    async def round(self) -> None:
        chance, env = self.chance, self.env
        match chance.choices(
            (
                "start",
                "send",
                "cancel",
                "terminate",
                "retry",
                "lose",
                "die",
                "fail",
                "load",
                "advance",
                "breathe",
                "purge",
            ),
            (20, 25, 4, 3, 12, 6, 2, 2, 3, 15, 20, 8),
        )[0]:
            case "start":
                self.ask(self.start(chance.choice(ROOTS), self.plan()))
            case "send":
                self.ask(self.send(chance.choice((*ROOTS, *SHARED)), self.tag()))
            case "cancel":
                self.ask(self.finish(chance.choice((*ROOTS, *SHARED)), "cancel"))
            case "terminate":
                self.ask(self.finish(chance.choice((*ROOTS, *SHARED)), "terminate"))
            case "retry":
                self.ask(self.retry())
            case "lose":
                env.workers.lose()
            case "die":
                await self.die()
            case "fail":
                self.disk.fail(chance.randint(1, 4))
                await a_moment(0.005)
                self.disk.work()
                await until_healthy(env)
            case "load":
                env.load([other()])
                await a_moment(chance.random() * 0.004)
                env.load([node()])
            case "advance":
                await env.advance(timedelta(milliseconds=chance.choice((1, 100, 3_000))))
            case "purge":
                if chance.random() < 0.7:
                    # More has closed then.
                    await env.advance(timedelta(seconds=10))
                    await a_moment(chance.random() * 0.02)
                if chance.random() < 0.4:
                    await self.die_purging()
                else:
                    self.ask(self.purge())
            case "breathe":
                await a_moment(chance.random() * 0.005)

    def ask(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self.asking.add(task)
        task.add_done_callback(self.asking.discard)
        return task

    async def start(self, workflow_id: str, plan: list[Any]) -> None:
        try:
            handle = await self.env.client.start("Node", workflow_id=workflow_id, workflow_input={"plan": plan})
        except WfctlError:
            return
        assert handle.run_info is not None
        self.kept.append((handle.run_info.id, "started", ""))

    async def send(self, workflow_id: str, tag: str) -> None:
        try:
            sent = await self.env.client.handle(workflow_id).send("note", {"tag": tag})
        except StorageError:
            self.refused.append(tag)
        except WfctlError as error:
            if error.code != "daemon_down":
                self.refused.append(tag)
        else:
            self.kept.append((sent.run_id, "sent", tag))

    async def finish(self, workflow_id: str, how: str) -> None:
        try:
            handle = self.env.client.handle(workflow_id)
            changed = await (handle.cancel() if how == "cancel" else handle.terminate())
        except WfctlError:
            return
        if changed.changed:
            self.kept.append((changed.run_id, how, ""))

    async def retry(self) -> None:
        """Some run that failed goes on; in every other life, perhaps at an earlier step, which then does all again."""
        try:
            failed = await self.env.client.list(status=("failed", "timed_out", "stuck"), limit=20)
            if failed:
                run = self.chance.choice(list(failed))
                back = self.chance.choice((None, "begin", "go", "note")) if self.goes_back else None
                retried = await self.env.client.handle(run.run_id).retry(from_step=back)
                self.kept.append((retried.run_id, "retry", ""))
        except WfctlError:
            return

    async def purge(self) -> None:
        """Take away what has closed up to a while ago, of which no more can close while this is at it."""
        age = self.chance.choice((1, 1, 500, 4_000))
        by = self.env.clock.now_ms() - age
        with sqlite3.connect(f"{self.env.store.path.as_uri()}?mode=ro", uri=True) as db:
            rows = db.execute("select run_id, root, coalesce(closed_at, ?) <= ? from runs", (by + 1, by)).fetchall()
        db.close()
        stays = {root for _, root, old in rows if not old}
        self.known |= {run_id for run_id, _, _ in rows}
        self.may_go |= {run_id for run_id, root, _ in rows if root not in stays}
        try:
            await self.env.client.purge(older_than=timedelta(milliseconds=age))
        except WfctlError:
            return

    async def die_purging(self) -> None:
        """The daemon dies at one of the portions of a purge, or after it where it has fewer."""
        writer, cut, left = self.env.store.writer, asyncio.Event(), self.chance.randint(1, 4)
        remove = writer.remove

        async def counting(removal: Removal) -> Removed:
            nonlocal left
            left -= 1
            if left == 0:
                cut.set()
            return await remove(removal)

        writer.remove = counting  # type: ignore[method-assign]
        purge = self.ask(self.purge())
        purge.add_done_callback(lambda _: cut.set())
        await cut.wait()
        await self.die()

    async def wind_up(self) -> None:
        """Let everything come to its end."""
        await asyncio.gather(*self.asking)
        self.disk.work()
        await until_healthy(self.env)
        self.env.load([node()])
        await self.env.settle()
        for _ in range(40):
            await self.env.advance(timedelta(seconds=10))
            if not await self.env.client.list(status=("running", "waiting", "sleeping", "stuck", "cancelling")):
                break
        await self.env.settle()


def newest_on(path: Path) -> int:
    """The last revision that is on this disk."""
    with sqlite3.connect(path) as db:
        newest = db.execute("select max(rev) from (select rev from history union all select rev from logs)").fetchone()
    db.close()
    return newest[0] or 0


async def live(seed: int, folder: Path) -> list[str]:
    """What does not hold after the life of `seed`."""
    life = Life(seed, folder)
    await life.begin(folder / "0")
    try:
        for _ in range(ROUNDS):
            await life.round()
        await life.wind_up()
        newest = newest_on(life.env.store.path)
        await until(lambda: max(life.seen, default=0) >= newest)
        await a_moment(0.01)
        found = broken_promises(life.env.store.path) + broken_words(life)
        # Everything has closed: what is left of it after this is whole trees.
        await life.die_purging()
        await life.env.settle()
        await until(lambda: not life.env.engine.busy)
    finally:
        await life.end()
    return found + broken_promises(life.env.store.path) + broken_words(life)


def broken_words(life: Life) -> list[str]:
    """Where what clients and followers were told differs from what is on disk."""
    with sqlite3.connect(life.env.store.path) as db:
        status = dict(db.execute("select run_id, status from runs"))
        history = [
            (run_id, kind, json.loads(data))
            for run_id, kind, data in db.execute(
                "select r.run_id, h.kind, h.data from history as h join runs as r on r.key = h.run order by h.rev"
            )
        ]
        revs = [rev for (rev,) in db.execute("select rev from history union all select rev from logs order by 1")]
        stores = db.execute("select value from store where key = 'done'").fetchall()
        names = dict(db.execute("select run_id, workflow_id || ' ' || type from runs"))
        torn = db.execute("select run_id from runs where root not in (select key from runs)").fetchall()
        marks = db.execute("select value from meta where key = 'purging'").fetchall()
        loose = [
            db.execute(f"select count(*) from {table} where run not in (select key from runs)").fetchone()[0]
            for table in ("history", "logs", "store", "inbox")
        ]
    db.close()
    found = [
        f"{names[run_id]} has not ended: {how}"
        for run_id, how in status.items()
        if how not in ("completed", "failed", "cancelled", "terminated", "timed_out")
    ]
    found += [f"{run_id} was purged, of a tree that was open" for run_id in life.known - set(status) - life.may_go]
    found += [f"{run_id} is left of a tree that was purged" for (run_id,) in torn]
    found += [f"the purge of {mark} has not come to its end" for (mark,) in marks]
    found += [f"rows of runs that were purged are left: {loose}"] * any(loose)
    began = Counter(run_id for run_id, what, _ in life.kept if what == "started")
    found += [f"the run ID {run_id} was given {times} times" for run_id, times in began.items() if times > 1]
    found += [f"an action was done twice or left out: {value}" for (value,) in stores if not in_order(value)]
    # What came while its handler was taken out stands as it was sent.
    received = [(run_id, data["payload"]) for run_id, kind, data in history if kind == "event.received"]
    tags = Counter((run_id, payload.get(UNBOUND, payload)["tag"]) for run_id, payload in received)
    everywhere = Counter(tag for _, tag in tags.elements())
    found += [f"the event {tag} was refused and is there" for tag in life.refused if everywhere[tag]]
    found += [
        f"the event {tag} came {times} times" for (_, tag), times in tags.items() if times > 1 and not life.goes_back
    ]
    kinds = {(run_id, kind) for run_id, kind, _ in history}
    for run_id, what, tag in life.kept:
        if run_id in life.may_go and run_id not in status:
            continue
        if run_id not in status:
            found.append(f"the run {run_id} was acknowledged and is gone ({what})")
        elif what == "retry" and (run_id, "run.resumed") not in kinds:
            found.append(f"{names[run_id]} was retried, and knows nothing of it")
        elif what == "sent" and not tags[run_id, tag]:
            found.append(f"the event {tag} was acknowledged and is gone")
        elif what == "terminate" and status[run_id] != "terminated":
            found.append(f"{names[run_id]} was terminated, and is {status[run_id]}")
        elif what == "cancel" and (run_id, "run.cancel_requested") not in kinds:
            found.append(f"{names[run_id]} was cancelled, and knows nothing of it")
    # What was purged has been seen, or was gone before it could be.
    if (
        life.seen != sorted(set(life.seen))
        or not set(revs) <= set(life.seen)
        or (not life.may_go and life.seen != revs)
    ):
        missed, doubled = sorted(set(revs) - set(life.seen)), len(life.seen) - len(set(life.seen))
        found.append(f"a follower missed {missed[:5]}, saw {doubled} twice, saw {set(life.seen) - set(revs)} too many")
    return found


def in_order(done: str) -> bool:
    numbers = json.loads(done)
    return bool(numbers == list(range(len(numbers))))


@pytest.mark.parametrize("group", range(GROUPS))
async def test_a_random_life_keeps_every_promise(group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Trees go in several portions, some at a time.
    monkeypatch.setattr(purges, "PORTION_ROWS", 25)
    monkeypatch.setattr(purges, "MOST_ROWS", 60)
    monkeypatch.setattr(passes, "TREES", 2)
    monkeypatch.setattr(passes, "MOST_TREES", 5)
    one = os.environ.get("WFCTL_SEED")
    end = time.monotonic() + SECONDS_A_GROUP
    seed = group * 1_000_000 if one is None else int(one)
    while True:
        folder = tmp_path / str(seed)
        folder.mkdir()
        try:
            found = await asyncio.wait_for(live(seed, folder), 60)
        except BaseException:
            print(f"seed {seed}")
            raise
        assert not found, f"seed {seed}: {found}"
        shutil.rmtree(folder)
        seed += 1
        if one is not None or time.monotonic() > end:
            return
