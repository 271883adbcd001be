"""What is watched, and which changes matter."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from watchfiles import Change

from support.waiting import until
from wfd.reload import target as module, watcher
from wfd.reload.target import Folders, Target, leads
from wfd.reload.watcher import Watcher


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for folder in ("flows/deep", ".venv/lib", "env/lib", "__pycache__", "node_modules/x", ".git/refs", "state"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "env" / "pyvenv.cfg").touch()
    return tmp_path


def watched(project: Path, *files: str) -> set[str]:
    target = Target.of(project / "wfctl.toml", [project], [str(project / file) for file in files])
    return {os.path.relpath(folder, project) for folder in target.look(Folders(), project / "state").folders}


def test_folders_that_hold_no_code_of_the_project_are_not_watched(project: Path) -> None:
    assert watched(project) == {".", "flows", "flows/deep"}


def test_the_folder_of_a_file_that_was_loaded_is_watched_wherever_it_is(project: Path) -> None:
    assert watched(project, ".venv/lib/odd.py") == {".", "flows", "flows/deep", ".venv/lib"}


def test_more_folders_than_can_be_watched_are_cut_off(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FOLDERS", 1)
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
    watching = Watcher(project / "state", lambda _: changed.set())
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
    watching = Watcher(project / "state", lambda _: changed.set())
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
    assert watching._settling is not None
    await watching._settling
    await watching.stop()
    assert changed.is_set() is (when == "while")


def test_a_file_that_was_written_again_looks_other_though_its_time_and_size_are_as_before(project: Path) -> None:
    file = project / "flows" / "kept.py"
    file.write_text("a = 1\n")
    target = Target.of(project / "wfctl.toml", [project], [str(file)])
    before, stat = target.look(Folders(), project), file.stat()
    while file.stat().st_ctime_ns == stat.st_ctime_ns:  # the file system's clock is coarse
        file.write_text("a = 2\n")
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert file.stat().st_mtime_ns == stat.st_mtime_ns
    assert target.look(Folders(), project).files != before.files


# -- folders that come and go ------------------------------------------------------------------


class System:
    """Tells of changes in the system's place. `watched` are the folders it was asked to watch last, `times` how often it was."""

    def __init__(self) -> None:
        self.watched: frozenset[str] = frozenset()
        self.times = 0
        self._changes: asyncio.Queue[set[tuple[Change, str]]] = asyncio.Queue()

    async def awatch(self, *folders: str, stop_event: asyncio.Event, **options: Any) -> AsyncIterator[Any]:
        self.watched, self.times = frozenset(folders), self.times + 1
        while not stop_event.is_set():
            waits = [asyncio.ensure_future(self._changes.get()), asyncio.ensure_future(stop_event.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if waits[0].done() and not waits[0].cancelled():
                yield waits[0].result()

    async def tells(self, change: Change, path: Path) -> None:
        """And the folders are watched that there are after it."""
        before = self.times
        self._changes.put_nowait({(change, str(path))})
        await until(lambda: self.times > before)


class Told:
    """How often somebody was told of changed files, and of which the last time."""

    times = 0
    files: frozenset[str] = frozenset()

    def __call__(self, files: frozenset[str]) -> None:
        self.times += 1
        self.files = files


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    system = System()
    monkeypatch.setattr(watcher, "awatch", system.awatch)
    monkeypatch.setattr(watcher, "SETTLED_S", 0)
    return system


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def watching(project: Path, system: System, told: Told) -> AsyncIterator[Watcher]:
    """Of the project, whose `flows/a.py` is loaded, and whose `flows/deep` has nothing in it."""
    (project / "flows" / "a.py").touch()
    # All that is there had been there when it was loaded.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(watcher, "COARSE_NS", -(10**12))
        watching = Watcher(project / "state", told)
    watching.aim(Target.of(project / "wfctl.toml", [project], [str(project / "flows" / "a.py")]))
    await watching.start()
    await until(lambda: system.times == 1)
    yield watching
    await watching.stop()


async def test_a_folder_that_a_run_makes_or_removes_is_watched_or_not_and_is_no_change(
    project: Path, watching: Watcher, system: System, told: Told
) -> None:
    made = project / "out" / "job-1"
    made.mkdir(parents=True)
    (made / "result.json").touch()
    await system.tells(Change.added, project / "out")
    assert str(made) in system.watched
    shutil.rmtree(made)
    await system.tells(Change.deleted, made)
    assert str(made) not in system.watched
    assert told.times == 0
    (project / "out" / "made.py").touch()
    await system.tells(Change.added, project / "out")
    assert told.times == 1


async def test_a_file_that_is_deleted_before_it_is_watched_is_told_of_once(
    project: Path, system: System, told: Told
) -> None:
    watching = Watcher(project / "state", told)
    target = Target.of(project / "wfctl.toml", [project], [str(project / "flows" / "gone.py")])
    watching.aim(target)
    await watching.start()
    try:
        await until(lambda: told.times == 1)
        assert told.files == {str(project / "flows" / "gone.py")}
        watching.aim(target)
        await system.tells(Change.added, project / "state")
        assert told.times == 1
    finally:
        await watching.stop()


async def test_a_package_that_is_moved_in_is_a_change_and_so_is_one_that_is_moved_away(
    project: Path, tmp_path_factory: pytest.TempPathFactory, watching: Watcher, system: System, told: Told
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "rates"
    (elsewhere / "deep").mkdir(parents=True)
    (elsewhere / "deep" / "today.py").touch()
    elsewhere.rename(project / "rates")
    await system.tells(Change.added, project / "rates")
    assert (told.times, told.files) == (1, {str(project / "rates" / "deep" / "today.py")})
    assert str(project / "rates" / "deep") in system.watched
    (project / "rates").rename(elsewhere)
    await system.tells(Change.deleted, project / "rates")
    assert (told.times, told.files) == (2, {str(project / "rates" / "deep" / "today.py")})


async def test_a_folder_that_came_before_the_others_were_watched_is_found_by_looking(
    project: Path, watching: Watcher, system: System, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Target.look

    def look(target: Target, *about: Any) -> Any:
        found = real(target, *about)
        (project / "late").mkdir(exist_ok=True)
        return found

    monkeypatch.setattr(Target, "look", look)
    (project / "early").mkdir()
    await system.tells(Change.added, project / "early")
    await until(lambda: str(project / "late") in system.watched)
    assert told.times == 0


async def test_what_was_moved_in_while_code_was_loaded_is_told_of_when_other_code_is_watched(
    project: Path, tmp_path_factory: pytest.TempPathFactory, watching: Watcher, system: System, told: Told
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "rates"
    elsewhere.mkdir()
    (elsewhere / "today.py").touch()
    elsewhere.rename(project / "rates")
    watching.aim(Target.of(project / "wfctl.toml", [project], [str(project / "flows" / "b.py")]))
    await until(lambda: told.times == 1)
    assert system.times == 2


def test_a_folder_in_which_nothing_came_or_went_is_read_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "flows" / "a.py").touch()
    read: list[str] = []
    real = os.scandir
    monkeypatch.setattr(module.os, "scandir", lambda folder: read.append(folder) or real(folder))
    monkeypatch.setattr(module, "COARSE_NS", -(10**12))
    target, folders = Target.of(project / "wfctl.toml", [project], []), Folders()
    before = target.look(folders, project / "state")
    assert sorted(read) == [str(project / folder) for folder in ("", "env", "flows", "flows/deep")]
    read.clear()
    written = (project / "flows").stat().st_mtime_ns
    while (project / "flows").stat().st_mtime_ns == written:  # the file system's clock is coarse
        (project / "flows" / "b.py").unlink(missing_ok=True)
        (project / "flows" / "b.py").touch()
    after = target.look(folders, project / "state")
    assert read == [str(project / "flows")]
    assert after.files.keys() - before.files.keys() == {str(project / "flows" / "b.py")}


def test_a_folder_that_was_written_just_now_is_read_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes in the same tick of the file system's clock does not show in the folder's time."""
    monkeypatch.setattr(module, "COARSE_NS", 10**12)
    target, folders = Target.of(project / "wfctl.toml", [project], []), Folders()
    target.look(folders, project / "state")
    stat = (project / "flows").stat()
    (project / "flows" / "b.py").touch()
    os.utime(project / "flows", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert str(project / "flows" / "b.py") in target.look(folders, project / "state").files


# -- links to folders --------------------------------------------------------------------------


def test_what_a_link_to_a_folder_leads_to_is_watched_before_anything_of_it_is_loaded(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lib = tmp_path_factory.mktemp("elsewhere") / "lib"
    (lib / "extra").mkdir(parents=True)
    (lib / "extra" / "back").symlink_to(project)
    (project / "lib").symlink_to(lib)
    (project / "run-1.log").symlink_to(lib / "extra")
    look = Target.of(project / "wfctl.toml", [project], []).look(Folders(), project / "state")
    assert {str(lib), str(lib / "extra"), str(project / "flows")} < look.folders
    assert str(project / "lib") not in look.folders


def test_a_link_to_a_folder_is_a_part_of_what_is_there_only_where_there_are_modules_behind_it(
    project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A run may have a link to its newest results changed each time."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "lib" / "extra").mkdir(parents=True)
    (elsewhere / "lib" / "extra" / "deep.py").touch()
    (elsewhere / "results").mkdir()
    (project / "lib").symlink_to(elsewhere / "lib")
    (project / "latest").symlink_to(elsewhere / "results")
    files = Target.of(project / "wfctl.toml", [project], []).look(Folders(), project / "state").files
    assert str(project / "lib") in files
    assert str(project / "latest") not in files


def test_folders_behind_links_come_last_where_there_are_more_than_can_be_watched(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path_factory.mktemp("disk")
    for number in range(9):
        (disk / str(number)).mkdir()
    (project / "data").symlink_to(disk)
    monkeypatch.setattr(module, "MOST_FOLDERS", 4)
    found = watched(project)
    assert {".", "flows", "flows/deep"} < found
    assert len(found) == 5
