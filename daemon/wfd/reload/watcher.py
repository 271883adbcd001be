"""Watches the files a project's code is made of, and calls back once a burst of changes is over.

Folders are watched one by one, those that hold no code of the project's left out (environments, caches, hidden ones): a folder
of a hundred thousand installed files costs nothing and cannot use up what the system has of watches.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from stat import S_ISDIR

import msgspec
from watchfiles import Change, awatch

from wfd.runtime.lifecycle import Service

log = logging.getLogger("wfd.reload")

# Quiet for this long means that an editor, or a checkout of hundreds of files, is done.
QUIET_MS = 50
LONGEST_BURST_MS = 800
# How often the files are looked at where the system does not tell of their changes.
POLL_MS = 300
MOST_FOLDERS = 4_000
# After this the watches that replace others are in place; what changed in between is found by looking.
SETTLED_S = 0.2
# The times of files are of a clock that ticks this seldom.
COARSE_NS = 20_000_000
_MOST_LINKS = 40
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})


class Target(msgspec.Struct, frozen=True):
    """What to watch: `config`, the Python files below `folders`, and `files`, among them the links on the way to them."""

    config: Path
    folders: tuple[Path, ...]
    files: frozenset[str] = frozenset()

    @staticmethod
    def of(config: Path, folders: Iterable[Path], files: Iterable[str]) -> Target:
        """`files` wherever they lead."""
        known = {led for file in (str(config), *files) for led in leads(file)}
        return Target(config, tuple(folders), frozenset(known))

    def matters(self, path: str) -> bool:
        """Whether a change of `path` may change the code: also a folder, or a link to one, that leads to known files."""
        name = os.path.basename(path)
        if path in self.files:
            return True
        if name.startswith((".", "#")):  # an editor's own
            return False
        return name.endswith(".py") or any(file.startswith(path + os.sep) for file in self.files)

    def watched(self, without: Path) -> set[str]:
        """The folders in which something that matters can happen; `without` is not looked into."""
        found = {os.path.dirname(file) for file in self.files}
        for folder in self.folders:
            for below in _code_folders(folder, without):
                found.add(below)
                if len(found) > MOST_FOLDERS:
                    log.warning("more than %d folders below %s: new ones are not noticed", MOST_FOLDERS, folder)
                    break
        return {folder for folder in found if os.path.isdir(folder)}

    def looks(self, folders: Iterable[str]) -> dict[str, tuple[int, int, int]]:
        """What tells one state of the files from another: the known ones, and those in `folders` that matter."""
        files = set(self.files)
        for folder in folders:
            with contextlib.suppress(OSError):
                files.update(path for name in os.listdir(folder) if self.matters(path := os.path.join(folder, name)))
        found = {}
        for file in files:
            with contextlib.suppress(OSError):
                # Of a link itself: where it leads is another of the files.
                stat = os.lstat(file)
                if not S_ISDIR(stat.st_mode):
                    # Not when it was written: whoever copies a file may set that.
                    found[file] = (stat.st_ctime_ns, stat.st_size, stat.st_ino)
        return found


class Watcher(Service):
    """`changed()` is called on the loop after something that matters was written, moved or removed.

    The folder `state` is left out. `aim` says what to watch, at any time.
    """

    def __init__(self, state: Path, changed: Callable[[], object]) -> None:
        super().__init__()
        self._state = state
        self._changed = changed
        self._target: Target | None = None
        self._again = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._looking: asyncio.TimerHandle | None = None
        self._polling = False
        self._told: dict[str, tuple[int, int, int]] | None = None
        self._since_ns = 0
        self.loading()

    def loading(self) -> None:
        """The files are read from now on: what is written after this may have been read before it was, or not at all."""
        self._since_ns = time.time_ns() - COARSE_NS

    def aim(self, target: Target) -> None:
        if target != self._target:
            self._target = target
            self._again.set()

    async def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _stop(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._target = None
        self.loading()

    async def _watch(self) -> None:
        while True:
            target, self._again = self._target, asyncio.Event()
            if target is None:
                await self._again.wait()
                continue
            folders = target.watched(self._state)
            looked = target.looks(folders)
            # Nobody has watched what only the newest load brought along, while that was under way.
            looked = {file: look for file, look in looked.items() if _changed_ns(file) < self._since_ns}
            self._look_later(target, folders, looked)
            try:
                await self._until_again(target, folders)
            except FileNotFoundError:  # a folder went just now: others are to be watched
                await asyncio.sleep(SETTLED_S)
            except (OSError, RuntimeError) as error:
                # The system has no more watches to give (fs.inotify.max_user_watches, _instances), or none for such a file system.
                if not self._polling:
                    log.warning("the system does not tell of changed files (%s); they are looked at instead", error)
                self._polling = True
                await asyncio.sleep(POLL_MS / 1_000)

    def _look_later(self, target: Target, folders: set[str], looked: dict[str, tuple[int, int, int]]) -> None:
        def look() -> None:
            if (found := target.looks(folders)) != looked:
                self._tell(found)

        if self._looking is not None:
            self._looking.cancel()
        self._looking = asyncio.get_running_loop().call_later(SETTLED_S, look)

    def _tell(self, found: dict[str, tuple[int, int, int]], *, anyway: bool = False) -> None:
        """Call back, unless what is `found` was told already: a change may be both seen and found by looking."""
        if found != self._told or anyway:
            self._told = found
            self._changed()

    async def _until_again(self, target: Target, folders: set[str]) -> None:
        again = self._again
        async for changes in awatch(
            *folders, watch_filter=None, step=QUIET_MS, debounce=LONGEST_BURST_MS, recursive=False, stop_event=again,
            ignore_permission_denied=True, force_polling=self._polling or None, poll_delay_ms=POLL_MS,
        ):  # fmt: skip
            mattering = sorted({path for _, path in changes if target.matters(path)})
            moved = self._folders_moved(changes, folders)
            if mattering or moved:
                log.info("%d files changed, the first %s", len(mattering) or 1, mattering[0] if mattering else moved)
                self._tell(target.looks(folders), anyway=bool(moved))
            if moved:
                again.set()  # other folders are to be watched from now on

    def _folders_moved(self, changes: Iterable[tuple[Change, str]], folders: set[str]) -> str:
        """A folder that came or went, if one did."""
        for change, path in changes:
            if path in folders and change is Change.deleted:
                return path
            if change is Change.added and os.path.isdir(path) and _has_code(path, self._state) and path not in folders:
                return path
        return ""


def _changed_ns(file: str) -> int:
    """When the file, or the link, came to be what it is in this place."""
    try:
        return os.lstat(file).st_ctime_ns
    except OSError:
        return 0


def leads(file: str) -> list[str]:
    """`file`, the links on the way to it, and what it is in the end: whichever of them changes, it is another file."""
    found = [file]
    for _ in range(_MOST_LINKS):
        parts = Path(found[-1]).parts
        ahead = [os.path.join(*parts[:count]) for count in range(1, len(parts) + 1)]
        link = next((path for path in ahead if os.path.islink(path)), None)
        if link is None:
            break
        beyond = found.pop()[len(link) :].lstrip(os.sep)
        to = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link), beyond))
        found += [link, to]
    return [file, *found]


def _has_code(folder: str, without: Path) -> bool:
    name = os.path.basename(folder)
    if name.startswith(".") or name in _SKIPPED or folder == str(without):
        return False
    return not os.path.exists(os.path.join(folder, "pyvenv.cfg"))


def _code_folders(root: Path, without: Path) -> Iterator[str]:
    for folder, folders, _ in os.walk(root):
        yield folder
        folders[:] = [name for name in folders if _has_code(os.path.join(folder, name), without)]
