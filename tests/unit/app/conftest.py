"""A project of one module whose daemons are ended with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.wfd_process import Wfd


@pytest.fixture
def wfd(tmp_path: Path) -> Iterator[Wfd]:
    wfd = Wfd(tmp_path / "shop")
    yield wfd
    wfd.end()
