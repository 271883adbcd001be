"""A disk that falls behind makes workers wait to be heard, until it has caught up."""

from __future__ import annotations

import pytest

from wfd.engine import unwritten
from wfd.engine.unwritten import Unwritten
from wfd.runtime.pressure import Pressure
from wfd.testing import WorkflowEnvironment


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


async def test_what_is_left_until_enough_is_under_way_counts_decisions_not_yet_submitted_and_steps_nothing_is_heard_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unwritten, "ENOUGH", 3)
    async with WorkflowEnvironment([]) as env:
        engine = env.engine
        assert engine.left() == 3
        engine.commit(engine.batch())
        assert engine.left() == 2
        eased: list[int] = []
        engine.eased = lambda: eased.append(engine.left())
        engine._commits.unwritten.begin(3)
        assert engine.left() == -1
        engine._commits.unwritten.end(3)
        await engine.committed(engine.batch())
        assert (engine.left(), eased) == (3, [3])
        monkeypatch.setattr(engine.workers, "silent", lambda: 2)
        assert engine.left() == 1
        monkeypatch.setattr(unwritten, "ENOUGH", unwritten.ENOUGH_SILENT + 3)
        monkeypatch.setattr(engine.workers, "silent", lambda: 10_000)
        assert engine.left() == 3, "handlers that say nothing for long leave room"
