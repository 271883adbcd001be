from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from support.project import WFCTL
from wfctl.cli.commands import demo


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert list(tmp_path.iterdir()) == [], "the demo left something behind"
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in listing, "the demo left a process behind"


def test_the_demo_shows_a_live_tree_a_failure_and_a_retry_and_leaves_nothing(surroundings: Path) -> None:
    child = pexpect.spawn(
        WFCTL[0], [*WFCTL[1:], "demo"], encoding="utf-8", timeout=60, dimensions=(14, 100),
        env={**os.environ, "TERM": "xterm-256color"},
    )  # fmt: skip
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0, child.before
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", child.before).replace("\r\n", "\n")
    assert shown.strip().startswith("A throw-away project: its files and its data are deleted at the end.")
    told = re.findall(r"^\$ wfctl (\w+)", shown, re.MULTILINE)
    assert told == ["up", "start", "tree", "tail", "show", "retry", "tree", "result"]
    # The tree is live: what it said first is in it before what it says last.
    first, last = shown.split("$ wfctl tree -f order-1")[1:]
    assert first.index("◌ wait event pay ") < first.index("✓ wait event pay ") < first.index("✗ ship")
    assert "task.attempt_failed" in first
    assert re.search(r"^error +ValueError", first, re.MULTILINE)
    assert re.search(r"✓ ship .*2 attempts", last)
    assert last.split("$ wfctl result order-1")[1].strip().startswith("txn-42, shipped to Lee, Ann")


def test_the_demo_in_json_is_one_document(surroundings: Path) -> None:
    done = subprocess.run([*WFCTL, "demo", "-o", "json"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["schema"] == "wfctl.demo/1"
    assert document["result"] == "txn-42, shipped to Lee, Ann"
    assert "wfctl send order-1 pay" in document["commands"]


@pytest.mark.parametrize(
    ("at", "number", "status", "told"),
    [
        ("$ wfctl tree", signal.SIGINT, 130, "the demo ends here: its daemon is stopped, its folder is gone\n"),
        ("order-1 -> waiting", signal.SIGINT, 130, "the demo ends here: its daemon is stopped, its folder is gone\n"),
        ("$ wfctl up", signal.SIGHUP, 143, ""),
    ],
)
def test_a_demo_that_is_ended_early_cleans_up_too(
    surroundings: Path, at: str, number: signal.Signals, status: int, told: str
) -> None:
    """By Ctrl-C and by a terminal that is closed: both reach the command that runs as well."""
    child = subprocess.Popen(
        [*WFCTL, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if at in line:
            break
    os.killpg(child.pid, number)
    _, said = child.communicate(timeout=30)
    assert child.returncode == status
    assert "goes on" not in said
    assert said.endswith(told)


def test_it_says_how_a_shell_that_does_not_find_this_wfctl_does(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts = Path(sys.executable).parent
    monkeypatch.setenv("PATH", "/nowhere")
    assert demo._own() == f'export PATH="{scripts}:$PATH" && wfctl init shop && cd shop && wfctl up'
    monkeypatch.setenv("PATH", str(scripts))
    assert demo._own() == "wfctl init shop && cd shop && wfctl up"
