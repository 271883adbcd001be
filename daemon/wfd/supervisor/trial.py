"""One attempt at loading the user's code as it is now."""

from __future__ import annotations

import asyncio
import difflib
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from wfctl.errors import ConfigError, DaemonDownError
from wfctl.protocol import blame
from wfctl.protocol.channel import Code, Load, Problem
from wfd.config import Config
from wfd.runtime.clock import Clock
from wfd.supervisor.catalog import Catalog, Generation
from wfd.supervisor.takeover import named
from wfd.supervisor.worker import Worker

log = logging.getLogger("wfd.supervisor")

# An import that takes longer is given up for newer code.
OUTDATED_MS = 2_000
# How often a worker may be killed from outside while it imports, before the code is taken for what made somebody do that.
TRIES = 3
# Until a module that ended its process, or did not end, is tried again though nothing has been saved.
RETRY_MS, MOST_RETRY_MS = 10_000, 300_000
# Settings that make other workers.
_OF_CODE = ("project", "modules", "path", "python")
_OF_WORKERS = (*_OF_CODE, "workers")
_KILLED = ("signal SIGKILL", "signal SIGTERM")


class GenerationCode(msgspec.Struct, frozen=True):
    """How further workers of a generation are started: with what its first has read, `without` the modules that were given up."""

    config: Config
    code: Code | None
    without: frozenset[str] = frozenset()

    def load(self, generation: int) -> Load:
        modules = [name for name in self.config.modules if name not in self.without]
        return Load(str(self.config.project), modules, [str(one) for one in self.config.path], generation, self.code)


class Retries:
    """Has code that lost a module tried again: what that waited for may be there by then. Ever more seldom."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._times = 0

    def after(self, lost: bool, number: int, again: Callable[[int], None]) -> None:
        """The last trial, of this number, has lost a module, or has not."""
        self._times = self._times + 1 if lost else 0
        if self._times:
            delay_ms = min(RETRY_MS << min(self._times - 1, 5), MOST_RETRY_MS)
            self._clock.call_later(delay_ms, partial(again, number))


class Trial:
    """`worker` is the process that imports it, None while there is none yet or no more. `asked` hear what comes of it,
    `problems` are those of the configuration, and of the modules that were `given_up` as they had no chance to say it.
    `saved` are the files that it is tried for, None where it may be for another reason."""

    def __init__(
        self,
        number: int,
        config: Config,
        began_at: int,
        asked: list[asyncio.Future[Any]],
        problems: tuple[Problem, ...] = (),
        saved: frozenset[str] | None = None,
    ) -> None:
        self.saved = saved
        self.problems = problems
        self.number = number
        self.config = config
        self.began_at = began_at
        self.asked = asked
        self.worker: Worker | None = None
        self.given_up: frozenset[str] = frozenset()
        # The files that were being imported then: they are not among those that were read.
        self.lost: frozenset[str] = frozenset()
        # The modules that it alone still imports, where it was set apart for them.
        self.waits_for: frozenset[str] = frozenset()
        self._killed = 0

    def code(self, read: Code | None = None) -> GenerationCode:
        """How workers are started with this: with what its worker has `read`, else from disk."""
        return GenerationCode(self.config, read, self.given_up)

    def again(self, why: str) -> bool:
        """Its worker has ended. Whether another is to import it: one that somebody killed says nothing about the code."""
        self._killed += why in _KILLED
        return why in _KILLED and self._killed < TRIES

    def same(
        self, fresh: Generation, newest: Generation | None, codes: Mapping[int, GenerationCode]
    ) -> Generation | None:
        """The `newest` that serves, where `fresh` is the very same code and workers would be the same with it.

        What handlers import by names that only they know is in no hash, and what a link leads to may be more than its text: so
        no other file must have been saved than those that were read.
        """
        code = codes.get(newest.number) if newest is not None else None
        if self.saved is None or newest is None or code is None:
            return None
        again = msgspec.structs.replace(fresh, number=newest.number, loaded_at=newest.loaded_at)
        read = {file for file in fresh.files if not os.path.islink(file)}
        alike = all(getattr(self.config, name) == getattr(code.config, name) for name in _OF_WORKERS)
        alike = alike and self.given_up == code.without
        return newest if again == newest and alike and self.saved <= read | {str(self.config.file)} else None

    def replaces(self, worker: Worker, serving: Iterable[Generation]) -> bool:
        """Whether none of what is `serving` now is the same as what `worker` runs, as it is where only a file was saved that
        nothing has imported."""
        alike = all(getattr(self.config, name) == getattr(worker.config, name) for name in _OF_CODE)
        return self.saved is None or not alike or worker.source not in {one.source_hash for one in serving}

    def give_up(self, worker: Worker, why: str) -> bool:
        """Its worker has ended. Go on without the module that it was importing; False where that is not known."""
        at = worker.importing
        if not at or not at.module or at.module in self.given_up:
            return False
        endless_s = worker.endless_ms / 1_000
        problem = blame.endless(at, endless_s) if endless_s else blame.ended(at, why, worker.last_words)
        self.given_up |= {at.module}
        self.waits_for -= {at.module}
        if at.file:
            self.lost |= {os.path.normpath(self.config.project / at.file)}
        self.problems = (*self.problems, problem)
        self._killed = 0
        log.error("%s: %s; the others are loaded without it (%s)", named(problem), problem.message, problem.hint)
        return True

    def late(self, waited_ms: int) -> Problem:
        """It has not said for so long what the code offers."""
        at = self.worker.importing if self.worker is not None else None
        if at and at.module:
            return blame.endless(at, waited_ms / 1_000)
        return Problem("workers", f"importing the modules takes longer than {waited_ms // 1_000} s")

    def outdated(self, now: int) -> bool:
        """Whether newer code should not wait for it. A quick import is waited for, so that steady saving gets somewhere."""
        return now - self.began_at > OUTDATED_MS


def config_problems(error: ConfigError) -> tuple[Problem, ...]:
    """What is wrong with wfctl.toml, one problem a line, each with its place."""
    told: list[str] = error.detail.get("problems") or [error.message]
    found = []
    for text in told:
        where, _, message = text.partition(": ")
        file, _, line = where.partition(":")
        number = int(line.partition(":")[0]) if line.partition(":")[0].isdigit() else 0
        found.append(Problem(file, message or text, file, number, error.hint or ""))
    return tuple(found)


def with_limits(catalog: Catalog, config: Config) -> Catalog:
    """`catalog` with a problem for each type that [workflows.limits] names and that there is not."""
    name = config.file.name
    found = []
    for unknown in sorted(config.limits.keys() - catalog.types.keys()):
        near = difflib.get_close_matches(unknown, catalog.types, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(catalog.types) or 'none'}"
        message = f"[workflows.limits] names the workflow type {unknown!r}, which is not loaded; {hint}"
        found.append(Problem(name, message, name, config.limit_lines.get(unknown, 0), "correct the name, or remove it"))
    return msgspec.structs.replace(catalog, problems=(*catalog.problems, *found)) if found else catalog


def turn_away(asking: Iterable[asyncio.Future[Any]]) -> None:
    """The daemon stops: who waits for new code is told."""
    for future in asking:
        if not future.done():
            future.set_exception(DaemonDownError("the daemon is stopping", hint="wfctl up"))
            future.exception()  # nobody may wait for it any more
