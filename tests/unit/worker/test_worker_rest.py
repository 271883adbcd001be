"""Branches that ask for what another branch recorded wait until the loop is at rest, and that costs each of them the same."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from support.handlers import Desk
from wfctl import Context, Directive, Workflow, task
from wfctl.protocol.channel import StepDone
from wfd.worker.rest import LAST, Rest

wf = Workflow("Order")


def nothing() -> None: ...


@task
async def twice(number: int) -> int:
    return number * 2


@wf.start()
async def many(ctx: Context, count: int) -> Directive:
    return ctx.next.complete(await asyncio.gather(*(twice(number) for number in range(count))))


async def replayed(count: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """How often something was put on the loop in a replay in which no branch finds a record of its own."""
    desk = Desk(wf)
    first = await desk.finish("start", "many", {"count": count})
    others = [msgspec.structs.replace(one, key=f"{one.key.partition('@')[0]}@00000000") for one in desk.records]
    loop, put = asyncio.get_running_loop(), 0
    call_soon = loop.call_soon

    def counted(*args: Any, **options: Any) -> asyncio.Handle:
        nonlocal put
        put += 1
        return call_soon(*args, **options)

    desk.sent.clear()
    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_soon", counted)
        again = await desk.finish("start", "many", {"count": count}, ops=others)
    assert isinstance(again, StepDone), again
    assert again.value == first.value
    assert desk.ops() == []
    desk.executor.close()
    return put


async def test_twice_as_many_branches_take_twice_as_long_to_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = await replayed(100, monkeypatch), await replayed(200, monkeypatch)
    assert few < many < 2.5 * few


async def test_who_waits_for_rest_goes_on_alone_and_in_the_order_of_coming() -> None:
    rest, woken = Rest(), []

    async def one(name: str, turns: int) -> None:
        await rest.come(1, nothing)
        woken.append(name)
        for _ in range(turns):
            await asyncio.sleep(0)
            rest.moved()
            woken.append(f"{name} moves")

    given_up = asyncio.create_task(rest.come(1, nothing))
    await asyncio.sleep(0)
    work = asyncio.gather(one("a", 3), one("b", 0))
    await asyncio.sleep(0)
    given_up.cancel()
    await work
    assert woken == ["a", "a moves", "a moves", "a moves", "b"]


async def test_a_branch_that_moves_keeps_the_others_waiting() -> None:
    rest = Rest()
    waiting = asyncio.create_task(rest.come(1, nothing))
    for _ in range(100):
        await asyncio.sleep(0)
        rest.moved()
    assert not waiting.done()
    await waiting


async def test_the_lowest_place_goes_on_first_and_then_who_has_none() -> None:
    rest, woken = Rest(), []

    async def one(place: float) -> None:
        await rest.come(place, lambda: woken.append(rest.awaited))
        woken.append(place)

    await asyncio.gather(one(LAST), one(7), one(3))
    assert woken == [2, 3, 1, 7, 0, LAST]
    assert rest.passed == 3
