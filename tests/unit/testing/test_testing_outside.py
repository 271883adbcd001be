"""What may still move the handlers of an environment: what they wait for outside, and nothing else."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from support.waiting import until
from wfctl.client.connection import Connection
from wfctl.sdk import current
from wfd.testing.outside import Outside

SOON = 60.0


def nothing() -> None: ...


def in_a_handler(call: Callable[[], Any]) -> Any:
    def inside() -> Any:
        current.step.set(object())  # type: ignore[arg-type]
        return call()

    return contextvars.copy_context().run(inside)


@pytest.fixture
async def gate() -> AsyncIterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def moves(outside: Outside) -> bool:
    return outside.moves(asyncio.get_running_loop().time() + SOON)


async def test_where_nothing_is_waited_for_nothing_moves() -> None:
    assert not moves(Outside(asyncio.get_running_loop()))


async def test_a_timer_moves_unless_it_is_too_late_or_cancelled() -> None:
    loop = asyncio.get_running_loop()
    outside = Outside(loop)
    timer = loop.call_later(SOON / 2, nothing)
    assert moves(outside)
    assert not outside.moves(loop.time() + SOON / 4)
    timer.cancel()
    assert not moves(outside)


async def test_a_limit_of_the_tests_moves_nothing_and_one_of_a_handlers_does() -> None:
    outside = Outside(asyncio.get_running_loop())

    async def asks() -> bool:
        await asyncio.sleep(0)
        return moves(outside)

    async def limited() -> bool:
        async with asyncio.timeout(SOON / 2):
            return await asks()

    assert not await limited()
    assert not await asyncio.wait_for(asks(), SOON / 2)
    assert await in_a_handler(lambda: asyncio.get_running_loop().create_task(limited()))


async def test_a_socket_that_a_handler_reads_moves_and_one_of_the_tests_does_not() -> None:
    loop = asyncio.get_running_loop()
    outside = Outside(loop)
    here, there = socket.socketpair()
    with here, there:
        loop.add_reader(here, nothing)
        assert not moves(outside)
        in_a_handler(lambda: loop.add_reader(there, nothing))
        assert moves(outside)
        loop.remove_reader(there)
        assert not moves(outside)
        loop.remove_reader(here)


async def test_a_thread_moves_until_it_has_ended_unless_it_was_there_before(gate: threading.Event) -> None:
    loop = asyncio.get_running_loop()
    outside = Outside(loop)
    thread = threading.Thread(target=gate.wait, daemon=True)
    thread.start()
    assert moves(outside)
    assert not moves(Outside(loop))
    gate.set()
    thread.join()
    assert not moves(outside)


async def test_a_thread_of_an_executor_moves_while_it_has_work_also_where_it_is_an_old_one(
    gate: threading.Event,
) -> None:
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(nothing)
    outside = Outside(loop)
    await until(lambda: not moves(outside))
    begun = threading.Event()
    work = loop.run_in_executor(None, lambda: (begun.set(), gate.wait()))
    begun.wait()
    assert moves(outside)
    gate.set()
    await work
    await until(lambda: not moves(outside))


async def test_of_a_loop_that_does_not_tell_everything_is_expected() -> None:
    assert Outside(object()).moves(SOON)  # type: ignore[arg-type]


async def test_sockets_of_others_count_only_where_anyone_does_and_not_those_that_were_there_before() -> None:
    loop = asyncio.get_running_loop()
    (before, _before), (ours, _ours), (later, _later) = pairs = [socket.socketpair() for _ in range(3)]
    loop.add_reader(before, nothing)
    outside = Outside(loop)
    _, connection = await loop.create_unix_connection(lambda: Connection(Path("own")), sock=ours)
    assert not outside.moves(loop.time() + SOON, anyone=True)
    loop.add_reader(later, nothing)
    assert not moves(outside)
    assert outside.moves(loop.time() + SOON, anyone=True)
    for one in (before, later):
        loop.remove_reader(one)
    connection._transport.close()
    for pair in pairs:
        for one in pair:
            one.close()
