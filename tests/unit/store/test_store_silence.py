"""A writer that answers nothing, and has not failed either: that is said, and that it is over."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.rows import Ledger, commit
from wfd.runtime.clock import ManualClock
from wfd.store.silence import LOOK_MS, SILENT_MS, Silence
from wfd.store.store import Store, open_store


@pytest.fixture
async def apart(path: Path) -> AsyncIterator[Store]:
    store = await open_store(path, held=tuple)
    yield store
    await store.stop()


async def looked(silence: Silence, clock: ManualClock, times: int) -> None:
    for _ in range(times):
        clock.advance(LOOK_MS)
        assert silence._task is not None
        await silence._task


async def test_a_process_that_is_stopped_is_told_of_and_when_it_goes_on(
    apart: Store, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    clock, pid = ManualClock(), apart.writer.pid
    assert pid is not None
    silence = Silence(apart, clock)
    await silence.start()
    await commit(apart.writer, ledger.start("o-1"))
    await looked(silence, clock, 20)
    assert apart.writer.silent == ""  # nothing is asked for
    os.kill(pid, signal.SIGSTOP)
    try:
        waits = asyncio.ensure_future(commit(apart.writer, ledger.start("o-2")))
        await asyncio.sleep(0)
        await looked(silence, clock, SILENT_MS // LOOK_MS - 1)
        assert apart.writer.silent == ""
        await looked(silence, clock, 7)
        assert apart.writer.silent.startswith("the database has not been written for 11.0s: ")
        assert f"process {pid}, which writes it, is stopped" in apart.writer.silent
    finally:
        os.kill(pid, signal.SIGCONT)
    await waits
    await looked(silence, clock, 1)
    assert apart.writer.silent == ""
    told = [record.getMessage() for record in caplog.records if record.name == "wfd.store"]
    assert [one.split(":")[0] for one in told] == [
        "the database has not been written for 5.0s",
        "the database is written again, after 11.0s",
    ]
    await silence.stop()


@pytest.mark.parametrize("how", ["moved", "deleted"])
async def test_a_database_that_is_taken_away_from_under_the_daemon_is_told_of_once(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    clock = ManualClock()
    silence = Silence(store, clock)
    await silence.start()
    await looked(silence, clock, 1)
    assert (store.displaced, caplog.records) == ("", [])
    if how == "moved":
        path.rename(path.with_name("elsewhere"))
    else:
        path.unlink()
    await looked(silence, clock, 3)
    assert f"the database is not at {path} any more" in store.displaced
    assert f"it was {how}: " in store.displaced
    assert [record.getMessage() for record in caplog.records] == [store.displaced]
    await silence.stop()
