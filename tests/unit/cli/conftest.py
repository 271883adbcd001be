"""A project in a temporary folder, a fake daemon for it, and the command line to talk to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.cli import Cli
from support.fake_daemon import FakeDaemon

Start = Callable[..., FakeDaemon]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "wfctl.toml").write_text("[workflows]\nmodules = []\n")
    (tmp_path / ".wfctl").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("WFCTL_PROJECT", "WFCTL_OUTPUT", "WFCTL_DEBUG", "NO_COLOR", "FORCE_COLOR", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("WFCTL_SOCKET", str(tmp_path / "d.sock"))
    return tmp_path


@pytest.fixture
def cli(project: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    return Cli(monkeypatch)


@pytest.fixture
def daemon(project: Path) -> Iterator[Start]:
    """Start a fake daemon: `daemon(list=page, get=error)`."""
    with ExitStack() as stack:

        def start(**answers: Any) -> FakeDaemon:
            return stack.enter_context(FakeDaemon(project / "d.sock", answers))

        yield start
