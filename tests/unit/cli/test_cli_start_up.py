from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from support.fake_daemon import FakeDaemon
from wfctl.protocol.calls import RunPage

BUDGET = 1.4
ROUNDS = 12


def took(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, timeout=30)
    return time.perf_counter() - began


def test_a_command_that_draws_nothing_costs_little_more_than_importing_typer(
    daemon: Callable[..., FakeDaemon], project: Path
) -> None:
    """The best of several, taken in turns: other work on the machine only ever adds."""
    daemon(list=RunPage(items=[], next=None, total=0))
    typer, command = float("inf"), float("inf")
    for _ in range(ROUNDS):
        typer = min(typer, took("-c", "import typer"))
        command = min(command, took("-m", "wfctl.cli.main", "list", "-o", "id"))
    assert command <= BUDGET * typer, f"{command * 1_000:.0f} ms, and {typer * 1_000:.0f} ms for typer alone"
