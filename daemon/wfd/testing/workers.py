"""Workers that are no processes: the handlers run on the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path

from wfctl.errors import RegistrationError, from_data
from wfctl.protocol import channel
from wfctl.sdk.sources import Sources
from wfctl.sdk.workflow import Workflow
from wfctl.values.runinfo import RunInfo
from wfd.runtime.clock import ManualClock
from wfd.supervisor.catalog import Catalog
from wfd.supervisor.contract import Listener, Shortage, Unanswered, WorkerInfo
from wfd.supervisor.steps import Steps
from wfd.worker import branches
from wfd.worker.execute import HIDDEN, Executor

_LONG = {"sleep", "resume", "task_attempt_failed", "child_result"}
_NOT_OF_STEPS = channel.Importing | channel.Loaded | channel.Fitted | channel.Rehearsed | channel.Pong


class LocalWorkers:
    """`wfd.supervisor.Workers` without processes: one executor on this loop. `lose` is the death of a worker."""

    def __init__(self, workflows: Iterable[Workflow], clock: ManualClock, project: Path) -> None:
        self._clock = clock
        self._sources = Sources(str(project), (), HIDDEN)
        self._workflows: dict[str, Workflow] = {}
        self._listener: Listener | None = None
        # One that only waits lends its place before any time passes, or what takes that place would begin too late to be through
        # when the time has passed.
        self._steps = Steps(clock, lambda _: [] if self._runner is None else [self._runner], rests_ms=0)
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._calls = 0
        self._runner: _Runner | None = None
        # Those of earlier code, until their steps are through and what they were asked is answered.
        self._leaving: list[_Runner] = []
        self._generation = 0
        self.catalog = self._described(workflows)
        # By token: the operations that are answered when time has passed, or another run has closed.
        self._resting: dict[int, set[int]] = {}
        self._context = contextvars.copy_context()
        self.run, self.answer = self._steps.run, self._steps.answer
        self.cancel, self.abandon = self._steps.cancel, self._steps.abandon
        self.limit, self.demand = self._steps.limit, self._steps.demand
        self.lined_up, self.lines = self._steps.lined_up, self._steps.lines
        self.waits_for_turn = self._steps.waits_for_turn
        self.waits_for_worker, self.shortages = self._steps.waits_for_worker, dict[str, Shortage]

    def _described(self, workflows: Iterable[Workflow]) -> Catalog:
        found: dict[str, Workflow] = {}
        for workflow in workflows:
            if found.setdefault(workflow.workflow_type, workflow) is not workflow:
                raise RegistrationError(f"two workflows of type {workflow.workflow_type!r} were given")
        types = {name: workflow.describe() for name, workflow in found.items()}
        self._workflows = found
        self._generation += 1
        now = self._clock.now_ms()
        return Catalog(self._generation, types, source_hash="testing", python=sys.executable, loaded_at=now)

    async def start(self) -> None:
        self._begin()

    async def stop(self) -> None:
        self._end_all()
        self._steps.clear()

    def op_waits(self, token: int, op: int) -> None:
        self._resting.setdefault(token, set()).add(op)
        self._steps.op_waits(token, op)

    def hear(self, on: bool) -> None:
        """Handlers here have no channel that what they say could stay in."""

    @property
    def _alive(self) -> list[_Runner]:
        return self._leaving if self._runner is None else [*self._leaving, self._runner]

    def _end_all(self) -> list[_Runner]:
        ended, self._runner, self._leaving = self._alive, None, []
        for runner in ended:
            runner.executor.cancel_all()
            runner.executor.close()
        for future in self._asked.values():
            if not future.done():
                future.set_exception(Unanswered("the worker that was asked ended", hint="try again"))
        self._asked.clear()
        self._resting.clear()
        return ended

    def _begin(self) -> None:
        branches.follow(asyncio.get_running_loop())
        runner = _Runner(self._heard, self._told, self.catalog, self._context)
        loop = asyncio.get_running_loop()
        runner.executor = _Executor(
            self._workflows, self._sources, runner.said, loop, self._clock.now_ms, self._time_limit
        )
        self._runner = runner
        self._steps.share_out()

    @contextlib.asynccontextmanager
    async def _time_limit(self, ms: int | None, begun: float) -> AsyncIterator[asyncio.Timeout]:
        async with asyncio.timeout(None) as limit:
            now = asyncio.get_running_loop().time
            timer = None if ms is None else self._clock.call_later(ms, lambda: limit.reschedule(now()))
            try:
                yield limit
            finally:
                if timer is not None:
                    timer.cancel()

    def _heard(self, runner: _Runner, message: channel.ToDaemon) -> None:
        if runner not in self._alive:
            return
        if isinstance(message, channel.Checked | channel.Answered):
            runner.asked.discard(message.call)
            future = self._asked.pop(message.call)
            if not future.done():
                if message.error is not None:
                    future.set_exception(from_data(message.error))
                else:
                    future.set_result(message.kwargs if isinstance(message, channel.Checked) else message.value)
        elif not isinstance(message, _NOT_OF_STEPS):
            if isinstance(message, channel.Op) and message.kind in _LONG:
                self._resting.setdefault(message.token, set()).add(message.op)
            self._steps.heard(runner, [message], self._clock.now_ms())
            if message.token not in runner.steps:
                self._resting.pop(message.token, None)
        if runner is not self._runner:
            self._let_leave(runner)

    def _let_leave(self, runner: _Runner) -> None:
        """Let a runner of earlier code go as soon as it has nothing left to do."""
        if runner in self._leaving and not (runner.steps or runner.asked):
            self._leaving.remove(runner)
            runner.executor.close()

    def lose(self, reason: str = "its worker ended: signal SIGKILL") -> None:
        """The worker dies with everything it runs, and another takes its place."""
        lost = self._end_all()
        self._begin()
        for runner in lost:
            self._steps.lose(runner, reason, crash=True)

    def listen(self, listener: Listener) -> None:
        self._listener = listener
        self._steps.listen(listener)

    def replace(self, workflows: Iterable[Workflow]) -> None:
        """Load other code, as a reload does: steps that run finish on the old."""
        self.catalog = self._described(workflows)
        former = self._runner
        self._begin()
        if former is not None:
            self._leaving.append(former)
            self._let_leave(former)
        if self._listener is not None:
            self._listener.catalog_changed(self.catalog)

    async def check(self, workflow_type: str, kind: str, handler: str, payload: bytes, text: dict[str, str]) -> bytes:
        return await self._ask(lambda call: channel.Check(call, workflow_type, kind, handler, payload, text))

    async def query(self, run: RunInfo, name: str, kwargs: bytes, store: dict[str, bytes]) -> bytes:
        return await self._ask(lambda call: channel.Query(call, run, name, kwargs, store))

    async def _ask(self, question: Callable[[int], channel.ToWorker]) -> bytes:
        if self._runner is None:
            raise Unanswered("the environment has ended")
        self._calls += 1
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[self._calls] = future
        self._runner.asked.add(self._calls)
        self._runner.send(question(self._calls))
        return await future

    @property
    def queued(self) -> int:
        return self._steps.queued

    @property
    def oldest_queued_at(self) -> int | None:
        return self._steps.oldest_queued_at

    def silent(self) -> int:
        return self._steps.silent()

    @property
    def loading_ms(self) -> int:
        return 0

    def _told(self, message: channel.ToWorker) -> None:
        # Only now: an answer may be held until its step has its turn again.
        if isinstance(message, channel.OpDone):
            self._resting.get(message.token, set()).discard(message.op)

    @property
    def awake(self) -> int:
        """How many of the handlers that run do not only wait for time to pass, or for another run."""
        return sum(not self._resting.get(token) for runner in self._alive for token in runner.steps)

    @property
    def busy(self) -> bool:
        """Whether a handler's thread computes or a task's runs, or an operation is on its way."""
        return any(runner.executor.works(self._resting) for runner in self._alive)

    @property
    def running(self) -> int:
        return sum(len(runner.steps) for runner in self._alive)

    def workers(self) -> list[WorkerInfo]:
        return [WorkerInfo(os.getpid(), self.catalog.generation, self.running, self.catalog.loaded_at)]


class _Executor(Executor):
    def works(self, resting: Mapping[int, set[int]]) -> bool:
        """Whether a thread is at work, or an operation on its way that is not one of those `resting`, by token."""
        asked = ((token, op, one) for token, step in self._steps.items() for op, one in step._pending.items())
        on_its_way = any(op not in resting.get(token, ()) and not one.answer.done() for token, op, one in asked)
        return on_its_way or self._pool.computes or self._threads.running > 0


class _Runner:
    """`wfd.supervisor.steps.Runner`: messages cross in the next turn of the loop, as they would a socket, and in a `context` of
    nobody's: what a handler says may let another step begin, which is to know nothing of that handler."""

    executor: _Executor
    full, crowded, handed = False, False, 0
    held_at: int | None = None

    def __init__(
        self,
        heard: Callable[[_Runner, channel.ToDaemon], None],
        told: Callable[[channel.ToWorker], None],
        catalog: Catalog,
        context: contextvars.Context,
    ) -> None:
        self.steps: set[int] = set()
        self.asked: set[int] = set()
        self.generation, self.source = catalog.generation, catalog.source_hash
        self.pid = os.getpid()
        self.heard = heard
        self.told = told
        self._context = context

    def send(self, message: channel.ToWorker) -> None:
        self.told(message)
        asyncio.get_running_loop().call_soon(self.executor.receive, message, context=self._context)

    def said(self, message: channel.ToDaemon) -> None:
        asyncio.get_running_loop().call_soon(lambda: self.heard(self, message), context=self._context)

    def kill(self, why: str) -> None:
        """A test's own process is not killed: a handler that does not let go is the test's to end."""
