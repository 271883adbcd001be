"""The user's code in a worker that takes questions alone: while no daemon runs, or while handlers block the workers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from wfctl.errors import WfctlError
from wfctl.protocol import blame, channel
from wfd.runtime.clock import Clock, SystemClock, TimerHandle
from wfd.supervisor.catalog import Catalog, Generation
from wfd.supervisor.contract import Unanswered
from wfd.supervisor.questions import ANSWER_S, Questions
from wfd.supervisor.trial import GenerationCode
from wfd.supervisor.worker import Worker

log = logging.getLogger("wfd.supervisor")

LOAD_S = 30.0
# So long after it was last asked it is kept; longer than any answer may take.
KEPT_MS = int(ANSWER_S * 1_000) + 10_000


class Respondent:
    """The code that `code` has read, or as it is now, in one worker. `start` it first; `close` ends it, whatever it is doing."""

    def __init__(self, code: GenerationCode) -> None:
        self._code = code
        config = code.config
        self._worker = Worker(config, self._received, self._gone)
        self._loaded: asyncio.Future[channel.Loaded] = asyncio.get_running_loop().create_future()
        self._starting: asyncio.Task[None] | None = None
        self._ended_for = ""
        self._error: WfctlError | None = None
        self._why = ""
        self._problems: list[channel.Problem] = []
        # It runs no steps: what keeps it from answering is a question, and would be kept up by those that come after it.
        self.questions = Questions(self._ready, silent=lambda _: self.end(f"it did not answer within {ANSWER_S:g} s"))
        self.catalog = Catalog()
        self.check, self.query = self.questions.check, self.questions.query

    @property
    def over(self) -> bool:
        """Its process has ended, and there will be no other."""
        return self._error is not None

    async def start(self) -> None:
        """Load the code, once, whoever asks. A WfctlError says what keeps it from being loaded."""
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
        # Whoever asked may leave: others may wait for it too.
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        while True:
            try:
                await self._worker.start()
                if self._ended_for:
                    self._worker.kill(self._ended_for)
                self._worker.load(self._code.load(1))
                loaded = await asyncio.wait_for(self._loaded, LOAD_S)
                break
            except OSError as error:  # TimeoutError is one
                if not await self._give_up(isinstance(error, TimeoutError)):
                    self._error = no_answer(error.strerror or f"not within {LOAD_S:g} s")
                    raise self._error from None
            except WfctlError:  # its process has ended
                if not await self._give_up(False):
                    raise
        now = SystemClock().now_ms()
        served = Generation.of(loaded, 1, now)
        self.catalog = Catalog(
            1, served.types, (*self._problems, *loaded.problems), loaded.source_hash, served.files, loaded.python, now
        )

    async def _give_up(self, endless: bool) -> bool:
        """Go on without the module that was imported when that ended, or did not end; False where that is not known."""
        worker = self._worker
        at = worker.importing
        if self._ended_for or at is None or not at.module or at.module in self._code.without:
            return False
        worker.kill("its import does not end")
        await worker.gone()
        self._problems.append(blame.endless(at, LOAD_S) if endless else blame.ended(at, self._why, worker.last_words))
        self._code = msgspec.structs.replace(self._code, without=self._code.without | {at.module})
        self._worker = Worker(self._code.config, self._received, self._gone)
        self._loaded, self._error = asyncio.get_running_loop().create_future(), None
        return True

    def end(self, why: str) -> None:
        """Also where its process is only being started."""
        self._ended_for = why
        self._worker.kill(why)

    async def close(self) -> None:
        if self._starting is not None:
            self.end("it is not asked any more")
            await asyncio.gather(self._starting, return_exceptions=True)
            await self._worker.gone()

    def _received(self, worker: Worker, messages: list[Any]) -> None:
        for message in messages:
            match message:
                case channel.Importing():
                    worker.importing = message
                case channel.Loaded():
                    if not self._loaded.done():  # as it is where nobody waits any more
                        self._loaded.set_result(message)
                case channel.Checked(call, value, error) | channel.Answered(call, value, error):
                    self.questions.answered(call, value, error)

    def _gone(self, worker: Worker, why: str) -> None:
        said = f" ({worker.last_words[-1]})" if worker.last_words and not worker.killed_for else ""
        self._why = why
        self._error = no_answer(f"its process ended: {why}{said}")
        if not self._loaded.done():
            self._loaded.set_exception(self._error)
        self.questions.lose(worker)

    def _ready(self, workflow_type: str) -> list[Worker]:
        if self._error is not None:
            raise self._error  # there will be no other
        return [self._worker]


class Aside:
    """Beside workers that are blocked: a `Respondent` of the generation that was asked last, as long as it goes on being asked.
    `code_of(workflow_type)` is the generation that serves a type, and its code."""

    def __init__(self, clock: Clock, code_of: Callable[[str], tuple[int, GenerationCode | None]]) -> None:
        self._clock = clock
        self._code_of = code_of
        self._respondent: Respondent | None = None
        self._generation = 0
        self._timer: TimerHandle | None = None
        self._stopped = False

    async def questions(self, workflow_type: str) -> Questions:
        """Where the code that serves a type answers. A WfctlError says why it cannot."""
        generation, code = self._code_of(workflow_type)
        if self._stopped:
            raise Unanswered("the daemon is stopping", hint="wfctl up")
        if code is None:
            raise no_answer(f"that of workflow type {workflow_type!r} is not there any more")
        respondent = self._respondent
        if respondent is None or respondent.over or self._generation != generation:
            self._end()
            respondent = self._respondent = Respondent(code)
            self._generation = generation
            log.warning("handlers block all workers of generation %d; another is started for questions", generation)
        self._keep()
        await respondent.start()
        if respondent is self._respondent:
            self._keep()
        return respondent.questions

    def _keep(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(KEPT_MS, self._end)

    async def stop(self) -> None:
        self._stopped = True
        respondent = self._respondent
        if respondent is not None:
            respondent.questions.close()
        self._end()
        if respondent is not None:
            await respondent.close()

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        respondent, self._respondent = self._respondent, None
        if respondent is not None:
            respondent.end("it is not asked any more")


def no_answer(why: str) -> WfctlError:
    return WfctlError(f"the code could not answer: {why}", hint="wfctl doctor")
