"""A real database file for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.rows import Ledger
from wfd.store.store import Store, open_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wfctl.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    store = await open_store(path)
    yield store
    await store.stop()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()
