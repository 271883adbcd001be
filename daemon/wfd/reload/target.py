"""What is watched: the files that the code is made of, and the folders in which there is or could be more of it.

Folders are found one by one, those that hold no code of the project's left out (environments, caches, hidden ones), and are read
again only where something came or went: a folder of a hundred thousand files costs nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from stat import S_ISDIR

import msgspec

log = logging.getLogger("wfd.reload")

MOST_FOLDERS = 4_000
# The times of files are of a clock that ticks this seldom.
COARSE_NS = 20_000_000
_MOST_LINKS = 40
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})

# When a file came to be what it is, its size, and which one it is.
Stat = tuple[int, int, int]


class Look(msgspec.Struct, frozen=True):
    """What there is: `folders` to watch, as they are called without links, and what tells one state of `files` from another."""

    folders: frozenset[str]
    files: dict[str, Stat]


class _Inside(msgspec.Struct, frozen=True):
    """What a folder holds: the names of Python files, of folders, and of links that modules could be imported through."""

    state: tuple[int, int, int]
    sources: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    environment: bool = False


class Folders:
    """The folders below some others, as they were read the last time. One may be asked on any thread."""

    def __init__(self) -> None:
        self._read: dict[str, _Inside] = {}
        self._warned = False

    def look(self, roots: Sequence[str], others: Iterable[str], without: str) -> tuple[set[str], set[str]]:
        """The folders below `roots`, and `others`; and the Python files in them, with the links to folders that have some. No more
        than `MOST_FOLDERS` are looked for; `without` is not looked into."""
        read: dict[str, _Inside] = {}
        found = set()
        for folder in self._below(roots, without, read):
            found.add(folder)
            if len(found) > MOST_FOLDERS:
                self._warn(roots)
                break
        others = {os.path.realpath(other) for other in others} - found
        found.update(folder for folder in others if self._inside(folder, read) is not None)
        self._read = read
        sources = {os.path.join(folder, name) for folder in found for name in read[folder].sources}
        links = {os.path.join(folder, name) for folder in found for name in read[folder].links}
        if links:  # of runs that link their newest results nothing is to be heard
            ahead = ways(sources)
            links = {link for link in links if os.path.realpath(link) in ahead}
        return found, sources | links

    def _warn(self, roots: Sequence[str]) -> None:
        if not self._warned:
            self._warned = True
            log.warning("more than %d folders below %s: new ones are not noticed", MOST_FOLDERS, ", ".join(roots))

    def _below(self, roots: Sequence[str], without: str, read: dict[str, _Inside]) -> Iterator[str]:
        """Those that links lead to come last: there may be a whole disk behind one."""
        seen = {without}
        tops = [os.path.realpath(root) for root in roots]
        beyond = deque(tops)
        while beyond:
            near = deque([beyond.popleft()])
            while near:
                folder = near.popleft()
                if folder in seen:
                    continue
                seen.add(folder)
                inside = self._inside(folder, read)
                if inside is None or (inside.environment and folder not in tops):
                    continue
                yield folder
                near += (os.path.join(folder, name) for name in inside.folders)
                beyond += (os.path.realpath(os.path.join(folder, name)) for name in inside.links)

    def _inside(self, folder: str, read: dict[str, _Inside]) -> _Inside | None:
        """What is in it, also put into `read`; None where it is no folder, or may not be read."""
        now = time.time_ns()
        try:
            stat = os.stat(folder)
            state = stat.st_ctime_ns, stat.st_ino, stat.st_dev
            inside = self._read.get(folder)
            if inside is None or inside.state != state:
                # What comes in the same tick of the clock does not show: then it is read once more.
                inside = _read(folder, state if stat.st_ctime_ns < now - COARSE_NS else (0, 0, 0))
        except OSError:
            return None
        read[folder] = inside
        return inside


class Target(msgspec.Struct, frozen=True):
    """What to watch: `config`, the Python files below `folders`, and `files`, among them the links on the way to them; `ahead` are
    the folders, and links to such, that these are in."""

    config: Path
    folders: tuple[Path, ...]
    files: frozenset[str] = frozenset()
    ahead: frozenset[str] = frozenset()

    @staticmethod
    def of(config: Path, folders: Iterable[Path], files: Iterable[str]) -> Target:
        """`files` wherever they lead."""
        known = {led for file in (str(config), *files) for led in leads(file)}
        return Target(config, tuple(folders), frozenset(known), frozenset(ways(known)))

    def matters(self, path: str) -> bool:
        """Whether a change of `path` may change the code: also a folder, or a link to one, that leads to known files."""
        return path in self.files or path in self.ahead or _is_source(os.path.basename(path))

    def look(self, folders: Folders, without: Path) -> Look:
        """What there is now; `without` is not looked into. Reads the disk."""
        roots = [str(folder) for folder in self.folders]
        watched, found = folders.look(roots, {os.path.dirname(file) for file in self.files}, os.path.realpath(without))
        files = {}
        for file in found | self.files:
            with contextlib.suppress(OSError):
                # Of a link itself: where it leads is another of the files.
                stat = os.lstat(file)
                if not S_ISDIR(stat.st_mode):
                    # Not when it was written: whoever copies a file may set that.
                    files[file] = (stat.st_ctime_ns, stat.st_size, stat.st_ino)
        return Look(frozenset(watched), files)


def may_hold_code(name: str) -> bool:
    """Whether a folder of this name is looked into."""
    return not name.startswith(".") and name not in _SKIPPED


def ways(files: Iterable[str]) -> set[str]:
    """The folders, and links to such, that the files are in, however deep."""
    found: set[str] = set()
    for file in files:
        while (file := os.path.dirname(file)) not in found:
            found.add(file)
    return found


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


def _is_source(name: str) -> bool:
    # Not an editor's own.
    return name.endswith(".py") and not name.startswith((".", "#"))


def _read(folder: str, state: tuple[int, int, int]) -> _Inside:
    sources, folders, links = [], [], []
    environment = False
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if entry.is_dir(follow_symlinks=False):
                if may_hold_code(name):
                    folders.append(name)
            elif _is_source(name):
                sources.append(name)
            elif name == "pyvenv.cfg":
                environment = True
            elif entry.is_symlink() and name.isidentifier() and may_hold_code(name):
                links.append(name)
    return _Inside(state, tuple(sources), tuple(folders), tuple(links), environment)
