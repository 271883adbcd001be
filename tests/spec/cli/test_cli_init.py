"""`wfctl init`: what it writes runs as it says, and what was there before is there afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.project import WFCTL
from wfctl.cli.commands.init import TEMPLATES

Run = Callable[..., subprocess.CompletedProcess[str]]
RESULTS = {"hello": "Hello, you!\n", "orders": "txn-", "approval": "a new chair: approved by ann\n"}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """A shell line or the words of a wfctl command, typed in the temporary folder (or in one below it)."""
    scripts = Path(sys.executable).parent
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WFCTL_")}
    environment |= {
        "NO_COLOR": "1",
        "WFCTL_SOCKET": str(tmp_path / "d.sock"),
        "PATH": f"{scripts}{os.pathsep}{environment['PATH']}",
    }

    def typed(*words: str, line: str = "", cwd: str = ".") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-ec", line] if line else [*WFCTL, *words],
            cwd=tmp_path / cwd, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    yield typed
    for config in tmp_path.rglob("wfctl.toml"):
        typed("down", "--timeout", "1s", "--project", str(config))


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_it_says_to_type_next_runs(run: Run, tmp_path: Path, template: str) -> None:
    done = run("init", "my shop", "--template", template)
    assert done.returncode == 0
    module = TEMPLATES[template].module
    assert done.stdout == f"my shop/{module}\nmy shop/wfctl.toml\n"
    heading, *commands = done.stderr.splitlines()
    assert heading.endswith("next, type:")
    assert commands[:2] == ["  cd 'my shop'", "  wfctl up"]
    typed = run(line="\n".join(commands))
    assert typed.returncode == 0, typed.stderr
    assert RESULTS[template] in typed.stdout
    assert "warning" not in typed.stderr


def test_the_project_of_the_working_directory_needs_no_cd(run: Run, tmp_path: Path) -> None:
    document = json.loads(run("init", "-o", "json").stdout)
    assert document == {
        "schema": "wfctl.init/1",
        "project": str(tmp_path),
        "created": [str(tmp_path / "hello.py"), str(tmp_path / "wfctl.toml")],
        "already_there": False,
        "next": ["wfctl up", "wfctl start Hello name=you --wait"],
    }


def test_a_second_time_it_changes_nothing_and_says_so(run: Run, tmp_path: Path) -> None:
    assert run("init").returncode == 0
    (tmp_path / "hello.py").write_text("mine now\n")
    again = run("init", "--template", "orders")
    assert (again.returncode, again.stdout) == (0, "")
    assert again.stderr == f"{tmp_path} is a project already: it has a wfctl.toml; nothing was written\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hello.py", "wfctl.toml"]
    assert (tmp_path / "hello.py").read_text() == "mine now\n"


def test_what_was_cut_short_is_finished(run: Run, tmp_path: Path) -> None:
    run("init")
    (tmp_path / "wfctl.toml").unlink()
    assert run("init").stdout == "wfctl.toml\n"


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_file_of_that_name_is_never_written_over(run: Run, tmp_path: Path, kind: str) -> None:
    there = tmp_path / "orders.py"
    if kind == "file":
        there.write_text("mine\n")
    elif kind == "folder":
        there.mkdir()
    else:
        there.symlink_to("nowhere.py")
    done = run("init", "--template", "orders")
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith(f"error[conflict]: {there} is a")
    assert [path.name for path in tmp_path.iterdir()] == ["orders.py"]


def test_a_folder_that_cannot_be_one_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    done = run("init", "notes.txt/shop")
    assert done.returncode == 5
    assert "notes.txt" in done.stderr
    two = run("init", "a", "--project", "b")
    assert two.returncode == 2
    assert run("init", "--project", "b").stdout == "b/hello.py\nb/wfctl.toml\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_denied(run: Run, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = run("init")
    tmp_path.chmod(0o700)
    assert done.returncode == 7


def test_a_template_that_is_none_names_the_nearest(run: Run, tmp_path: Path) -> None:
    done = run("init", "shop", "--template", "order")
    assert done.returncode == 2
    assert "'order' is no template (--template); did you mean 'orders'?" in done.stderr
    assert not (tmp_path / "shop").exists()
