"""Loads the project's configuration and code again: when their files change, and when somebody asks."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from wfctl.errors import ConfigError
from wfctl.values.commands import quoted
from wfctl.values.project import DATABASE_NAME
from wfd.config import Config, load
from wfd.reload.target import Target
from wfd.reload.watcher import Watcher
from wfd.runtime.lifecycle import Service

log = logging.getLogger("wfd.reload")
T = TypeVar("T")
# Settings of what is opened once, when the daemon starts.
_AT_START = ("state", "durability")


class Loads(Protocol[T]):
    """Who loads the code. `files` are those it was made of, or would have been, the last time."""

    @property
    def files(self) -> frozenset[str]: ...

    def reload(
        self, config: Config, wrong: ConfigError | None, saved: frozenset[str] | None = None
    ) -> asyncio.Future[T]:
        """Begin to load the code as `config` says; `wrong` is told with what is wrong with the code. With `saved`, the files that
        have come to be other ones, code that turns out to be the same need not take over."""
        ...


class Reloader(Service, Generic[T]):
    """`config` is what counts now; `configured(config)` is called when another does. Files are watched while `config.reload`.

    A wfctl.toml that is wrong changes nothing but what `wfctl status` has to say.
    """

    def __init__(self, config: Config, loads: Loads[T], configured: Callable[[Config], None]) -> None:
        super().__init__()
        self.config = config
        self._loads = loads
        self._configured = configured
        self._watcher = Watcher(config.state, self.begin)

    async def _start(self) -> None:
        await self._watch()

    async def _stop(self) -> None:
        await self._watcher.stop()

    def begin(self, saved: frozenset[str] | None = None) -> asyncio.Future[T]:
        """Load what the files say now: because of those that were `saved`, or to replace what is in use by all means. The future
        tells what came of it."""
        wrong = self._configure()
        self._watcher.loading()
        loaded: asyncio.Future[T] = self._loads.reload(self.config, wrong, saved)
        loaded.add_done_callback(lambda _: self._aim())
        if self.running and self.config.reload != self._watcher.running:
            task = asyncio.get_running_loop().create_task(self._watch())
            self._switching = task  # the loop holds its tasks weakly
        return loaded

    async def _watch(self) -> None:
        if self.config.reload:
            self._aim()
            await self._watcher.start()
        else:
            await self._watcher.stop()

    def _aim(self) -> None:
        config = self.config
        if config.reload:
            self._watcher.aim(Target.of(config.file, (config.project, *config.path), self._loads.files))

    def _configure(self) -> ConfigError | None:
        """Read wfctl.toml. Returns what is wrong with it, or takes effect only with the next daemon."""
        before = self.config
        try:
            after = load(before.file)
        except ConfigError as error:
            log.error("%s; the settings read before stay in use", error.message)
            return error
        later = {name: getattr(before, name) for name in _AT_START if getattr(after, name) != getattr(before, name)}
        wrong = None
        if later:
            wrong = ConfigError(
                f"{before.file.name}: {', '.join(sorted(later))} cannot change while the daemon runs; it goes on with what it has",
                hint=f"wfctl down{_take_along(before, after)} && wfctl up",
            )
        after = msgspec.structs.replace(after, socket=before.socket, **later)
        if after != before:
            self.config = after
            self._configured(after)
        return wrong


def _take_along(before: Config, after: Config) -> str:
    """How the runs get to where the next daemon looks for them; nothing where it finds a database there."""
    if os.path.exists(after.database):  # False where it may not be looked at
        return ""
    old, new = quoted(str(before.state)), quoted(str(after.state))
    return f" && mv {old}/{DATABASE_NAME}* {new}/" if os.path.exists(after.state) else f" && mv {old} {new}"
