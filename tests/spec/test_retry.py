"""Fix and continue: a run that failed goes on where it failed, with what had succeeded, or from an earlier step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from spec.conftest import Serve
from support.history import kinds, records
from wfctl import ConflictError, Context, Directive, RetryPolicy, RunFailedError, RunTimedOutError, Workflow, task
from wfctl.errors import InvalidArgumentError, WorkflowAlreadyRunning


class World:
    """What the outside of a test's workflows is like, and what they did to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.broken: set[str] = set()

    def do(self, what: str) -> str:
        if what in self.broken:
            raise RuntimeError(f"{what} is broken")
        self.done.append(what)
        return what


@pytest.fixture
def world() -> World:
    return World()


def charging(world: World) -> Callable[[int], Awaitable[str]]:
    """The same task in both versions of the code."""

    @task
    async def charge(amount: int) -> str:
        return world.do("charge")

    return charge


def shop(world: World) -> Workflow:
    """Charges the card and ships, one after the other, in a step of its own."""
    charge = charging(world)

    @task(retry=RetryPolicy(attempts=2, delay=timedelta(0)))
    async def ship(amount: int) -> str:
        return world.do("ship")

    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context, amount: int) -> Directive:
        ctx.store.put("amount", amount)
        return ctx.next.step(pay)

    @wf.step()
    async def pay(ctx: Context) -> Directive:
        amount = await ctx.store.get("amount", int)
        said = [await charge(amount), await ship(amount)]
        return ctx.next.complete(said)

    return wf


async def test_a_card_that_was_charged_is_not_charged_again(serve: Serve, world: World) -> None:
    world.broken.add("ship")
    env = await serve(shop(world))
    handle = await env.client.start("Order", workflow_id="o", workflow_input=5)
    with pytest.raises(RunFailedError, match="ship is broken"):
        await handle.result()
    world.broken.clear()
    retried = await handle.retry(reason="the lorry is back")
    assert (retried.was, retried.status, retried.run_id == retried.old_run_id) == ("failed", "running", True)
    assert (retried.handler, retried.step, retried.attempt) == ("pay", 2, 2)
    assert (retried.kept, retried.dropped) == (
        ["task 'test_retry.charging.<locals>.charge'"],
        ["task 'test_retry.shop.<locals>.ship'"],
    )
    assert await handle.result() == ["charge", "ship"]
    assert world.done == ["charge", "ship"]
    [resumed] = await records(handle, "run.resumed")
    assert (resumed["was"], resumed["reason"], resumed["attempt"]) == ("failed", "the lorry is back", 2)
    attempts = [entry["attempt"] for entry in await records(handle, "task.started") if entry["name"].endswith("ship")]
    assert attempts == [1, 2, 1], "its attempts are counted anew"


async def test_a_run_can_fail_and_go_on_many_times(serve: Serve, world: World) -> None:
    world.broken.add("charge")
    env = await serve(shop(world))
    handle = await env.client.start("Order", workflow_id="o", workflow_input=5)
    for broken in ("charge", "ship"):
        with pytest.raises(RunFailedError, match=broken):
            await handle.result()
        world.broken = {"ship"} if broken == "charge" else set()
        await handle.retry()
    assert await handle.result() == ["charge", "ship"]
    assert world.done == ["charge", "ship"]
    assert [entry["attempt"] for entry in await records(handle, "run.resumed")] == [2, 3]


async def test_the_code_may_have_changed_from_the_failure_on(serve: Serve, world: World) -> None:
    world.broken.add("ship")
    env = await serve(shop(world))
    handle = await env.client.start("Order", workflow_id="o", workflow_input=5)
    with pytest.raises(RunFailedError):
        await handle.result()
    env.load([fixed_shop(world)])
    await handle.retry()
    assert await handle.result() == ["charge", "post"]
    assert world.done == ["charge", "post"]


def fixed_shop(world: World) -> Workflow:
    """As `shop`, but what it charged goes by post."""
    charge = charging(world)

    @task
    async def post(amount: int) -> str:
        return world.do("post")

    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context, amount: int) -> Directive:
        return ctx.next.step(pay)

    @wf.step()
    async def pay(ctx: Context) -> Directive:
        amount = await ctx.store.get("amount", int)
        return ctx.next.complete([await charge(amount), await post(amount)])

    return wf


async def test_of_concurrent_operations_those_that_succeeded_are_kept(serve: Serve, world: World) -> None:
    world.broken.add("b")

    @task
    async def call(what: str) -> str:
        return world.do(what)

    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        first = await call("first")
        three = await asyncio.gather(*(call(what) for what in "abc"), return_exceptions=True)
        if any(isinstance(one, Exception) for one in three):
            return ctx.next.fail("not all of them")
        return ctx.next.complete([first, *three])

    env = await serve(wf)
    handle = await env.client.start("W")
    with pytest.raises(RunFailedError):
        await handle.result()
    world.broken.clear()
    retried = await handle.retry()
    assert (len(retried.kept), len(retried.dropped)) == (3, 1)
    assert await handle.result() == ["first", "a", "b", "c"]
    assert sorted(world.done) == ["a", "b", "c", "first"]


