"""The state folder or the whole project removed from under a daemon: it ends by itself, and the next one is alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.shop import hooks
from support.project import Project, alive
from support.waiting import wait_until

FLOWS = """
from datetime import timedelta
from pathlib import Path
from wfctl import Context, Directive, Workflow, task

ticker = Workflow("Ticker")

@task
async def effect(into: str) -> None:
    with open(into, "a") as file:
        file.write("x")

@ticker.start()
async def begin(ctx: Context, into: str) -> Directive:
    await effect(into)
    return ctx.next.step(tick)

@ticker.step()
async def tick(ctx: Context) -> Directive:
    into = str(Path(ctx.run.workflow_id + ".effects").absolute())
    await effect(into)
    return ctx.next.step(tick, after=timedelta(milliseconds=50))
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = _project(tmp_path / "shop")
    project.serve()
    yield project
    project.stop()


def _project(folder: Path) -> Project:
    project = Project(folder, {"flows.py": FLOWS})
    project.environment |= hooks("wfd.runtime.ousted:LOOK_MS=100 wfd.server.reachable:LOOK_MS=100")
    return project


def _ended(project: Project) -> None:
    assert project.daemon is not None
    assert project.daemon.wait(timeout=20) == 0


@pytest.mark.parametrize("how", ["the state folder", "the project", "the state folder, moved"])
def test_a_daemon_whose_lock_is_taken_away_stops_with_its_workers(project: Project, tmp_path: Path, how: str) -> None:
    effects = tmp_path / "effects"
    project.ok("start", "Ticker", "--id", "t", f"into={effects}")
    wait_until(effects.exists)
    workers = project.workers()
    state = project.database.parent
    if how == "the project":
        shutil.rmtree(project.folder)
    elif how == "the state folder":
        shutil.rmtree(state)
    else:
        state.rename(tmp_path / "elsewhere")
    _ended(project)
    wait_until(lambda: not any(map(alive, workers)))
    project.folder.mkdir(exist_ok=True)
    if how == "the state folder, moved":
        assert "the lock is not at" in (tmp_path / "elsewhere" / "wfd.log").read_text()


def test_one_whose_socket_is_taken_away_listens_there_again(project: Project) -> None:
    pid = project.pid()
    project.socket.unlink()
    wait_until(project.socket.exists)
    assert project.pid() == pid
    assert "was removed; the daemon listens there again" in project.ok("logs")


def test_one_that_was_started_beside_it_meanwhile_stays_and_keeps_its_socket(project: Project) -> None:
    old = project.pid()
    shutil.rmtree(project.database.parent)
    project.socket.unlink()
    project.up()
    _ended(project)
    assert project.pid() != old
    project.ok("start", "Ticker", "--id", "t", "into=/dev/null")
    wait_until((project.folder / "t.effects").exists)
    assert project.run("down").returncode == 0


def test_a_daemon_whose_database_alone_is_gone_keeps_the_lock_and_is_still_there_to_be_asked(project: Project) -> None:
    project.database.unlink()
    wait_until(lambda: "the database is not at" in project.ok("status"))
    assert project.daemon is not None
    assert project.daemon.pid == project.pid()
