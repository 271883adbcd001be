"""The first-time user, who has the manual page: what it says to type, from `init` to a cured run, does what it says."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.manpages import FOLDER, Page, plain
from support.project import Project

SECTION = "FROM INIT TO A CURED RUN"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path, {})
    (tmp_path / "wfctl.toml").unlink()
    yield project
    project.stop()


def typed() -> list[str]:
    """The commands of the page, in their order."""
    lines = [plain(line) for line in Page(FOLDER / "wfctl.1").section(SECTION)]
    return [line[2:] for line in lines if line.startswith("$ ")]


def test_what_the_manual_says_leads_from_init_to_a_cured_run(project: Project) -> None:
    said: dict[str, list[str]] = {}
    for command in typed():
        if command == "wfctl tree order-1" and "wfctl tree" not in said:
            project.ok("wait", "order-1", "--for", "waiting")  # a person is not as fast
        words = command.split()
        if words[0] == "wfctl":
            done = project.run(*words[1:])
        else:
            done = subprocess.run(
                command, shell=True, cwd=project.folder, capture_output=True, text=True, timeout=60, check=False
            )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        said.setdefault(" ".join(words[:2]), []).append(done.stdout + done.stderr)
    (began,), (reloaded,), (listed,) = said["wfctl init"], said["wfctl reload"], said["wfctl list"]
    waits, stuck = said["wfctl tree"]
    before, after = said["wfctl show"]
    # Each says what to type next, and the page does.
    for command in (
        "wfctl up",
        "wfctl start Order --id order-1 order_id=1 amount=9.99",
        "wfctl send order-1 start_payment",
    ):
        assert f"  {command}\n" in began
        assert command in typed()
    assert "◌ wait any event" in waits
    assert "to go on: wfctl send order-1 start_payment" in before
    assert "Order" in reloaded
    for text in (listed, stuck, after):
        assert (
            "workflow type 'Order' has no event handler 'payment_completed' any more: put it back in orders.py" in text
        )
    assert "to go on: correct the code and save it; the run then goes on by itself" in after
    assert "correct the code and save it" in said["wfctl explain"][0]
    assert said["wfctl result"][0].startswith("txn-")
    (history,) = said["wfctl history"]
    assert history.index("run.stuck") < history.index("run.resumed") < history.index("run.completed")
    assert history.count("child.started") == 1
