"""Tasks that replay: what differs is stuck with both sides, and concurrent branches get their own results back."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from support.handlers import Desk
from wfctl import Context, Directive, Workflow, current_task, task
from wfctl.protocol.channel import Op, OpDone, OpRecord, StepDone, StepRaised, StepStuck

wf = Workflow("Order")

# Which tasks the edited handler calls; a test edits it between executions.
plan: list[str] = []
# The idempotency keys with which each task's function ran, and the values it gave: what a provider would see.
effects: dict[str, list[str]] = {}


def provider(what: str) -> str:
    """Idempotent by key, and a result that nothing but the record can repeat."""
    key = current_task().idempotency_key
    runs = effects.setdefault(key, [])
    runs.append(what)
    return f"{what}:{key[:6]}"


@task
async def reserve(item: Any = None) -> str:
    return provider(f"reserve({item})")


@task
async def pay(item: Any, token: str) -> str:
    return provider(f"pay({item},{token})")


@task
def notify(item: Any) -> str:
    return provider(f"notify({item})")


CALLS: dict[str, Callable[[Context], Awaitable[Any]]] = {
    "reserve a": lambda ctx: reserve("a"),
    "reserve b": lambda ctx: reserve("b"),
    "notify a": lambda ctx: notify("a"),
    "send": lambda ctx: ctx.send("other", "a"),
}


@wf.start()
async def edited(ctx: Context) -> Directive:
    for word in plan:
        await CALLS[word](ctx)
    return ctx.next.complete()


async def chain(item: int) -> tuple[int, str, str, str]:
    token = await reserve(item)
    return item, token, await pay(item, token), await notify(item)


async def alike(item: int) -> list[Any]:
    """The first call is the same in every branch, and what follows depends on its result."""
    if item % 2:
        await notify(item)
    token = await reserve()
    return [item, token, await pay(item, token)]


@wf.step()
async def three(ctx: Context) -> Directive:
    return ctx.next.complete(await asyncio.gather(*(chain(number) for number in range(3))))


@wf.step()
async def three_alike(ctx: Context) -> Directive:
    return ctx.next.complete(await asyncio.gather(*(alike(number) for number in range(3))))


@wf.step()
async def grouped(ctx: Context) -> Directive:
    async def pair(number: int) -> list[Any]:
        key = str(await ctx.uuid4())
        async with asyncio.TaskGroup() as group:
            made = [group.create_task(alike(number)), group.create_task(chain(number + 10))]
        return [key, await pay(number, key), *(one.result() for one in made)]

    return ctx.next.complete(
        await asyncio.gather(pair(0), asyncio.gather(pair(1), alike(5)), asyncio.create_task(chain(7)))
    )


@wf.step()
async def as_they_come(ctx: Context) -> Directive:
    async def one(number: int) -> list[Any]:
        return [number, str(await ctx.uuid4()), *(await alike(number))]

    found, after = [], []
    for next_one in asyncio.as_completed([one(number) for number in range(3)]):
        result = await next_one
        found.append(result)
        after.append(asyncio.create_task(chain(100 + result[0])))
    await asyncio.wait(after)
    return ctx.next.complete(sorted([*found, *([*each.result()] for each in after)], key=lambda each: each[0]))


@wf.step()
async def workers(ctx: Context) -> Directive:
    """Which of them takes which item is a matter of timing."""
    queue: asyncio.Queue[int] = asyncio.Queue()
    for number in range(5):
        queue.put_nowait(number)
    found: list[tuple[int, str, str, str]] = []

    async def worker() -> None:
        while not queue.empty():
            found.append(await chain(queue.get_nowait()))

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(worker())
    return ctx.next.complete(sorted(found))


@wf.step()
def in_threads(ctx: Any) -> Directive:
    return ctx.next.complete([asyncio.run(alike(number)) for number in range(2)])


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    effects.clear()
    desk = Desk(wf)
    yield desk
    desk.executor.close()


LINE = edited.__code__.co_firstlineno


@pytest.mark.parametrize(
    ("before", "crash", "after", "recorded", "asked"),
    [
        (["reserve a"], 2, ["notify a"], "task 'unit.worker.test_worker_task_replay.reserve' [", ".notify' ["),
        (["reserve a"], 2, ["reserve b"], ".reserve' [", ".reserve' ["),
        (["reserve a", "reserve b"], 4, ["reserve b", "reserve a"], ".reserve' [", ".reserve' ["),
        (["reserve a", "notify a"], 3, ["notify a", "reserve a"], ".reserve' [", ".notify' ["),
        (["reserve a"], 2, ["send", "reserve a"], ".reserve' [", "event 'a' ["),
        (["send"], 1, ["reserve a"], "event 'a' [", ".reserve' ["),
        (["reserve a", "notify a"], 4, ["reserve a"], ".notify' [", "nothing"),
        (["reserve a"], 1, [], ".reserve' [", "nothing"),
        (["reserve a", "reserve b"], 4, ["reserve a", "notify a", "reserve b"], ".reserve' [", ".notify' ["),
    ],
    ids=["name", "arguments", "order", "order while open", "kind to event", "kind to task", "missing", "missing while open",
         "extra"],
)  # fmt: skip
async def test_a_changed_task_is_stuck_with_both_sides_and_nothing_happens(
    desk: Desk, before: list[str], crash: int, after: list[str], recorded: str, asked: str
) -> None:
    plan[:] = before
    await desk.finish("start", "edited", crash_after=crash)
    effects.clear()
    desk.sent.clear()
    plan[:] = after
    stuck = await desk.finish("start", "edited", ops=desk.records)
    assert isinstance(stuck, StepStuck), stuck
    left, _, right = stuck.reason.partition("; asked for instead: ")
    assert "recorded and not asked for: " in left
    assert recorded.replace("unit.worker.", "") in left.replace("unit.worker.", "")
    assert asked in right or asked == right.partition(".")[0]
    assert "start 'edited' of workflow 'Order' (tests/unit/worker/test_worker_task_replay.py:" in left
    if asked != "nothing":
        assert f"test_worker_task_replay.py:{LINE + 3} in edited" in right or " in <lambda>" in right
    assert effects == {}
    assert all(op.kind == "resume" for op in desk.ops())


async def test_more_tasks_after_all_that_is_recorded_just_happen(desk: Desk) -> None:
    plan[:] = ["reserve a"]
    await desk.finish("start", "edited", crash_after=2)
    plan[:] = ["reserve a", "notify a"]
    assert isinstance(await desk.finish("start", "edited", ops=desk.records), StepDone)
    assert sorted(effects.values()) == [["notify(a)"], ["reserve(a)"]]


async def test_the_same_call_twice_is_two_calls_with_keys_of_their_own(desk: Desk) -> None:
    plan[:] = ["reserve a", "reserve a"]
    await desk.finish("start", "edited", crash_after=3)
    assert isinstance(await desk.finish("start", "edited", ops=desk.records), StepDone)
    assert sorted(effects.values()) == [["reserve(a)"], ["reserve(a)", "reserve(a)"]], (
        "the second was cut and begun again"
    )
    assert [record.key.rpartition(":")[2] for record in desk.records] == ["0", "1"]


async def test_a_branch_does_not_take_what_another_recorded_for_the_very_same_call(desk: Desk) -> None:
    """Branch 0 comes first to ask, but only branch 1 got as far as its record."""
    desk.begin("step", "three_alike")
    op = await desk.next(Op)
    while op.name != "notify":
        op = await desk.next(Op)
    branch = op.key.partition("@")[2]
    while op.name != "pay":
        if op.key.endswith(branch):
            desk.reply(op)
        op = await desk.next(Op)
    desk.executor.cancel_all()
    assert [record.key.partition("@")[2] for record in desk.records] == [branch, branch]
    ended = await desk.finish("step", "three_alike", ops=desk.records)
    assert isinstance(ended, StepDone), ended
    _consistent(ended.value)


def _consistent(value: bytes) -> None:
    """Every `pay` was made with the token of its own branch, and no token went to two branches."""
    tokens: list[str] = []

    def walk(one: Any) -> None:
        if isinstance(one, list):
            if len(one) >= 3 and isinstance(one[0], int) and isinstance(one[-1], str):
                texts = [each for each in one if isinstance(each, str)]
                token = next(each for each in texts if each.startswith("reserve"))
                paid = next(each for each in texts if each.startswith("pay"))
                assert paid.startswith(f"pay({one[0]},{token})"), one
                tokens.append(token)
            else:
                for each in one:
                    walk(each)

    walk(msgspec.json.decode(value))
    assert tokens
    assert len(set(tokens)) == len(tokens)


async def played(step: str, seed: str, cuts: list[int]) -> None:
    """Run a step with its operations answered in an order that `seed` makes, and a crash after each number of commits in `cuts`."""
    desk = Desk(wf)
    effects.clear()
    commits = turns = 0
    end: Any = None
    for cut in [*cuts, None]:
        token = desk.begin("step", step, ops=desk.records)
        pending: list[Op] = []
        crashed = False
        while end is None and not crashed:
            await _settled()
            fresh = [one for one in desk.sent if getattr(one, "token", None) == token]
            desk.sent.clear()
            pending += [one for one in fresh if isinstance(one, Op)]
            end = next((one for one in fresh if isinstance(one, StepDone | StepStuck | StepRaised)), None)
            if end is None and pending:
                turns += 1
                pick = int(hashlib.sha256(f"{seed}{turns}".encode()).hexdigest(), 16) % len(pending)
                # A daemon commits what one operation tells of it in the order it was told.
                pick = next(at for at, op in enumerate(pending) if op.key == pending[pick].key)
                op = pending.pop(pick)
                commits += 1
                crashed = commits == cut
                if crashed:
                    desk.commit(op, desk.value(op))
                    desk.executor.cancel_all()
                else:
                    desk.reply(op, desk.value(op))
    desk.executor.close()
    assert isinstance(end, StepDone), end
    _consistent(end.value)
    # Whatever was done twice was done under one key, and no key stood for two things.
    for runs in effects.values():
        assert len(set(runs)) == 1, runs
        assert len(runs) <= len(cuts) + 1
    assert all(not record.open for record in desk.records)


async def _settled() -> None:
    """Until the handler can do nothing without an answer; the functions that run in threads have returned."""
    for _ in range(100):
        await asyncio.sleep(0)
    while any(one.name.startswith("wfctl-task") for one in threading.enumerate()):
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)


@pytest.mark.parametrize("step", ["three", "three_alike"])
def test_three_branches_of_chained_tasks_survive_a_crash_after_each_record(step: str) -> None:
    for cut in range(1, 19):
        for seed in "ab":
            asyncio.run(played(step, seed, [cut]))


def test_who_waits_for_what_a_branch_asked_for_that_has_come_by_then_waits_for_the_next_ones_branch_too() -> None:
    asyncio.run(played("three_alike", "c", [1, 4, 11]))


@pytest.mark.parametrize("step", ["three", "three_alike", "grouped", "as_they_come", "workers"])
@settings(max_examples=25, deadline=None)
@given(st.text("abcdef", min_size=1, max_size=4), st.lists(st.integers(1, 40), max_size=4, unique=True))
def test_branches_get_their_own_results_for_any_order_and_any_crashes(step: str, seed: str, cuts: list[int]) -> None:
    asyncio.run(played(step, seed, sorted(cuts)))


async def test_records_without_a_branch_are_found_by_branches_and_the_other_way_round(desk: Desk) -> None:
    done = await desk.finish("step", "three")
    plain = [msgspec.structs.replace(one, key=one.key.partition("@")[0]) for one in desk.records]
    assert plain != desk.records
    desk.sent.clear()
    again = await desk.finish("step", "three", ops=plain)
    assert again.value == done.value
    assert desk.ops() == []


async def test_a_late_answer_to_a_step_that_is_over_changes_nothing(desk: Desk) -> None:
    plan[:] = ["reserve a"]
    token = desk.begin("start", "edited")
    op = await desk.next(Op)
    desk.executor.cancel_all()
    desk.executor.receive(OpDone(token, op.op))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(isinstance(one, StepDone) for one in desk.sent)


async def test_tasks_of_a_plain_handler_with_loops_of_its_own_replay(desk: Desk) -> None:
    first = await desk.finish("step", "in_threads")
    assert isinstance(first, StepDone), first
    count = len(effects)
    again = await desk.finish("step", "in_threads", ops=desk.records)
    assert again.value == first.value
    assert len(effects) == count
    assert isinstance(desk.records[0], OpRecord)
