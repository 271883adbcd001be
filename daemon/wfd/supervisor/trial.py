"""One attempt at loading the user's code as it is now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from wfctl.errors import ConfigError, DaemonDownError
from wfctl.protocol.channel import Code, Problem
from wfd.config import Config
from wfd.supervisor.worker import Worker

# An import that takes longer is given up for newer code.
OUTDATED_MS = 2_000


class GenerationCode(msgspec.Struct, frozen=True):
    """How further workers of a generation are started: with what its first has read."""

    config: Config
    code: Code | None


class Trial:
    """`worker` is the process that imports it, None while there is none yet or no more. `asked` hear what comes of it,
    `problems` are those of the configuration."""

    def __init__(
        self,
        number: int,
        config: Config,
        began_at: int,
        asked: list[asyncio.Future[Any]],
        problems: tuple[Problem, ...] = (),
    ) -> None:
        self.problems = problems
        self.number = number
        self.config = config
        self.began_at = began_at
        self.asked = asked
        self.worker: Worker | None = None

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


def turn_away(asking: Iterable[asyncio.Future[Any]]) -> None:
    """The daemon stops: who waits for new code is told."""
    for future in asking:
        if not future.done():
            future.set_exception(DaemonDownError("the daemon is stopping", hint="wfctl up"))
            future.exception()  # nobody may wait for it any more
