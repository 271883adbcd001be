"""Watches the project's Python files and calls back once a burst of changes is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from watchfiles import Change, PythonFilter, awatch

from wfd.runtime.lifecycle import Service

log = logging.getLogger("wfd.reload")

# Quiet for this long means that an editor, or a checkout of hundreds of files, is done.
QUIET_MS = 50
LONGEST_BURST_MS = 800


class Watcher(Service):
    """`changed()` is called on the loop after Python files below `folders` were written, moved or removed.

    The state folder is left out, and so are virtual environments and caches (watchfiles' own filter).
    """

    def __init__(self, folders: list[Path], state: Path, changed: Callable[[], None]) -> None:
        super().__init__()
        self._folders = folders
        self._filter = _Filter(state)
        self._changed = changed
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def _start(self) -> None:
        folders = [folder for folder in self._folders if folder.is_dir()]
        self._task = asyncio.get_running_loop().create_task(self._watch(folders))

    async def _stop(self) -> None:
        self._stopping.set()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _watch(self, folders: list[Path]) -> None:
        try:
            async for changes in awatch(
                *folders, watch_filter=self._filter, step=QUIET_MS, debounce=LONGEST_BURST_MS,
                stop_event=self._stopping, ignore_permission_denied=True,
            ):  # fmt: skip
                log.info("%d files changed, the first %s", len(changes), sorted(path for _, path in changes)[0])
                self._changed()
        except (OSError, RuntimeError) as error:
            log.error("files are not watched any more (%s); restart the daemon after a change", error)


class _Filter(PythonFilter):
    def __init__(self, state: Path) -> None:
        super().__init__(ignore_paths=[state])

    def __call__(self, change: Change, path: str) -> bool:
        return super().__call__(change, path)
