"""What ends the process that looks after a project's state is told as what it was."""

from __future__ import annotations

import json
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


def test_a_backup_is_refused_for_stdout_and_no_file_is_made(cli: Cli, project: Path) -> None:
    before = sorted(project.iterdir())
    said = cli("backup", "-", "--force")
    told = "error[usage]: a backup is a database file and cannot be written to stdout\n  try: wfctl backup FILE\n"
    assert (said.code, said.out, said.err) == (2, "", told)
    assert sorted(project.iterdir()) == before


RESTORED = """#!/bin/sh
trap 'echo "{\\"answer\\":$ANSWER}"; exit 0' TERM
echo '{"progress":{"copied":1,"total":2}}'
sleep 20 >/dev/null 2>&1 &
wait $!
exit 143
"""


@pytest.mark.parametrize("finished", [True, False])
def test_an_interrupt_that_comes_too_late_to_stop_a_restore_is_no_failure(
    cli: Cli, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    """What could not be stopped is told as done, with 0; what was stopped ends with 130."""
    python = tmp_path / "python"
    python.write_text(RESTORED if finished else RESTORED.replace('echo "', ': "'))
    python.chmod(0o755)
    answer = {"path": "a.backup", "database": "wfctl.db", "runs": 3, "rev": 9, "database_schema": 6, "kept": None}
    monkeypatch.setenv("ANSWER", json.dumps(answer))
    monkeypatch.setattr(sys, "executable", str(python))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wfctl.cli.care.Progress.__call__", interrupted)
    if finished:
        said = cli("restore", "a.backup")
        assert (said.code, said.err.splitlines()[0]) == (0, "restored 3 runs from a.backup")
    else:
        with pytest.raises(KeyboardInterrupt):
            cli("restore", "a.backup")
