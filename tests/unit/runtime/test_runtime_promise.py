"""A promise is told as a future is: at the next turn, in order, once."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from wfd.runtime.promise import Promise, future_of


def promise_of(value: str, told: list[str]) -> Promise[str]:
    promise = Promise(asyncio.get_running_loop(), value)
    promise.then(lambda one: told.append(one.value or ""))
    return promise


async def test_who_waits_is_told_at_the_next_turn_and_in_the_order_in_which_promises_and_futures_were_kept() -> None:
    told: list[str] = []
    first, last, between = promise_of("a", told), promise_of("c", told), asyncio.get_running_loop().create_future()
    between.add_done_callback(lambda _: told.append("b"))
    first.end()
    between.set_result(None)
    last.end()
    assert told == []
    await asyncio.sleep(0)
    assert told == ["a", "b", "c"]


async def test_who_asks_when_it_has_been_kept_is_told_all_the_same() -> None:
    promise, told = Promise(asyncio.get_running_loop(), "a"), list[str]()
    promise.end()
    promise.then(lambda one: told.append(one.value or ""))
    assert told == []
    await asyncio.sleep(0)
    assert told == ["a"]


async def test_what_is_kept_stays_as_it_is() -> None:
    told: list[str] = []
    promise = promise_of("a", told)
    promise.end()
    promise.end(ValueError("too late"))
    promise.cancel()
    await asyncio.sleep(0)
    assert (told, promise.error, promise.cancelled) == (["a"], None, False)


async def test_one_that_is_given_up_says_so_at_once_and_is_over() -> None:
    given_up: list[Any] = []
    promise: Promise[str] = Promise(asyncio.get_running_loop(), None, given_up.append)
    future = promise.future()
    promise.cancel()
    promise.cancel()
    assert (given_up, promise.done, future.cancelled()) == ([promise], True, True)


@pytest.mark.parametrize("early", [True, False])
async def test_a_coroutine_waits_for_a_future_of_it_whenever_it_asks_for_that(early: bool) -> None:
    kept, broken = (Promise(asyncio.get_running_loop(), value) for value in ("a", "b"))
    futures = [future_of(kept), future_of(broken)] if early else []
    kept.end()
    broken.end(ValueError("no"))
    futures = futures or [future_of(kept), future_of(broken)]
    assert await futures[0] == "a"
    with pytest.raises(ValueError, match="no"):
        await futures[1]
    assert future_of(futures[0]) is futures[0]


async def test_a_coroutine_that_was_cancelled_keeps_nobody_else_from_being_told() -> None:
    told: list[str] = []
    promise = promise_of("a", told)
    promise.future().cancel()
    promise.end()
    await asyncio.sleep(0)
    assert told == ["a"]


async def test_an_error_that_nobody_asks_for_is_no_matter_for_the_log() -> None:
    loop, told = asyncio.get_running_loop(), list[Any]()
    loop.set_exception_handler(lambda _, context: told.append(context))
    promise = Promise(loop, "a")
    await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0)), promise.future()], timeout=0)
    promise.end(ValueError("no"))
    await asyncio.sleep(0)
    del promise
    gc.collect()
    assert told == []
