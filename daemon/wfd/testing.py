"""The real engine on a real SQLite file, with the handlers in the test's own process and a clock that the test moves.

    async with WorkflowEnvironment([order_wf, payment_wf]) as env:
        handle = await env.client.start("Order", workflow_id="order-1", workflow_input={...})
        await env.advance(timedelta(hours=24))
        assert await handle.result() == "timed out"

Everything but time and processes is as in production: the core, the commits, the socket, the client, the checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import wfctl
from wfctl.client import Client
from wfctl.errors import RegistrationError, from_data
from wfctl.protocol import channel
from wfctl.sdk.sources import Sources
from wfctl.sdk.workflow import Workflow
from wfctl.values.runinfo import RunInfo
from wfctl.values.times import to_ms
from wfd.config import Config
from wfd.engine.backend import Backend
from wfd.engine.engine import Engine
from wfd.engine.executions import CRASH_LIMIT
from wfd.runtime.clock import ManualClock
from wfd.runtime.ids import IdSource
from wfd.runtime.lifecycle import Services
from wfd.runtime.lock import StateLock
from wfd.server import Server
from wfd.store.store import Store
from wfd.supervisor.catalog import Catalog
from wfd.supervisor.contract import Listener, Unanswered, WorkerInfo
from wfd.supervisor.steps import Steps
from wfd.worker import branches
from wfd.worker.execute import HIDDEN, Executor

# How long `settle` waits in real time for handlers that wait for something real.
PATIENCE_S = 10.0
_LONG = {"sleep", "resume", "task_attempt_failed", "child_result"}
_TURN_S = 0.0005
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
        self.run, self.answer = self._steps.run, self._steps.answer
        self.cancel, self.abandon = self._steps.cancel, self._steps.abandon
        self.limit, self.demand = self._steps.limit, self._steps.demand
        self.lined_up = self._steps.lined_up
        self.waits_for_turn = self._steps.waits_for_turn

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
        runner = _Runner(self._heard, self._told, self.catalog)
        loop = asyncio.get_running_loop()
        runner.executor = Executor(
            self._workflows, self._sources, runner.said, loop, self._clock.now_ms, self._time_limit
        )
        self._runner = runner
        self._steps.share_out()

    @contextlib.asynccontextmanager
    async def _time_limit(self, ms: int | None) -> AsyncIterator[asyncio.Timeout]:
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
            self._steps.heard(runner, message)
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
    def running(self) -> int:
        return sum(len(runner.steps) for runner in self._alive)

    def workers(self) -> list[WorkerInfo]:
        return [WorkerInfo(os.getpid(), self.catalog.generation, self.running, self.catalog.loaded_at)]


class _Runner:
    """`wfd.supervisor.steps.Runner`: messages cross in the next turn of the loop, as they would a socket."""

    executor: Executor
    full = held = False

    def __init__(
        self,
        heard: Callable[[_Runner, channel.ToDaemon], None],
        told: Callable[[channel.ToWorker], None],
        catalog: Catalog,
    ) -> None:
        self.steps: set[int] = set()
        self.asked: set[int] = set()
        self.generation, self.source = catalog.generation, catalog.source_hash
        self.pid = os.getpid()
        self.heard = heard
        self.told = told

    def send(self, message: channel.ToWorker) -> None:
        self.told(message)
        asyncio.get_running_loop().call_soon(self.executor.receive, message)

    def said(self, message: channel.ToDaemon) -> None:
        asyncio.get_running_loop().call_soon(lambda: self.heard(self, message))

    def kill(self, why: str) -> None:
        """A test's own process is not killed: a handler that does not let go is the test's to end."""


class WorkflowEnvironment:
    """An engine for tests, as an async context manager. `client` is a real `Client`.

    `workflows` are served; `now` is where the clock starts (default: 2030-01-01 UTC), and it moves only with `advance`.
    `path` keeps the database in that folder, so that a second environment can go on with it; by default it is thrown away.
    `seed` makes run IDs repeatable. `limits` are as [workflows.limits]: how many steps of a type execute at once.
    """

    client: Client

    def __init__(
        self,
        workflows: Iterable[Workflow],
        *,
        now: datetime | None = None,
        path: os.PathLike[str] | str | None = None,
        seed: int = 0,
        limits: Mapping[str, int] | None = None,
    ) -> None:
        start = now or datetime(2030, 1, 1, tzinfo=UTC)
        self.clock = ManualClock(round(start.timestamp() * 1_000))
        self._workflows = list(workflows)
        self._path = None if path is None else Path(path)
        self._seed = seed
        self._limits = dict(limits or {})
        self._exit = contextlib.AsyncExitStack()

    async def __aenter__(self) -> WorkflowEnvironment:
        try:
            await self._start()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exit.aclose()

    async def _start(self) -> None:
        # A socket's name is short, so it never lives in a test's deep folder.
        private = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="wfctl-")))
        folder = self._path or private
        folder.mkdir(parents=True, exist_ok=True)
        config = Config(
            project=folder, file=folder / "wfctl.toml", state=folder, socket=private / "d" / "wfd.sock", workers=1,
            crash_limit=CRASH_LIMIT, durability="full", modules=(), path=(), python=Path(sys.executable), reload=False,
            limits=self._limits, sources=_DEFAULTS,
        )  # fmt: skip
        self.store = Store(config.database)
        self.workers = LocalWorkers(self._workflows, self.clock, Path.cwd())
        self.workers.limit(self._limits)
        self.engine = Engine(
            self.store, self.workers, self.clock, IdSource(self.clock, self._seed), crash_limit=config.crash_limit
        )
        self.workers.listen(self.engine)
        lock = StateLock(config.lock)
        lock.acquire(config.socket)
        self._exit.callback(lock.release)
        self.backend = Backend(self.engine, config, lambda _: None)
        server = Server(
            config.socket,
            self.backend,
            lock,
            version=wfctl.__version__,
            schema=self.store.schema_version,
            project=str(folder),
        )
        services = Services(
            [("store", self.store), ("workers", self.workers), ("engine", self.engine), ("server", server)]
        )
        await services.start()
        self._exit.push_async_callback(services.stop)
        self.client = await Client.connect(socket=config.socket)
        self.client._now_ms = self.clock.now_ms
        self._exit.push_async_callback(self.client.close)

    @property
    def now(self) -> datetime:
        """What the clock shows."""
        return datetime.fromtimestamp(self.clock.now_ms() / 1_000, UTC)

    async def advance(self, by: timedelta) -> None:
        """Move the clock; what falls due on the way happens in its order, each with its consequences, before this returns."""
        end = self.clock.now_ms() + to_ms(by)
        await self.settle()
        while (due := self.clock.next_due_ms()) is not None and due <= end:
            self.clock.advance(max(due - self.clock.now_ms(), 0))
            await self.settle()
        self.clock.advance(end - self.clock.now_ms())
        await self.settle()

    async def settle(self) -> None:
        """Wait until nothing happens any more without time passing, or handlers wait for something real for too long."""
        loop = asyncio.get_running_loop()
        patience = loop.time() + PATIENCE_S
        quiet = 0
        while quiet < 3 and loop.time() < patience:
            await self.store.writer.flush()
            await asyncio.sleep(_TURN_S)
            # A step that is queued while no handler is awake waits for time to pass as well.
            busy = self.workers.awake or self.engine.busy
            quiet = 0 if busy else quiet + 1

    async def crash(self) -> None:
        """Kill the worker: the steps that run begin again in another."""
        self.workers.lose()
        await self.settle()

    def load(self, workflows: Iterable[Workflow]) -> None:
        """Replace the code, as saving the file does."""
        self.workers.replace(workflows)


_DEFAULTS: dict[str, Any] = dict.fromkeys(
    (
        "state",
        "workers",
        "crash_limit",
        "durability",
        "modules",
        "path",
        "python",
        "reload",
        "limits",
        "socket",
        "retention",
    ),
    "default",
)