async def test_one_of_several_children_that_was_refused_is_asked_for_again(serve: Serve) -> None:
    kid = Workflow("Kid")

    @kid.start()
    async def hold(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @kid.event()
    async def done(ctx: Context) -> Directive:
        return ctx.next.complete()

    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        handles = await asyncio.gather(*(ctx.start("Kid", workflow_id=f"kid-{n}") for n in range(3)))
        return ctx.next.complete([handle.run_info.id for handle in handles])

    env = await serve(wf, kid)
    taken = await env.client.start("Kid", workflow_id="kid-1")
    handle = await env.client.start("W")
    with pytest.raises(RunFailedError, match="'kid-1' has an open run"):
        await handle.result()
    await taken.terminate()
    retried = await handle.retry()
    assert (len(retried.kept), len(retried.dropped)) == (2, 1)
    assert len(set(await handle.result())) == 3
    assert len(await env.client.list(workflow_type="Kid")) == 4


async def test_a_failure_that_the_handler_went_on_from_stays(serve: Serve, world: World) -> None:
    world.broken |= {"card", "ship"}

    @task
    async def call(what: str) -> str:
        return world.do(what)

    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        try:
            how = await call("card")
        except RuntimeError:
            how = await call("invoice")
        return ctx.next.complete([how, await call("ship")])

    env = await serve(wf)
    handle = await env.client.start("W")
    with pytest.raises(RunFailedError):
        await handle.result()
    world.broken.clear()
    assert len((await handle.retry()).dropped) == 1
    assert await handle.result() == ["invoice", "ship"]
    assert world.done == ["invoice", "ship"]


async def test_what_a_step_stored_on_its_way_to_a_failure_is_taken_back(serve: Serve, world: World) -> None:
    world.broken.add("pay")
    wf = Workflow("W")
    seen: list[Any] = []

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        ctx.store.put("left", 10)
        ctx.store.put("note", "kept")
        return ctx.next.step(pay)

    @wf.step()
    async def pay(ctx: Context) -> Directive:
        left = await ctx.store.get("left", int)
        seen.append((left, await ctx.store.get("note", str), await ctx.store.get("tried", bool, default=False)))
        ctx.store.put("left", left - 7)
        ctx.store.put("tried", True)
        ctx.store.delete("note")
        if world.broken:
            return ctx.next.fail("no money")
        return ctx.next.complete(left - 7)

    env = await serve(wf)
    handle = await env.client.start("W")
    with pytest.raises(RunFailedError):
        await handle.result()
    assert (await handle.describe()).store == {"left": 3, "tried": True}
    world.broken.clear()
    retried = await handle.retry()
    assert (retried.stored, retried.unstored) == (["left", "note"], ["tried"])
    assert await handle.result() == 3
    assert seen == [(10, "kept", False)] * 2


async def test_a_dry_run_tells_all_and_changes_nothing(serve: Serve, world: World) -> None:
    world.broken.add("ship")
    env = await serve(shop(world))
    handle = await env.client.start("Order", workflow_id="o", workflow_input=5)
    with pytest.raises(RunFailedError):
        await handle.result()
    before = await kinds(handle)
    told = await handle.retry(dry_run=True)
    assert (told.dry_run, told.handler) == (True, "pay")
    assert (told.kept, told.dropped) == (
        ["task 'test_retry.charging.<locals>.charge'"],
        ["task 'test_retry.shop.<locals>.ship'"],
    )
    assert await kinds(handle) == before
    assert (await handle.retry(from_step="begin", dry_run=True)).step == 3
    anew = await handle.retry(new=True, dry_run=True)
    assert (anew.new, anew.run_id) == (True, told.run_id)
    assert await kinds(handle) == before
    with pytest.raises(RunFailedError):
        await handle.result()


async def test_only_what_failed_timed_out_or_is_stuck_goes_on(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event("go")

    @wf.event()
    async def go(ctx: Context) -> Directive:
        return ctx.next.complete()

    env = await serve(wf)
    handle = await env.client.start("W", workflow_id="w")
    for status in ("waiting", "completed"):
        with pytest.raises(ConflictError, match=f"is {status}"):
            await handle.retry()
        if status == "waiting":
            with pytest.raises(ConflictError, match="is waiting"):
                await handle.retry(new=True)
            await handle.send("go")
            await handle.result()
    other = await env.client.start("W", workflow_id="w")
    await other.cancel()
    with pytest.raises(ConflictError, match="is cancelled") as refused:
        await other.retry()
    assert refused.value.hint == "wfctl retry --new w"


async def test_a_run_whose_id_is_taken_stays_closed(serve: Serve, world: World) -> None:
    world.broken.add("charge")
    env = await serve(shop(world))
    old = await env.client.start("Order", workflow_id="o", workflow_input=5)
    with pytest.raises(RunFailedError):
        await old.result()
    world.broken.clear()
    again = await old.retry(new=True)
    assert again.new
    assert again.run_id != again.old_run_id
    assert await env.client.handle("o").result() == ["charge", "ship"]
    world.broken.add("charge")
    with pytest.raises(WorkflowAlreadyRunning):
        async with hanging(env, "o"):
            await old.retry()
    with pytest.raises(RunFailedError):
        await old.result()
    assert "run.resumed" not in await kinds(old)


class hanging:
    """A run of this workflow ID that is open meanwhile."""

    def __init__(self, env: Any, workflow_id: str) -> None:
        self.env, self.id = env, workflow_id

    async def __aenter__(self) -> None:
        wf = Workflow("Hangs")

        @wf.start()
        async def begin(ctx: Context) -> Directive:
            return ctx.next.wait_for_event("never")

        @wf.event()
        async def never(ctx: Context) -> Directive:
            return ctx.next.complete()

        self.env.load([wf])
        self.handle = await self.env.client.start("Hangs", workflow_id=self.id)

    async def __aexit__(self, *_: object) -> None:
        await self.handle.terminate()


async def test_a_new_run_has_the_same_input_and_another_id_if_asked(serve: Serve, world: World) -> None:
    env = await serve(shop(world))
    old = await env.client.start("Order", workflow_id="o", workflow_input=5)
    assert await old.result() == ["charge", "ship"]
    again = await old.retry(new=True, workflow_id="o-2")
    assert (again.workflow_id, again.was) == ("o-2", "completed")
    handle = env.client.handle("o-2")
    assert await handle.result() == ["charge", "ship"]
    assert (await handle.describe()).input == {"amount": 5}
    with pytest.raises(InvalidArgumentError):
        await old.retry(workflow_id="o-3")
    with pytest.raises(InvalidArgumentError):
        await old.retry(new=True, from_step="begin")


# -- what timed out ---------------------------------------------------------------------------------


async def test_a_wait_that_timed_out_waits_once_more_and_as_long(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event("go", timeout=timedelta(hours=1))

    @wf.event()
    async def go(ctx: Context, n: int) -> Directive:
        return ctx.next.complete(n)

    env = await serve(wf)
    handle = await env.client.start("W")
    for _ in range(2):
        await env.advance(timedelta(hours=2))
        with pytest.raises(RunTimedOutError, match="waited 1h for 'go'"):
            await handle.result()
        retried = await handle.retry()
        assert (retried.was, retried.status, retried.handler) == ("timed_out", "waiting", None)
        await env.advance(timedelta(minutes=59))
        assert (await handle.describe()).run.status == "waiting"
    await handle.send("go", 7)
    assert await handle.result() == 7


async def test_a_run_that_took_too_long_gets_its_whole_time_again(serve: Serve) -> None:
    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.step(later, after=timedelta(minutes=90))

    @wf.step()
    async def later(ctx: Context) -> Directive:
        return ctx.next.complete("late")

    env = await serve(wf)
    handle = await env.client.start("W", workflow_timeout=timedelta(minutes=40))
    for _ in range(2):
        await env.advance(timedelta(minutes=40))
        with pytest.raises(RunTimedOutError, match="longer than its timeout of 40m"):
            await handle.result()
        assert (await handle.retry()).status == "sleeping"
    await env.advance(timedelta(minutes=10))
    assert await handle.result() == "late"


async def test_a_step_that_was_cut_by_the_runs_timeout_begins_again(serve: Serve, world: World) -> None:
    wf = Workflow("W")

    @task
    async def call(what: str) -> str:
        return world.do(what)

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await call("charge")
        await ctx.sleep(timedelta(minutes=5))
        return ctx.next.complete("rested")

    env = await serve(wf)
    handle = await env.client.start("W", workflow_timeout=timedelta(minutes=3))
    await env.advance(timedelta(minutes=4))
    with pytest.raises(RunTimedOutError):
        await handle.result()
    here = "test_retry.test_a_step_that_was_cut_by_the_runs_timeout_begins_again.<locals>"
    assert (await handle.retry()).kept == [f"task '{here}.call'", "ctx.sleep()"]
    await env.advance(timedelta(minutes=2))
    assert await handle.result() == "rested"
    assert world.done == ["charge"]


async def test_what_a_cancellation_cleaned_up_is_not_asked_for_again(serve: Serve, world: World) -> None:
    world.broken.add("undo")
    hanging = asyncio.Event()

    @task
    async def call(what: str) -> str:
        return world.do(what)

    wf = Workflow("W")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        await call("charge")
        try:
            if world.broken:
                hanging.set()
                await ctx.sleep(timedelta(days=1))
        except asyncio.CancelledError:
            await call("tell")
            await call("undo")
        return ctx.next.complete("charged")

    env = await serve(wf)
    handle = await env.client.start("W")
    await hanging.wait()
    await env.settle()
    await handle.cancel()
    with pytest.raises(RunFailedError, match="undo is broken"):
        await handle.result()
    retried = await handle.retry()
    here = "test_retry.test_what_a_cancellation_cleaned_up_is_not_asked_for_again.<locals>"
    assert retried.kept == [f"task '{here}.call'", "ctx.sleep()"]
    await env.advance(timedelta(days=1))
    assert await handle.result() == "charged"
    assert world.done == ["charge", "tell"]
