"""One project with the sample's orders, its daemon up, for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.project import SAMPLES, Project


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("shop"), {"orders.py": (SAMPLES / "orders" / "orders.py").read_text()})
    project.up()
    yield project
    project.stop()
