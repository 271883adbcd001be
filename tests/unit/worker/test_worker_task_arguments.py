"""A task's function works on arguments of its own: the first execution of its handler sees what a replay does."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from support.handlers import Desk
from wfctl import Context, Directive, RetryPolicy, Workflow, task
from wfctl.protocol.channel import StepDone

wf = Workflow("Order")
seen: list[list[int]] = []
threads: list[int] = []
copied: list[int] = []


@dataclass
class Basket:
    items: list[int] = field(default_factory=list)


@task
async def fill(items: list[int], basket: Basket) -> int:
    items.append(5)
    basket.items.append(6)
    return len(items)


@task
def fill_in_a_thread(*, items: list[int]) -> int:
    items.append(5)
    return len(items)


@task(retry=RetryPolicy(attempts=3, delay=timedelta(0)))
async def third_time(items: list[int]) -> int:
    seen.append(list(items))
    items.append(7)
    if len(seen) < 3:
        raise OSError("not yet")
    return len(items)


@wf.start()
async def begin(ctx: Context) -> Directive:
    items, basket = [1], Basket()
    counts = [await fill(items, basket), await fill_in_a_thread(items=items), await third_time(items)]
    return ctx.next.complete([items, basket.items, counts])


class Awkward(dict[str, Any]):
    """Whose copies are refused, or fail when they are made, or are made by itself."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self["how"] == "refused":
            raise TypeError("there is only one")
        return refuses, ()


class OfItsOwn(dict[str, Any]):
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("not like this")

    def __deepcopy__(self, known: Any) -> OfItsOwn:
        return OfItsOwn(self)


def refuses() -> Any:
    raise TypeError("there is only one")


@task(retry=RetryPolicy(attempts=2, delay=timedelta(0)))
def adds(what: Any) -> str:
    threads.append(threading.get_ident())
    what["n"] = what.get("n", 0) + 1
    if len(threads) % 2:
        raise OSError("once more")
    return f"{type(what).__name__} {what['n']}"


@wf.step()
async def gives(ctx: Context) -> Directive:
    inner: dict[str, Any] = {"a": [1]}
    kinds = [
        inner, OrderedDict(a=1), OfItsOwn(a=1), Awkward(how="refused"), Awkward(how="failing")
    ]  # fmt: skip
    told = [await adds(one) for one in kinds]
    return ctx.next.complete([told, ["n" in one for one in kinds]])


class Watched(dict[str, Any]):
    def __reduce_ex__(self, protocol: Any) -> Any:
        return watched, ()


def watched() -> Watched:
    copied.append(threading.get_ident())
    return Watched()


@wf.step()
async def gives_a_watched_one(ctx: Context) -> Directive:
    return ctx.next.complete(await adds(Watched()))


@wf.step()
async def changes_its_own(ctx: Context) -> Directive:
    items: list[int] = []
    work = asyncio.create_task(fill(items, Basket()))
    items.append(1)
    return ctx.next.complete(await work)


async def test_what_a_task_does_to_its_arguments_is_not_seen_by_its_handler() -> None:
    seen.clear()
    desk = Desk(wf)
    first = await desk.finish("start", "begin")
    again = await desk.finish("start", "begin", ops=desk.records)
    desk.executor.close()
    for done in (first, again):
        assert isinstance(done, StepDone), done
        assert done.value == b"[[1],[],[2,2,2]]"


async def test_each_attempt_gets_what_was_given() -> None:
    seen.clear()
    desk = Desk(wf)
    await desk.finish("start", "begin")
    desk.executor.close()
    assert seen == [[1]] * 3


async def test_a_task_gets_what_was_given_when_it_was_called() -> None:
    desk = Desk(wf)
    done: Any = await desk.finish("step", "changes_its_own")
    desk.executor.close()
    assert done.value == b"1", "what is recorded as its arguments"


async def test_arguments_keep_their_types_and_what_cannot_be_copied_is_handed_out_itself() -> None:
    threads.clear()
    desk = Desk(wf)
    done: Any = await desk.finish("step", "gives")
    desk.executor.close()
    assert isinstance(done, StepDone), done
    told, changed = msgspec.json.decode(done.value)
    assert told == ["dict 1", "OrderedDict 1", "OfItsOwn 1", "Awkward 2", "Awkward 2"]
    assert changed == [False, False, False, True, True]


async def test_a_plain_tasks_arguments_are_copied_in_its_own_thread() -> None:
    copied.clear()
    threads.clear()
    desk = Desk(wf)
    done: Any = await desk.finish("step", "gives_a_watched_one")
    desk.executor.close()
    assert isinstance(done, StepDone), done
    assert copied == threads != [threading.get_ident()] * 2
