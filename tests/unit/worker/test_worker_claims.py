"""What happens beside the operations of a handler may come in another order in a replay: each branch gets its own results back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from support.handlers import Desk
from wfctl import Context, Directive, Workflow, current_task, task
from wfctl.protocol.channel import Op, StepDone, StepRaised, StepStuck

ITEMS = ("apple", "pear", "plum")

# What a branch waits for beside its operations, by item: a test opens these in an order of its own.
gates: dict[str, asyncio.Future[None]] = {}
# What a provider has seen, by idempotency key.
effects: dict[str, list[str]] = {}
# What each branch was told, in all executions.
told: dict[str, list[Any]] = {}


def provider(what: str) -> str:
    runs = effects.setdefault(current_task().idempotency_key, [])
    runs.append(what)
    return what


def hears(item: str, value: Any) -> Any:
    told.setdefault(item, []).append(value)
    return value


@task
async def order(item: str, key: str) -> str:
    return provider(f"{item} {key}")


@task
async def draw() -> int:
    provider("draw")
    return len(effects)


@task
async def draw_of(stock: str) -> int:
    provider(f"draw of {stock}")
    return len(effects)


async def each(branch: Callable[[str], Awaitable[Any]]) -> list[Any]:
    return list(await asyncio.gather(*(branch(item) for item in ITEMS)))


async def save(ctx: Context, item: str, results: list[str]) -> None:
    key = hears(item, str(await ctx.uuid4()))
    results.append(await order(item, key))


async def a_shared_list(ctx: Context) -> Any:
    results: list[str] = []

    async def branch(item: str) -> None:
        await gates[item]
        await asyncio.gather(save(ctx, item, results))

    await each(branch)
    return len(results)


async def a_shared_list_as_completed(ctx: Context) -> Any:
    results: list[str] = []

    async def branch(item: str) -> None:
        await gates[item]
        for one in asyncio.as_completed([save(ctx, f"{item} {number}", results) for number in range(3)]):
            await one

    await each(branch)
    return len(results)


async def in_the_order_of_coming(ctx: Context) -> Any:
    """Who begins when is a matter of timing, and the shared mapping holds another thing each time."""
    results: dict[str, str] = {}

    async def place(item: str, into: dict[str, str]) -> None:
        into[item] = hears(item, [await draw(), str(await ctx.uuid4())])

    async with asyncio.TaskGroup() as group:

        async def come(item: str) -> None:
            await gates[item]
            group.create_task(place(item, results))

        for item in ITEMS:
            group.create_task(come(item))
    return sorted(results.items())


async def a_function_within(ctx: Context) -> Any:
    async def branch(item: str) -> str:
        await gates[item]

        @task
        async def charge() -> str:
            return provider(f"charge {item}")

        return str(hears(item, await charge()))

    assert await each(branch) == [f"charge {item}" for item in ITEMS]


async def no_arguments(ctx: Context) -> Any:
    async def branch(item: str) -> str:
        await gates[item]
        return await order(item, str(hears(item, await draw())))

    return await each(branch)


async def in_branches_of_their_own(ctx: Context) -> Any:
    """The same arguments in each, in branches that have not begun when another asks."""

    async def branch(item: str) -> str:
        await gates[item]
        number = await asyncio.wait_for(draw_of("fruit"), 60)
        return await order(item, str(hears(item, number)))

    return await each(branch)


async def workers(ctx: Context) -> Any:
    """Which of them takes which item is a matter of timing, and they end with the items."""
    left, found = list(ITEMS), []

    async def worker() -> None:
        while left:
            item = left.pop(0)
            await gates[item]
            found.append(await order(item, str(await draw_of(item))))

    await asyncio.gather(worker(), worker())
    return sorted(found)


async def workers_for_ever(ctx: Context) -> Any:
    queue: asyncio.Queue[str] = asyncio.Queue()
    found: list[str] = []

    async def arrives(item: str) -> None:
        await gates[item]
        queue.put_nowait(item)

    async def worker() -> None:
        while True:
            item = await queue.get()
            found.append(await order(item, str(await draw_of(item))))
            queue.task_done()

    made = [asyncio.create_task(worker()) for _ in range(2)]
    await each(arrives)
    await queue.join()
    for one in made:
        one.cancel()
    await asyncio.wait(made)
    return sorted(found)


SHAPES: list[Callable[[Context], Awaitable[Any]]] = [
    a_shared_list, a_shared_list_as_completed, in_the_order_of_coming, a_function_within, no_arguments,
    in_branches_of_their_own, workers, workers_for_ever,
]  # fmt: skip
NAMES = [shape.__name__ for shape in SHAPES]

wf = Workflow("Order")


@wf.start()
async def shaped(ctx: Context, number: int) -> Directive:
    return ctx.next.complete(await SHAPES[number](ctx))


async def executed(desk: Desk, shape: int, seed: str, cut: int | None) -> Any:
    """Run it, with gates opened and operations answered in an order that `seed` makes; None where it ends after `cut` commits."""
    gates.update({item: asyncio.get_running_loop().create_future() for item in ITEMS})
    token = desk.begin("start", "shaped", {"number": shape}, ops=desk.records)
    pending: list[Op] = []
    turns = commits = 0
    while True:
        for _ in range(60):
            await asyncio.sleep(0)
        shut = [gate for gate in gates.values() if not gate.done()]
        if not pending and not shut and not desk.sent:
            await desk.next()
        fresh = [one for one in desk.sent if getattr(one, "token", None) == token]
        desk.sent.clear()
        for one in fresh:
            if isinstance(one, StepDone | StepStuck | StepRaised):
                return one
            if isinstance(one, Op):
                pending.append(one)
        choices = [*pending, *shut]
        if not choices:
            continue
        turns += 1
        chosen = choices[int(hashlib.sha256(f"{seed}{turns}".encode()).hexdigest(), 16) % len(choices)]
        if isinstance(chosen, asyncio.Future):
            chosen.set_result(None)
            continue
        # A daemon commits what one operation tells of it in the order it was told.
        op = next(op for op in pending if op.key == chosen.key)
        pending.remove(op)
        commits += 1
        if commits == cut:
            desk.commit(op, desk.value(op))
            desk.executor.cancel_all()
            return None
        desk.reply(op, desk.value(op))


async def played(shape: int, seed: str, cuts: list[int]) -> None:
    effects.clear()
    told.clear()
    desk = Desk(wf)
    end: Any = None
    for number, cut in enumerate([*cuts, None]):
        end = end or await executed(desk, shape, f"{seed}{number}", cut)
    again = await executed(desk, shape, f"{seed}again", None)
    desk.executor.close()
    assert isinstance(end, StepDone), end
    assert isinstance(again, StepDone), again
    assert again.value == end.value
    assert all(not record.open for record in desk.records)
    for runs in effects.values():
        assert len(set(runs)) == 1, runs
    if SHAPES[shape] not in (workers, workers_for_ever):
        recorded = [msgspec.json.decode(record.value) for record in desk.records]
        for item, values in told.items():
            last = values[-1]
            assert last in recorded or isinstance(last, list)
            assert values[-2:] == [last, last], f"{item} was told {values}"


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=NAMES)
@settings(max_examples=25, deadline=None)
@given(st.text("abcdef", min_size=1, max_size=4), st.lists(st.integers(1, 14), max_size=3, unique=True))
def test_branches_get_their_own_back_whatever_comes_first_beside_their_operations(
    shape: int, seed: str, cuts: list[int]
) -> None:
    asyncio.run(played(shape, seed, sorted(cuts)))


def opened(*items: str) -> None:
    for item in items:
        gates[item].set_result(None)


async def settled() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


async def recorded(desk: Desk, shape: Callable[[Context], Awaitable[Any]], first: str) -> None:
    """An execution that is cut when the branch of `first` alone has its outcome."""
    effects.clear()
    told.clear()
    gates.update({item: asyncio.get_running_loop().create_future() for item in ITEMS})
    desk.begin("start", "shaped", {"number": SHAPES.index(shape)})
    opened(first)
    for kind in ("task", "task_completed"):
        op = await desk.next(Op)
        assert op.kind == kind
        desk.reply(op)
    await settled()
    desk.executor.cancel_all()
    await settled()
    desk.sent.clear()
    gates.update({item: asyncio.get_running_loop().create_future() for item in ITEMS})
    desk.begin("start", "shaped", {"number": SHAPES.index(shape)}, ops=desk.records)


@pytest.mark.parametrize("shape", [a_function_within, no_arguments, in_branches_of_their_own])
async def test_what_another_branch_recorded_waits_for_that_branch(shape: Callable[[Context], Awaitable[Any]]) -> None:
    desk = Desk(wf)
    await recorded(desk, shape, "pear")
    before = {key: list(runs) for key, runs in effects.items() if runs != ["pear 1"]}
    opened("apple", "plum")
    await settled()
    assert desk.ops() == [], "nothing is known of the branch that it belongs to"
    opened("pear")
    while not isinstance(message := await desk.next((Op, StepDone, StepStuck)), StepDone):
        assert isinstance(message, Op), message
        desk.reply(message, desk.value(message))
    desk.executor.close()
    assert {key: runs for key, runs in effects.items() if key in before} == before, "pear's was not done again"
    assert told["pear"] in ([1, 1], ["charge pear"] * 2)


async def test_two_tasks_of_one_name_in_a_module_are_two_to_the_records() -> None:
    desk = Desk(wf)
    await recorded(desk, methods_of_one_name, "pear")
    opened("apple")
    op = await desk.next(Op)
    assert (op.kind, list(effects.values())) == ("task", [["paypal 7"], ["stripe 7"]])
    desk.executor.cancel_all()
    desk.executor.close()


async def ends_without_asking(ctx: Context) -> Any:
    async def branch(item: str) -> Any:
        await gates[item]
        if item in given_up:
            return None

        @task
        async def charge() -> str:
            return provider(f"charge {item}")

        return await charge()

    return await each(branch)


async def a_worker_that_waits(ctx: Context) -> Any:
    """Two workers draw, by whichever comes first; the other then waits for an item that does not come."""
    queue: asyncio.Queue[str] = asyncio.Queue()

    async def worker(item: str) -> None:
        await gates[item]
        if item in given_up:
            await queue.get()
        await draw()

    return await asyncio.gather(worker("apple"), worker("pear"))


class Stripe:
    @staticmethod
    @task
    async def charge(amount: int) -> str:
        return provider(f"stripe {amount}")


class Paypal:
    @staticmethod
    @task
    async def charge(amount: int) -> str:
        return provider(f"paypal {amount}")


async def methods_of_one_name(ctx: Context) -> Any:
    async def pay(by: str, provider: type[Stripe] | type[Paypal]) -> str:
        await gates[by]
        return str(hears(by, await provider.charge(7)))

    paid = await asyncio.gather(pay("apple", Stripe), pay("pear", Paypal))
    assert paid == ["stripe 7", "paypal 7"]
    return paid


given_up: set[str] = set()
SHAPES += [methods_of_one_name, ends_without_asking, a_worker_that_waits]


@pytest.mark.parametrize("shape", [ends_without_asking, a_worker_that_waits])
async def test_where_nothing_tells_whose_call_it_is_the_run_is_stuck_before_anything_is_done(
    shape: Callable[[Context], Awaitable[Any]],
) -> None:
    desk = Desk(wf)
    given_up.clear()
    await recorded(desk, shape, "pear")
    given_up.add("pear")
    done = len(effects)
    opened("pear", "apple", "plum")
    stuck = await desk.next((Op, StepDone, StepStuck))
    desk.executor.close()
    assert isinstance(stuck, StepStuck), stuck
    assert "in another branch than before, and nothing tells whether it is the same call" in stuck.reason
    assert len(effects) == done
