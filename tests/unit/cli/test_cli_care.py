"""What ends the process that looks after a project's state is told as what it was."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.cli import Cli


@pytest.mark.parametrize(
    ("ends", "told"),
    [
        ("kill -9 $$", "error[internal]: backup was ended by signal 9\n  hint: it can be typed again\n"),
        ("exit 143", "error[internal]: backup was ended by signal 15\n  hint: it can be typed again\n"),
        ("echo lost >&2; exit 3", "error[internal]: wfd.care backup exited with 3\n  lost\n"),
    ],
)
def test_a_process_that_was_ended_by_a_signal_is_told_as_that(
    cli: Cli, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, told: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{ends}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    said = cli("backup", str(tmp_path / "a.backup"))
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith(told)
