"""`wfctl backup` and `wfctl restore`, typed: a project goes back to where it was, and what it was is kept."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.project import SAMPLES, WFCTL, Project
from support.waiting import wait_until

ORDERS = (SAMPLES / "orders" / "orders.py").read_text()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path / "shop", {"orders.py": ORDERS})
    yield project
    project.stop()


def start(shop: Project, id: str) -> None:
    shop.ok("start", "Order", "--id", id, "order_id=1", "amount=1")


def ids(shop: Project) -> set[str]:
    return {item["workflow_id"] for item in shop.json("list")["items"]}


def test_a_project_goes_back_to_a_backup_and_its_runs_go_on(shop: Project) -> None:
    shop.serve()
    start(shop, "order-1")
    shop.ok("wait", "order-1", "--for", "waiting")
    done = shop.run("backup", "monday.db")
    file = shop.folder / "monday.db"
    assert (done.returncode, done.stdout) == (0, f"{file}\n")
    assert "1 run, " in done.stderr
    assert done.stderr.endswith("to go back to it: wfctl down && wfctl restore monday.db\n")
    start(shop, "order-2")
    refused = shop.run("restore", "monday.db")
    assert refused.returncode == 5
    assert refused.stderr.endswith("  try: wfctl down\n")
    shop.ok("down")
    back = shop.json("restore", "monday.db")
    assert (back["schema"], back["runs"], back["database"]) == ("wfctl.restore/1", 1, str(shop.database))
    assert back["newest_at"].endswith("Z")
    shop.serve()
    assert ids(shop) == {"order-1"}
    shop.ok("send", "order-1", "start_payment")
    assert shop.ok("result", "order-1").startswith("txn-")
    shop.ok("down")
    # What it was before is a database like any other, and can be gone back to.
    said = shop.run("restore", back["kept"])
    assert said.returncode == 0
    assert "the former database is kept: " in said.stderr
    shop.serve()
    assert ids(shop) == {"order-1", "order-2"}


def test_a_backup_needs_no_daemon_and_makes_no_database(shop: Project) -> None:
    none = shop.run("backup", "early.db")
    assert none.returncode == 4
    assert not shop.database.parent.exists() or not shop.database.exists()
    shop.serve()
    start(shop, "order-1")
    shop.kill()
    killed = shop.json("backup", "killed.db")
    assert (killed["online"], killed["runs"]) == (False, 1)
    shop.serve()
    assert shop.json("backup", "up.db")["online"] is True
    shop.ok("down")
    shop.ok("backup", "down.db")
    assert sorted(path.name for path in shop.folder.glob("*.db")) == ["down.db", "killed.db", "up.db"]


def test_a_backup_is_not_written_over_without_force(shop: Project) -> None:
    shop.serve()
    (shop.folder / "mine.db").write_text("mine")
    for _ in ("up", "down"):
        done = shop.run("backup", "mine.db")
        assert (done.returncode, done.stdout) == (5, "")
        assert "add --force" in done.stderr
        assert (shop.folder / "mine.db").read_text() == "mine"
        shop.ok("down")
    assert shop.json("backup", "mine.db", "--force")["replaced"] is True


def test_a_backup_does_not_replace_the_database_of_a_daemon_that_runs(shop: Project, tmp_path: Path) -> None:
    other = Project(tmp_path / "other", {"orders.py": ORDERS})
    try:
        other.serve()
        start(other, "theirs")
        shop.serve()
        for _ in ("up", "down"):
            done = shop.run("backup", "--force", str(other.database))
            assert (done.returncode, done.stdout) == (5, "")
            assert f"{other.database} is the database of a daemon that runs" in done.stderr
            shop.ok("down")
        other.kill()
        done = shop.run("backup", "--force", str(other.database))
        assert (done.returncode, done.stdout) == (5, "")
        assert f"{other.database}-wal is there" in done.stderr
        other.serve()
        assert ids(other) == {"theirs"}
    finally:
        other.stop()


@pytest.mark.parametrize("content", ["no database at all, and long enough to be looked at" * 30, ""])
def test_what_is_no_backup_changes_nothing(shop: Project, content: str) -> None:
    shop.serve()
    start(shop, "order-1")
    shop.ok("down")
    (shop.folder / "bad.db").write_text(content)
    done = shop.run("restore", "bad.db")
    assert done.returncode == 8
    assert "nothing was changed" in done.stderr
    assert shop.run("restore", "nothing.db").returncode == 4
    assert [path.name for path in shop.database.parent.glob("wfctl.db*")] == ["wfctl.db"]
    shop.serve()
    assert ids(shop) == {"order-1"}


def test_a_new_folder_takes_a_backup_as_its_first_database(shop: Project, tmp_path: Path) -> None:
    shop.serve()
    start(shop, "order-1")
    shop.ok("backup", str(tmp_path / "move.db"))
    other = Project(tmp_path / "other", {"orders.py": ORDERS})
    try:
        done = other.run("restore", str(tmp_path / "move.db"))
        assert done.returncode == 0
        assert "there was no database before" in done.stderr
        other.serve()
        assert ids(other) == {"order-1"}
    finally:
        other.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_is_ended_leaves_no_half_of_a_backup(shop: Project, number: signal.Signals) -> None:
    shop.serve()
    start(shop, "order-1")
    shop.ok("down")
    with subprocess.Popen([*WFCTL, "backup", "b.db"], cwd=shop.folder, env=shop.environment) as command:
        wait_until(lambda: command.poll() is not None or _children(command.pid))
        command.send_signal(number)
        code = command.wait(30)
    assert code in (0, 128 + number)
    wait_until(lambda: not [path for path in shop.folder.iterdir() if path.name.endswith(".part")])


def _children(pid: int) -> list[str]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return listed.read_text().split() if listed.exists() else []
