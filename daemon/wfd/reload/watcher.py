"""Watches the files a project's code is made of, and calls back once a burst of changes is over that leaves them other than they
were."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from watchfiles import Change, awatch

from wfctl.errors import reason
from wfd.reload.target import COARSE_NS, Folders, Look, Stat, Target, may_hold_code
from wfd.runtime.lifecycle import Service

log = logging.getLogger("wfd.reload")

# Quiet for this long means that an editor, or a checkout of hundreds of files, is done.
QUIET_MS = 50
LONGEST_BURST_MS = 800
# How often the files are looked at where the system does not tell of their changes.
POLL_MS = 300
# After this the watches that replace others are in place; what changed in between is found by looking. Folders that come and go
# are watched, or not any more, after it too.
SETTLED_S = 0.2
# What a file was that is another one by now.
_OTHER: Stat = (0, 0, 0)


class Watcher(Service):
    """`changed(files)` is called on the loop after something that matters was written, moved or removed; `files` are those of it
    that had been there before.

    The folder `state` is left out. `aim` says what to watch, at any time.
    """

    def __init__(self, state: Path, changed: Callable[[frozenset[str]], object]) -> None:
        super().__init__()
        self._state = state
        self._changed = changed
        self._folders = Folders()
        self._target: Target | None = None
        self._aimed: Target | None = None
        # What the files were like when they were loaded, or told of.
        self._known: dict[str, Stat] = {}
        self._again = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None
        self._polling = False
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
        for task in (self._settling, self._task):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._target = self._aimed = None
        self._known = {}
        self.loading()

    async def _watch(self) -> None:
        while True:
            target, self._again = self._target, asyncio.Event()
            if target is None:
                await self._again.wait()
                continue
            look = await self._look(target)
            if target is self._aimed:
                self._tell(look)
            else:
                self._known = self._loaded(target, look)
                self._aimed = target
            if self._settling is not None:
                self._settling.cancel()
            self._settling = asyncio.get_running_loop().create_task(self._settle(target, look.folders))
            try:
                await self._until_again(target, look)
            except FileNotFoundError:  # a folder went just now: others are to be watched
                await asyncio.sleep(SETTLED_S)
            except (OSError, RuntimeError) as error:
                # The system has no more watches to give (fs.inotify.max_user_watches, _instances), or none for such a file system.
                if not self._polling:
                    log.warning(
                        "the system does not tell of changed files (%s); they are looked at instead", reason(error)
                    )
                self._polling = True
                await asyncio.sleep(POLL_MS / 1_000)

    async def _look(self, target: Target) -> Look:
        # Beside the loop, as any number of files may be there.
        return await asyncio.to_thread(target.look, self._folders, self._state)

    def _loaded(self, target: Target, look: Look) -> dict[str, Stat]:
        """The files as they were when they were loaded. Nobody has watched what only the newest load brought along, while
        that was under way; and what had been looked for before, and is there now, came with a folder."""
        first = self._aimed is None
        before = look.files if first else self._known
        # What was loaded and is gone before anybody has watched it.
        gone = target.files - look.files.keys() - {str(target.config)} if first else ()
        return dict.fromkeys(gone, _OTHER) | {
            file: stat if stat[0] < self._since_ns else _OTHER
            for file, stat in look.files.items()
            if file in before or file in target.files
        }

    async def _settle(self, target: Target, watched: frozenset[str]) -> None:
        again = self._again
        await asyncio.sleep(SETTLED_S)
        look = await self._look(target)
        if target is self._aimed:
            self._tell(look)
        if look.folders != watched:
            again.set()

    def _tell(self, look: Look) -> None:
        """Call back, unless all is as it was: a change may be both seen and found by looking, and a folder have nothing in it."""
        before, found = self._known, look.files
        changed = [file for file in before.keys() | found.keys() if before.get(file) != found.get(file)]
        if changed:
            log.info("%d files changed, the first %s", len(changed), min(changed))
            self._known = found
            self._changed(frozenset(changed))

    async def _until_again(self, target: Target, look: Look) -> None:
        again, loop = self._again, asyncio.get_running_loop()
        later: asyncio.TimerHandle | None = None
        async for changes in awatch(
            *look.folders, watch_filter=None, step=QUIET_MS, debounce=LONGEST_BURST_MS, recursive=False, stop_event=again,
            ignore_permission_denied=True, force_polling=self._polling or None, poll_delay_ms=POLL_MS,
        ):  # fmt: skip
            if any(target.matters(path) for _, path in changes):
                self._tell(await self._look(target))
            if later is None and await asyncio.to_thread(_folders_moved, changes, look):
                later = loop.call_later(SETTLED_S, again.set)


def _folders_moved(changes: Iterable[tuple[Change, str]], look: Look) -> bool:
    """Whether a folder came or went: then others are to be watched, and it may have brought code along."""
    for change, path in changes:
        if change is Change.deleted and (path in look.folders or (path in look.files and not path.endswith(".py"))):
            return True
        if change is Change.added and may_hold_code(os.path.basename(path)) and os.path.isdir(path):
            return True
    return False
