"""A disk that falls behind makes workers wait to be heard, until it has caught up."""

from __future__ import annotations

import pytest

from wfd.engine import unwritten
from wfd.engine.unwritten import Unwritten
from wfd.runtime.pressure import Pressure


def test_workers_are_not_heard_while_too_much_is_on_its_way_to_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unwritten, "MOST_UNWRITTEN", 4)
    heard: list[bool] = []
    pressure = Pressure()
    units = Unwritten(heard.append, pressure)
    units.begin(3)
    assert (heard, units.too_many(0), units.too_many(1), pressure.lines()) == ([], False, True, [])
    units.begin(2)
    assert (heard, units.too_many(0)) == ([False], True)
    assert "workers are not heard until it has caught up (1 waiting)" in pressure.lines()[0]
    units.end(2)
    assert heard == [False]
    units.end(1)
    assert (heard, units.count, pressure.lines()) == ([False, True], 2, [])
