"""The worker in reserve: when there is one, who gets it, and what becomes of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.waiting import until
from wfd.config import Config
from wfd.runtime.clock import ManualClock
from wfd.supervisor.spare import AFTER_MS, Spare
from wfd.supervisor.worker import Worker


class Reserve:
    """A spare with real processes; `ended` are those that are gone."""

    def __init__(self, folder: Path) -> None:
        self.config = Config(
            project=folder, file=folder / "wfctl.toml", state=folder, socket=folder / "s", workers=1, crash_limit=5,
            durability="full", modules=("flows.py",), path=(), python=Path(sys.executable), reload=True, sources={},
        )  # fmt: skip
        self.clock = ManualClock()
        self.ended: list[Worker] = []
        self.spare = Spare(self.clock, lambda config: Worker(config, self._received, self._ended))

    def _received(self, worker: Worker, messages: list[Any]) -> None: ...

    def _ended(self, worker: Worker, why: str) -> None:
        self.ended.append(worker)
        self.spare.lost(worker)

    async def ready(self, **other: Any) -> Config:
        """There is one, for such a configuration."""
        config = msgspec.structs.replace(self.config, **other)
        self.spare.want(config)
        self.clock.advance(AFTER_MS)
        await until(lambda: self.spare._ready)
        return config


@pytest.fixture
async def reserve(tmp_path: Path) -> AsyncIterator[Reserve]:
    reserve = Reserve(tmp_path)
    yield reserve
    await reserve.spare.stop()


async def test_it_is_handed_over_once(reserve: Reserve) -> None:
    config = await reserve.ready()
    worker = reserve.spare.take(config)
    assert worker is not None
    assert worker.pid
    assert reserve.spare.take(config) is None
    worker.kill("the test is over")
    await worker.gone()


async def test_there_is_none_before_its_time_and_none_where_nothing_is_reloaded(reserve: Reserve) -> None:
    reserve.spare.want(reserve.config)
    reserve.clock.advance(AFTER_MS - 1)
    assert reserve.spare._worker is None
    reserve.spare.want(msgspec.structs.replace(reserve.config, reload=False))
    reserve.clock.advance(AFTER_MS)
    assert reserve.spare._worker is None


async def test_one_that_has_another_interpreter_is_not_taken_and_is_replaced(reserve: Reserve, tmp_path: Path) -> None:
    config = await reserve.ready()
    # A link would be an interpreter without our packages, and its worker might end before it is looked at.
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    other.chmod(0o755)
    assert reserve.spare.take(msgspec.structs.replace(config, python=other)) is None
    changed = await reserve.ready(python=other)
    await until(lambda: len(reserve.ended) == 1)
    worker = reserve.spare.take(changed)
    assert worker is not None
    worker.kill("the test is over")
    await worker.gone()


async def test_one_that_ends_is_not_there_any_more(reserve: Reserve) -> None:
    config = await reserve.ready()
    assert reserve.spare._worker is not None
    reserve.spare._worker.kill("somebody killed it")
    await until(lambda: reserve.ended)
    assert reserve.spare.take(config) is None


async def test_an_interpreter_that_cannot_be_started_is_no_matter(reserve: Reserve, tmp_path: Path) -> None:
    reserve.spare.want(msgspec.structs.replace(reserve.config, python=tmp_path / "nowhere"))
    reserve.clock.advance(AFTER_MS)
    await until(lambda: reserve.spare._worker is None)
    await asyncio.sleep(0)


async def test_none_is_left_when_it_is_stopped(reserve: Reserve) -> None:
    await reserve.ready()
    await reserve.spare.stop()
    assert len(reserve.ended) == 1
