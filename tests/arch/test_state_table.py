"""The state diagram in the manual is the one the code has."""

from __future__ import annotations

from pathlib import Path

from support.statetable import printed

PAGE = Path(__file__).parents[2] / "man" / "wfctl-workflows.7"


def test_the_manual_shows_the_state_diagram_of_the_code() -> None:
    shown = PAGE.read_text().split(".Bd -literal -offset 0\n", 1)[1].split(".Ed", 1)[0]
    assert shown.rstrip("\n") == printed(), "run: PYTHONPATH=tests python -m support.statetable"
