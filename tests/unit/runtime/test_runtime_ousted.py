"""A lock that was taken away ends the daemon, once, and only when looks agree."""

from __future__ import annotations

from pathlib import Path

from wfd.runtime.clock import ManualClock
from wfd.runtime.lock import StateLock
from wfd.runtime.ousted import LOOK_MS, LOOKS, Ousted


async def test_it_takes_looks_in_a_row_and_ends_once(tmp_path: Path) -> None:
    lock, clock, stopped = StateLock(tmp_path / "lock"), ManualClock(), []
    lock.acquire(tmp_path / "wfd.sock")
    ousted = Ousted(lock, clock, lambda: stopped.append(True))
    await ousted.start()

    async def look() -> None:
        clock.advance(LOOK_MS)
        assert ousted._task is not None
        await ousted._task

    for _ in range(LOOKS):
        lock.path.rename(tmp_path / "away")
        for _ in range(LOOKS - 1):
            await look()
        (tmp_path / "away").rename(lock.path)
        await look()
    assert stopped == []
    lock.path.unlink()
    for _ in range(LOOKS + 2):
        await look()
    assert stopped == [True]
    await ousted.stop()
    lock.release()
