"""Deadlines on a disk that answers late, or not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from wfctl import StorageError
from wfd.engine.timers import Timers
from wfd.runtime.clock import ManualClock


class SlowReader:
    """Rows by key and when they are due. `before_answer` is called between a look at them and the answer."""

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}
        self.before_answer: Callable[[str], None] = lambda _: None

    async def due(self, now_ms: int, limit: int, after: tuple[int, int] = (0, 0)) -> list[tuple[int, int]]:
        found = sorted((at, key) for key, at in self.rows.items() if at <= now_ms and (at, key) > after)[:limit]
        return await self._answer("due", found)

    async def next_wake(self) -> int | None:
        return await self._answer("next_wake", min(self.rows.values(), default=None))

    async def _answer(self, name: str, found: Any) -> Any:
        await asyncio.sleep(0)
        self.before_answer(name)
        await asyncio.sleep(0)
        return found


@pytest.fixture
def reader() -> SlowReader:
    return SlowReader()


def timers_of(reader: SlowReader, clock: ManualClock, fired: list[int]) -> Timers:
    async def fire(keys: list[int]) -> None:
        fired.extend(keys)
        for key in keys:
            del reader.rows[key]

    return Timers(reader, clock, fire)  # type: ignore[arg-type]


async def turns(count: int = 30) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_falls_due_while_the_nearest_deadline_is_read_is_not_forgotten(reader: SlowReader) -> None:
    clock, fired = ManualClock(), list[int]()
    timers = timers_of(reader, clock, fired)

    def commit(name: str) -> None:
        if name == "next_wake" and not fired:
            reader.before_answer = lambda _: None
            reader.rows[1] = clock.now_ms() + 1
            timers.note(reader.rows[1])
            clock.advance(1)

    reader.before_answer = commit
    timers.arm_soon()
    await turns()
    clock.advance(60_000)
    await turns()
    assert fired == [1]


async def test_a_disk_that_could_not_be_read_once_is_read_again(reader: SlowReader) -> None:
    clock, fired = ManualClock(), list[int]()
    timers = timers_of(reader, clock, fired)
    reader.rows[1] = clock.now_ms() + 1_000

    def fail(name: str) -> None:
        raise StorageError("cannot read the database: disk I/O error")

    timers.arm_soon()
    await turns()
    reader.before_answer = fail
    clock.advance(1_000)
    await turns()
    assert fired == []
    reader.before_answer = lambda _: None
    clock.advance(60_000)
    await turns()
    assert fired == [1]
