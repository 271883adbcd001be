"""One life of the simulated daemon: the real engine, on the world's disk, with workers of its own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol

from support.sim.ledger import Ledger, Request
from support.sim.loop import Life
from support.sim.store import Store, Weather
from support.sim.workers import Machine, SimWorkers
from wfctl.errors import WfctlError
from wfctl.protocol import calls
from wfd.core.invariants import violations
from wfd.core.records import encode
from wfd.engine.batch import Batch
from wfd.engine.commands import Commands
from wfd.engine.engine import Engine
from wfd.engine.reads import Reads
from wfd.engine.retries import Retries
from wfd.engine.sending import Sending
from wfd.runtime.ids import IdSource
from wfd.supervisor import Unanswered


class World(Machine, Weather, Protocol):
    """What a daemon needs of the world around it."""

    disk: Any
    ledger: Ledger


class SimReads(Reads):
    """What commands and operations need of the read side, from the simulated disk."""

    async def descendants(self, key: int) -> list[int]:
        found: list[int] = await self._reader.descendants(key)  # type: ignore[attr-defined]
        return found


class SimEngine(Engine):
    """The real engine; every decision is looked at before it is submitted."""

    ledger: Ledger

    def commit(self, batch: Batch, *then: Any, **named: Any) -> None:
        for change in batch.changes:
            run = change.decision.run
            if self.ledger.trace is not None:
                records = " ".join(f"{record.KIND}{encode(record)}" for record in change.decision.records)
                self.ledger.note(f"decide {run.workflow_id} [{run.key}] {change.decision.before}+ {records}")
            for what in violations(run):
                self.ledger.holds(False, what)
        super().commit(batch, *then, **named)


class Daemon:
    """`up` once it takes requests. `end` is kill -9."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self.life = Life()
        self.up = False
        self._waiting: list[tuple[Request, asyncio.Future[None]]] = []
        self.life.context.run(self._make, number)

    def _make(self, number: int) -> None:
        world = self._world
        store: Any = Store(world.disk, world.loop, world)
        self.workers = SimWorkers(world, world.chance.randint(1, 3))
        self.engine = SimEngine(store, self.workers, world.clock, IdSource(world.clock, f"{world.seed}/{number}"))
        self.engine.ledger = world.ledger
        # Little room: runs leave memory and come back from the disk all the time.
        self.engine.memory._idle_limit = world.chance.choice((1, 1, 3, 2_048))
        # Drawn apart, as the limits are.
        self.engine.memory.parked.most_queued = random.Random(f"queues of {world.seed}/{number}").choice((1, 2, 1_000))
        self.engine.inboxes.most_events = random.Random(f"inboxes of {world.seed}/{number}").choice((1, 3, 10_000))
        self.engine.reads = SimReads(store.reader, world.clock)
        self._commands = Commands(self.engine)
        self._retries = Retries(self.engine, self._commands)
        self._sending = Sending(self.engine, self._commands)
        world.loop.create_task(self._start())

    async def _start(self) -> None:
        self.workers.listen(self.engine)
        try:
            await self.engine.start()
        except WfctlError as error:
            # As `wfd` does, it gives up; somebody starts it again.
            self._world.ledger.note(f"the daemon does not start: {error!r}")
            self._world.loop.call_soon(self._world.crash)
            return
        self.up = True
        follower = self.engine.hub.follow(None)
        while not follower.ended:
            await follower.changed()
            if self.engine.hub.rev > self._world.disk.rev:
                self._world.broken("followers are told of a revision that is not on disk")

    # -- requests ------------------------------------------------------------------------------

    def ask(self, request: Request) -> asyncio.Future[None]:
        """The future is done when the client has its answer, or has lost the connection."""
        world = self._world
        future: asyncio.Future[None] = world.loop.create_future()
        self._waiting.append((request, future))
        world.loop.after_us(world.message_us(), self._serve, request, future, context=self.life.context)
        return future

    def _serve(self, request: Request, future: asyncio.Future[None]) -> None:
        self._world.loop.create_task(self._carry_out(request, future))

    async def _carry_out(self, request: Request, future: asyncio.Future[None]) -> None:
        world, call = self._world, request.call
        world.ledger.note("client {}: {}", request.client, call)
        owners = {calls.Retry: self._retries, calls.Send: self._sending}
        verb: Callable[[Any], Any] = getattr(owners.get(type(call), self._commands), type(call).__name__.lower())
        answer, error = None, None
        try:
            answer = await verb(call)
            world.ledger.acknowledged(call, answer)
        except WfctlError as raised:
            error = raised
            world.ledger.note("refuse {}: {!r}", call, raised)
            if raised.code == WfctlError.code and not isinstance(raised, Unanswered):
                world.broken(f"{call} is refused for no reason that there is: {raised!r}")
        except Exception as raised:  # as the server would, it tells the client of an error inside
            error = raised
            world.broken(f"{call} failed inside: {raised!r}")
        world.loop.after_us(world.message_us(), self._told, request, future, answer, error, context=world.context)

    def _told(self, request: Request, future: asyncio.Future[None], answer: Any, error: Exception | None) -> None:
        if not future.done():
            request.answer, request.error = answer, error
            self._waiting.remove((request, future))
            future.set_result(None)

    # -- its end -------------------------------------------------------------------------------

    def end(self) -> None:
        self.up = False
        self.life.end()
        for request, future in self._waiting:
            # The answer may be on the wire: who hears first is not known.
            world = self._world
            world.loop.after_us(world.message_us(), self._lost, request, future, context=world.context)

    def _lost(self, request: Request, future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)

    def stop(self, then: Callable[[], None]) -> None:
        """As `wfctl down` does: no more commands, what is on its way is written, then the end."""
        self.up = False
        self._world.loop.create_task(self._stop(then), context=self.life.context)

    async def _stop(self, then: Callable[[], None]) -> None:
        await self.engine.stop()
        try:
            await self.engine.store.writer.flush()
        except WfctlError:
            self._world.ledger.note("stopped with a disk that fails")
        self._world.loop.call_soon(then, context=self._world.context)
