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
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import wfctl
from wfctl.client import Client
from wfctl.protocol import calls, views
from wfctl.sdk.workflow import Workflow
from wfctl.values.times import to_ms
from wfd.config import Config
from wfd.engine.backend import Backend
from wfd.engine.engine import Engine
from wfd.engine.executions import CRASH_LIMIT
from wfd.runtime.clock import ManualClock
from wfd.runtime.ids import IdSource
from wfd.runtime.lifecycle import Services
from wfd.runtime.lock import StateLock
from wfd.runtime.promise import Promise
from wfd.server import Server
from wfd.store.store import Store
from wfd.testing.outside import Outside
from wfd.testing.standstill import Standstill
from wfd.testing.workers import LocalWorkers

# How long `settle` waits in real time for handlers that wait for something real, and a result is awaited though nothing moves.
PATIENCE_S = 10.0
_TURN_S = 0.0005
# Turns in which nothing happens until that counts: where a handler runs, it may only be about to go on.
_QUIET_TURNS, _STILL_TURNS = 3, 20


class WorkflowEnvironment:
    """An engine for tests, as an async context manager. `client` is a real `Client`.

    `workflows` are served; `now` is where the clock starts (default: 2030-01-01 UTC), and it moves only with `advance`.
    `path` keeps the database in that folder, so that a second environment can go on with it; by default it is thrown away.
    `seed` makes run IDs repeatable. `limits` are as [workflows.limits]: how many steps of a type execute at once.

    Who awaits the result of a run that is stuck, or waits for what does not come, gets RunStuckError or NotFinishedError once
    nothing has moved for ten seconds of real time, on an event loop of asyncio's own. A wait with a `timeout` lasts as long.
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
        self.backend.result = Standstill(self.backend.result, self._moves, self._stands, PATIENCE_S).result
        self.backend.closing = _asks_result
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
        self._outside = Outside(asyncio.get_running_loop())
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
        """Wait until nothing happens any more without time passing, or handlers wait for something real for too long.

        Real are timers of the event loop, sockets, pipes and threads. A handler or task that waits for none of them, as for an
        `asyncio.Event` that nobody sets, waits for its timeout.
        """
        loop = asyncio.get_running_loop()
        patience = loop.time() + PATIENCE_S
        quiet, enough = 0, _QUIET_TURNS
        while quiet < enough and loop.time() < patience:
            await self.store.writer.flush()
            await asyncio.sleep(_TURN_S)
            awake = self.workers.awake
            # A step that is queued while no handler is awake waits for time to pass as well.
            busy = self.engine.busy or (awake and (self.workers.busy or self._outside.moves(patience)))
            quiet, enough = 0 if busy else quiet + 1, _STILL_TURNS if awake else _QUIET_TURNS

    def _moves(self) -> bool:
        """Whether anything may still come: what the handlers wait for, or what the test itself does."""
        return self.engine.busy or self.workers.busy or self._outside.moves(float("inf"), anyone=True)

    def _stands(self) -> object:
        """What is another whenever something has come, also from another process: that may be over before it is seen."""
        return self.engine.hub.rev, self.clock.now_ms(), self.workers.catalog.generation

    async def crash(self) -> None:
        """Kill the worker: the steps that run begin again in another."""
        self.workers.lose()
        await self.settle()

    def load(self, workflows: Iterable[Workflow]) -> None:
        """Replace the code, as saving the file does."""
        self.workers.replace(workflows)


def _asks_result(call: calls.Result) -> Promise[views.Outcome] | None:
    """There is no short way past `Backend.result`."""
    return None


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
