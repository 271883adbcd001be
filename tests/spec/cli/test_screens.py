"""The pictures in the README show what the program prints."""

from __future__ import annotations

import re
from pathlib import Path

from support.screens import COMMANDS, SCREENS, capture, stale
from support.source import ROOT


def test_the_screens_are_what_the_program_prints(tmp_path: Path) -> None:
    old = [screen.name for screen in capture(tmp_path / "shop") if stale(screen)]
    assert not old, f"man/screens shows something else for {', '.join(old)}: make screens"


def test_every_screen_is_one_that_is_made_and_the_readme_shows_it() -> None:
    assert {file.stem for file in SCREENS.iterdir()} == COMMANDS.keys()
    shown = re.findall(r"!\[[^\]]+\]\((\S+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert {f"man/screens/{name}.svg" for name in COMMANDS} <= set(shown)
    assert all((ROOT / path).is_file() for path in shown)
