"""What is watched, and which changes matter."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from wfd.reload import watcher
from wfd.reload.watcher import Target, Watcher, leads


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("flows/deep", ".venv/lib", "env/lib", "__pycache__", "node_modules/x", ".git/refs", "state"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    return tmp_path


def watched(project: Path, *files: str) -> set[str]:
    target = Target.of(project / "wfctl.toml", [project], [str(project / file) for file in files])
    return {os.path.relpath(folder, project) for folder in target.watched(project / "state")}


def test_folders_that_hold_no_code_of_the_project_are_not_watched(project: Path) -> None:
    assert watched(project) == {".", "flows", "flows/deep"}


def test_the_folder_of_a_file_that_was_loaded_is_watched_wherever_it_is(project: Path) -> None:
    assert watched(project, ".venv/lib/odd.py") == {".", "flows", "flows/deep", ".venv/lib"}


def test_more_folders_than_can_be_watched_are_cut_off(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "MOST_FOLDERS", 1)
    assert len(watched(project)) == 2


@pytest.mark.parametrize(
    ("path", "matters"),
    [
        ("wfctl.toml", True),
        ("flows/new.py", True),
        ("flows/orders.py", True),
        ("flows", True),
        ("flows/deep", False),
        ("other.toml", False),
        ("flows/.orders.py.swp", False),
        ("flows/.#orders.py", False),
        ("flows/#orders.py#", False),
        ("flows/4913", False),
        ("flows/orders.py~", False),
    ],
)
def test_a_change_matters_where_it_may_change_the_code(project: Path, path: str, matters: bool) -> None:
    target = Target.of(project / "wfctl.toml", [project], [str(project / "flows" / "orders.py")])
    assert target.matters(str(project / path)) is matters


def test_a_file_leads_over_each_of_its_links_to_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "releases" / "2").mkdir(parents=True)
    (tmp_path / "releases" / "2" / "a.py").touch()
    (tmp_path / "current").symlink_to("releases/2")
    (tmp_path / "a.py").symlink_to(tmp_path / "current" / "a.py")
    assert [os.path.relpath(path, tmp_path) for path in leads(str(tmp_path / "a.py"))] == [
        "a.py", "a.py", "current", "releases/2/a.py",
    ]  # fmt: skip


def test_links_in_a_circle_lead_nowhere_and_end(tmp_path: Path) -> None:
    (tmp_path / "a.py").symlink_to("b.py")
    (tmp_path / "b.py").symlink_to("a.py")
    assert str(tmp_path / "b.py") in leads(str(tmp_path / "a.py"))


async def test_files_are_looked_at_where_the_system_has_no_more_watches(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, polls = watcher.awatch, asyncio.Event()

    async def refusing(*folders: Any, force_polling: bool | None = None, **options: Any) -> AsyncIterator[Any]:
        if not force_polling:
            raise OSError(28, "OS file watch limit reached")
        polls.set()
        async for changes in real(*folders, force_polling=True, **{**options, "poll_delay_ms": 20}):
            yield changes

    monkeypatch.setattr(watcher, "awatch", refusing)
    monkeypatch.setattr(watcher, "SETTLED_S", 600)  # nothing is found by looking
    changed = asyncio.Event()
    watching = Watcher(project / "state", changed.set)
    watching.aim(Target.of(project / "wfctl.toml", [project], []))
    await watching.start()
    try:
        await asyncio.wait_for(polls.wait(), 30)
        for number in range(1_000):
            (project / "flows" / f"new{number}.py").touch()
            try:
                await asyncio.wait_for(changed.wait(), 0.1)
                break
            except TimeoutError:
                continue
        assert changed.is_set()
    finally:
        await watching.stop()
    assert [record.levelname for record in caplog.records].count("WARNING") == 1


@pytest.mark.parametrize("when", ["before", "while"])
async def test_a_link_that_is_swapped_while_what_it_leads_to_is_loaded_is_found_by_looking(
    project: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    began = asyncio.Event()

    async def blind(*folders: Any, stop_event: asyncio.Event, **options: Any) -> AsyncIterator[Any]:
        began.set()
        await stop_event.wait()
        for nothing in ():
            yield nothing

    def swap() -> None:
        (project / "next").symlink_to("flows/deep")
        os.replace(project / "next", project / "current")

    monkeypatch.setattr(watcher, "awatch", blind)
    monkeypatch.setattr(watcher, "SETTLED_S", 0)
    monkeypatch.setattr(watcher, "COARSE_NS", 0)
    (project / "flows" / "deep" / "a.py").touch()
    changed = asyncio.Event()
    watching = Watcher(project / "state", changed.set)
    if when == "before":
        swap()
        now = (project / "current").lstat().st_ctime_ns
        monkeypatch.setattr(watcher.time, "time_ns", lambda: now + 1)
        watching.loading()
    else:
        watching.loading()
        swap()
        monkeypatch.setattr(watching, "_since_ns", (project / "current").lstat().st_ctime_ns)
    watching.aim(Target.of(project / "wfctl.toml", [project], [str(project / "current" / "a.py")]))
    await watching.start()
    await asyncio.wait_for(began.wait(), 30)
    for _ in range(10):
        await asyncio.sleep(0)
    await watching.stop()
    assert changed.is_set() is (when == "while")


def test_a_file_that_was_written_again_looks_other_though_its_time_and_size_are_as_before(project: Path) -> None:
    file = project / "flows" / "kept.py"
    file.write_text("a = 1\n")
    target = Target.of(project / "wfctl.toml", [project], [str(file)])
    before, stat = target.looks([]), file.stat()
    while file.stat().st_ctime_ns == stat.st_ctime_ns:  # the file system's clock is coarse
        file.write_text("a = 2\n")
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_mtime_ns == stat.st_mtime_ns
    assert target.looks([]) != before
