"""A process of its own that loads code which does not serve, and is asked what it would do with steps. Whatever becomes of it,
nothing of the workers that serve, or of their generation, changes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from wfctl.protocol import blame, channel
from wfd.config import Config
from wfd.supervisor.worker import Worker

# As of a worker that is to serve: an import that takes longer is taken for one that never ends.
LOAD_S = 30.0
REHEARSAL_MS = 5_000
# What a process gets beyond that to say how a rehearsal went. One that has not by then is blocked.
BLOCKED_S = 5.0
ANSWER_S = 30.0

# The answer (JSON) to what a rehearsed handler asks the daemon, or None where there is none yet.
Answer = Callable[[channel.Op], Awaitable[bytes | None]]


class ProbeEnded(Exception):
    """The process has ended, or had to be ended; `args[0]` says so. Another one has to be started to go on. `why`: how it ended by
    itself."""

    def __init__(self, message: str, why: str = "") -> None:
        super().__init__(message)
        self.why = why


class Probe:
    """Loads `modules` (files or dotted names; `path` for sys.path). `start` first, one question at a time, `close` at last.

    Modules that are in `given_up` are left out; those whose import ends the process, or does not end, get there.
    """

    def __init__(
        self,
        config: Config,
        modules: Sequence[str],
        path: Sequence[Path],
        *,
        load_s: float = LOAD_S,
        rehearsal_ms: int = REHEARSAL_MS,
        given_up: dict[str, channel.Problem] | None = None,
    ) -> None:
        self._load = channel.Trial(str(config.project), list(modules), [str(folder) for folder in path], 0)
        self._given_up = {} if given_up is None else given_up
        self._config = config
        self._worker = Worker(config, self._received, self._gone)
        self._load_s = load_s
        self._rehearsal_ms = rehearsal_ms
        self._python = config.python
        self._waiting: asyncio.Future[Any] | None = None
        self._ended = ""
        self._answering: Answer | None = None
        self._answers: set[asyncio.Task[None]] = set()
        self._calls = 0

    async def start(self) -> channel.Loaded:
        """What the code offers, and what is wrong with it. Raises ProbeEnded where that cannot be known."""
        while True:
            try:
                loaded = await self._loaded()
            except ProbeEnded as error:
                problem = self._blamed(error)
                if problem is None:
                    raise
                self._given_up[problem.module] = problem
                await self.close()
                self._worker, self._ended = Worker(self._config, self._received, self._gone), ""
            else:
                return msgspec.structs.replace(loaded, problems=[*self._given_up.values(), *loaded.problems])

    async def _loaded(self) -> channel.Loaded:
        try:
            await self._worker.start()
        except OSError as error:
            raise ProbeEnded(f"cannot start {self._python}: {error.strerror}") from None
        modules = [name for name in self._load.modules if name not in self._given_up]
        self._worker.load(msgspec.structs.replace(self._load, modules=modules))
        late = f"importing the modules took longer than {self._load_s:g} s"
        loaded: channel.Loaded = await self._wait(self._load_s, late)
        return loaded

    def _blamed(self, error: ProbeEnded) -> channel.Problem | None:
        """What is wrong with the module that was imported when it ended; None where that is not known."""
        at = self._worker.importing
        if at is None or not at.module or at.module in self._given_up:
            return None
        return blame.ended(at, error.why, self._worker.last_words) if error.why else blame.endless(at, self._load_s)

    async def misfits(self, items: Sequence[channel.Given]) -> list[str]:
        """For each of `items`: why it does not fit its handler, or nothing."""
        self._calls += 1
        self._worker.send(channel.Fits(self._calls, list(items)))
        late = f"converting arguments took longer than {ANSWER_S:g} s"
        fitted: channel.Fitted = await self._wait(ANSWER_S, late)
        return fitted.reasons

    async def rehearse(self, step: channel.RunStep, answer: Answer) -> channel.Rehearsed:
        """How `step` goes on the code. ProbeEnded where it ends or blocks its process; so does one that does not let go, later."""
        self._answering = answer
        self._worker.send(channel.Rehearse(step, self._rehearsal_ms))
        limit_s = self._rehearsal_ms / 1_000 + BLOCKED_S
        try:
            late = f"it did not get there within {limit_s:g} s, and blocks its event loop"
            rehearsed: channel.Rehearsed = await self._wait(limit_s, late)
            return rehearsed
        finally:
            self._answering = None
            for task in self._answers:
                task.cancel()

    async def close(self) -> None:
        """End the process, whatever it is doing."""
        self._worker.kill("the check is over")
        await self._worker.gone()

    async def _wait(self, limit_s: float, late: str) -> Any:
        if self._ended:
            raise ProbeEnded(self._ended)
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(self._waiting, limit_s)
        except TimeoutError:
            self._worker.kill(late)
            raise ProbeEnded(late) from None
        finally:
            self._waiting = None

    def _received(self, worker: Worker, messages: list[Any]) -> None:
        for message in messages:
            match message:
                case channel.Importing():
                    worker.importing = message
                case channel.Op():
                    if self._answering is not None:
                        task = asyncio.get_running_loop().create_task(self._answer(self._answering, message))
                        self._answers.add(task)
                        task.add_done_callback(self._answers.discard)
                case channel.Loaded() | channel.Fitted() | channel.Rehearsed():
                    if self._waiting is not None and not self._waiting.done():
                        self._waiting.set_result(message)

    async def _answer(self, answer: Answer, op: channel.Op) -> None:
        value: bytes | None = None
        try:
            value = await answer(op)
        finally:
            not_yet = channel.NotYet(op.token, op.op)
            self._worker.send(not_yet if value is None else channel.OpDone(op.token, op.op, value))

    def _gone(self, worker: Worker, why: str) -> None:
        last = f" ({worker.last_words[-1]})" if worker.last_words and not worker.killed_for else ""
        self._ended = f"the process ended: {why}{last}"
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ProbeEnded(self._ended, why))
