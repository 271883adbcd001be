"""Threads for plain `def` handlers: each has one to itself until it ends, and few of them compute at a time.

More would hardly leave the loop a turn between them. One that waits for an operation does not count: those that wait for how a
child ends could else keep the child from ever beginning. How many there are at all is for who hands them over.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any

from wfctl.errors import UsageError
from wfctl.protocol.channel import Pong
from wfctl.sdk.current import CurrentStep
from wfctl.sdk.threads import Outcome, settle
from wfd.worker.live import LiveOps

# Handlers that compute, or block in code that is not ours, before no other begins.
COMPUTING = 64
# Threads that have nothing to do and are kept: starting one costs more than many a handler does.
KEPT = 64
# How long until it is tried again where the system allows no other thread.
RETRY_S = 0.1
# Of those that compute while others wait, as many are named.
MOST_NAMED = 3

_log = logging.getLogger("wfd.worker")

Work = Callable[[], Outcome]
_Desk = queue.SimpleQueue[tuple[Work, "asyncio.Future[Outcome]"] | None]


class Pool:
    """Called on the loop's thread alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._computing: dict[Turn, None] = {}
        # Those that have not begun, in their order.
        self._line: dict[Turn, asyncio.Future[None]] = {}
        # Those, and those that wait for the system to start their thread, by token.
        self.beginning: dict[int, Turn] = {}
        self._short = False
        # Of what a thread looks at as well.
        self._lock = threading.Lock()
        self._idle: list[_Desk] = []
        self._closed = False

    def turn(self, token: int) -> Turn:
        return Turn(self, token)

    @property
    def computes(self) -> bool:
        """Whether any handler runs that does not wait for an operation."""
        return bool(self._computing)

    @property
    def waiting(self) -> dict[int, float]:
        """The tokens of those that wait until fewer compute, and since when (time of the loop), in their order."""
        return {turn.token: turn.since for turn in self._line}

    def pong(self, number: int, tasks: list[float]) -> Pong:
        """What there is to say of those that wait, and of `tasks`, which have waited for a thread since then."""
        handlers = self.waiting
        room = max(COMPUTING - len(self._computing) - len(handlers), 0)
        if not handlers and not tasks:
            return Pong(number, room)
        now = self._loop.time()
        held_ms = int((now - min(*handlers.values(), *tasks, now)) * 1_000)
        by = [turn.token for turn in self._computing]
        return Pong(number, room, len(handlers), len(tasks), held_ms, by[:MOST_NAMED])

    def close(self) -> None:
        """Let go of the threads; those that still run a handler are not waited for."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for desk in idle:
            desk.put(None)

    # -- who computes ---------------------------------------------------------------------------

    async def enter(self, turn: Turn) -> None:
        if turn.hurried or (len(self._computing) < COMPUTING and not self._line):
            return
        turn.since = self._loop.time()
        called = self._line[turn] = self._loop.create_future()
        try:
            await called
        finally:
            self._line.pop(turn, None)

    def call(self, turn: Turn) -> None:
        called = self._line.pop(turn, None)
        if called is not None and not called.done():
            called.set_result(None)
            turn.enters()

    def count(self, turn: Turn, computes: bool) -> None:
        if computes:
            self._computing[turn] = None
        else:
            del self._computing[turn]
        while self._line and len(self._computing) < COMPUTING:
            self.call(next(iter(self._line)))

    # -- its threads ----------------------------------------------------------------------------

    async def thread(self) -> _Desk:
        """Where to put work for a thread that has none."""
        while True:
            with self._lock:
                if self._idle:
                    return self._idle.pop()
            try:
                desk: _Desk = queue.SimpleQueue()
                threading.Thread(target=self._serve, args=(desk,), name="wfctl-handler", daemon=True).start()
                self._short = False
                return desk
            except RuntimeError as error:
                if not self._short:
                    self._short = True
                    _log.warning("plain `def` handlers wait: %s; let the system allow this process more threads", error)
                await asyncio.sleep(RETRY_S)

    def _serve(self, desk: _Desk) -> None:
        kept = True
        while kept and (found := desk.get()) is not None:
            work, ended = found
            outcome = work()
            with self._lock:
                kept = not self._closed and len(self._idle) < KEPT
                if kept:
                    self._idle.append(desk)
            try:
                self._loop.call_soon_threadsafe(settle, ended, outcome)
            except RuntimeError:
                pass  # the loop has closed: nobody waits any more
            del found, work, ended, outcome  # or they would live until there is more to do


class Turn:
    """One handler's. `begin` it, `run` the handler, and `end` it."""

    def __init__(self, pool: Pool, token: int) -> None:
        self._pool = pool
        self.token = token
        self.since = 0.0
        self._desk: _Desk | None = None
        self.hurried = False
        self._operations = 0
        self._here = False
        self._computes = False

    async def begin(self) -> None:
        """Wait until the handler may run, and for its thread. A cancellation ends the waiting."""
        self._pool.beginning[self.token] = self
        try:
            await self._pool.enter(self)
            self.enters()
            self._desk = await self._pool.thread()
        finally:
            del self._pool.beginning[self.token]

    def hurry(self) -> None:
        """Begin whoever else computes."""
        self.hurried = True
        self._pool.call(self)

    def run(self, work: Work) -> asyncio.Future[Outcome]:
        """What `work` returns, which it does whatever happens in it. Cancelling drops it."""
        assert self._desk is not None
        ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._desk.put((work, ended))
        return ended

    async def waits(self, operation: Coroutine[Any, Any, Any]) -> Any:
        """What `operation` returns, for which a thread of the handler's waits. It goes on at once: it may hold what others need."""
        self._operations += 1
        self._count()
        try:
            return await operation
        finally:
            self._operations -= 1
            self._count()

    def enters(self) -> None:
        self._here = True
        self._count()

    def end(self) -> None:
        self._here = False
        self._count()

    def _count(self) -> None:
        computes = self._here and not self._operations
        if computes != self._computes:
            self._computes = computes
            self._pool.count(self, computes)


class ThreadedStep(CurrentStep, eq=False, kw_only=True):
    """The step of a plain `def` handler, which has a turn.

    Its operations come one after the other from the handler's own thread: of those that come at once, or from several threads,
    a replay could not tell whose is whose, since nothing tells the callers apart but the time at which they call.
    """

    live: LiveOps
    turn: Turn

    def _ask(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        if (where := self._elsewhere()) is not None:
            work.close()
            raise UsageError(
                f"{self.live.handler.label} asks for an operation {where}: when the step is repeated, it could get the result "
                "of another",
                hint="ask for one after the other in the handler's own thread; for several at once make it an `async def` "
                "handler and use asyncio.gather, where plain `def` tasks run in threads too",
            )
        return self._cross(work)

    def _elsewhere(self) -> str | None:
        if threading.get_ident() != self.live.thread:
            return "in a thread that it made"
        running = asyncio._get_running_loop()
        if running is None:
            return None
        alone = asyncio.all_tasks(running) == {asyncio.current_task(running)}
        if alone and (self.asked is None or self.asked.done()):
            return None
        return "beside others, in an event loop of its own"

    def _cross(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return super()._cross(self.turn.waits(work))
