from __future__ import annotations

from wfctl.values.kinds import RECORDS
from wfd.core.records import KINDS
from wfd.engine import changes


def test_the_kinds_that_can_be_asked_for_are_those_that_are_recorded() -> None:
    assert set(RECORDS) == set(KINDS)
    assert set(changes.KINDS) <= set(RECORDS)
