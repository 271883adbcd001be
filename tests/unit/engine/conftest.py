"""The read side over a real database that holds what a test commits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.rows import T0, Ledger
from wfd.engine.reads import Reads
from wfd.runtime.clock import ManualClock
from wfd.store.store import Store, open_store


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store(tmp_path / "wfctl.db")
    yield store
    await store.stop()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def reads(store: Store) -> Reads:
    return Reads(store.reader, ManualClock(T0 + 60_000))
