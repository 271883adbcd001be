from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import wfctl.cli
from support.project import SAMPLES, WFCTL


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert list(tmp_path.iterdir()) == [], "the demo left something behind"
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in listing, "the demo left a process behind"


def test_the_demo_tells_its_commands_shows_the_payment_and_leaves_nothing(surroundings: Path) -> None:
    done = subprocess.run([*WFCTL, "demo"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    for command in ("up", "start Order --id order-1", "tree -f order-1", "history order-1", "result order-1"):
        assert f"$ wfctl {command}" in done.stdout
    assert "wfctl send order-1 start_payment" in done.stdout
    assert "order-1/payment-1" in done.stdout
    assert "txn-" in done.stdout


def test_the_demo_in_json_is_one_document(surroundings: Path) -> None:
    done = subprocess.run([*WFCTL, "demo", "-o", "json"], capture_output=True, text=True, timeout=60)
    document = json.loads(done.stdout)
    assert document["schema"] == "wfctl.demo/1"
    assert document["result"].startswith("txn-")


def test_a_demo_that_is_interrupted_cleans_up_too(surroundings: Path) -> None:
    child = subprocess.Popen(
        [*WFCTL, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("$ wfctl tree"):
            break
    import os

    os.killpg(child.pid, signal.SIGINT)
    child.communicate(timeout=30)
    assert child.returncode == 130


def test_the_demo_plays_the_sample() -> None:
    folder = Path(wfctl.cli.__file__).parent / "demo"
    for name in ("orders.py", "wfctl.toml"):
        assert (folder / name).read_bytes() == (SAMPLES / "orders" / name).read_bytes()
