"""Random clients: each does one thing after the other, and remembers what it was told."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from support.sim.daemon import Daemon
from support.sim.disk import Disk
from support.sim.ledger import Ledger, Request
from support.sim.loop import Loop
from support.sim.plans import EVENTS, POOL, TYPES
from wfctl.protocol import calls

_RETRY_US = 50_000
_THINK_US = (0, 0, 1_000, 20_000, 200_000, 600_000)


class World(Protocol):
    loop: Loop
    chance: random.Random
    disk: Disk
    ledger: Ledger
    daemon: Daemon | None
    calm: bool


class Client:
    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self._number = number
        self._sent = 0
        self._named: calls.Send | None = None

    async def live(self, commands: int) -> None:
        world = self._world
        for _ in range(commands):
            await world.loop.pause(world.chance.choice(_THINK_US))
            while (daemon := world.daemon) is None or not daemon.up:
                if world.calm:
                    return
                await world.loop.pause(_RETRY_US)
            request = Request(self._command(), self._number)
            world.ledger.requests.append(request)
            await daemon.ask(request)

    def _command(self) -> calls.Call:
        chance = self._world.chance
        commands: tuple[tuple[int, Callable[[], calls.Call]], ...] = (
            (30, self._start),
            (40, self._send),
            (6, lambda: calls.Cancel(id=self._id(), reason="enough", children=chance.random() < 0.4)),
            (6, lambda: calls.Terminate(id=self._id(), reason="now", children=chance.random() < 0.4)),
            (12, self._result),
            (6, lambda: calls.Query(id=self._id(), name="look")),
            (14, self._retry),
        )
        weights = [weight for weight, _ in commands]
        return chance.choices(commands, weights)[0][1]()

    def _payload(self) -> msgspec.Raw:
        self._sent += 1
        value: Any = {"n": f"c{self._number}.{self._sent}"}
        return msgspec.Raw(msgspec.json.encode(value))

    def _id(self) -> str:
        chance, runs = self._world.chance, self._world.disk.runs
        if runs and chance.random() < 0.6:
            row = runs[chance.choice(list(runs))]
            return row.workflow_id if chance.random() < 0.7 else row.run_id
        return chance.choice(POOL)

    def _start(self) -> calls.Call:
        chance = self._world.chance
        return calls.Start(
            workflow_type=chance.choice(TYPES),
            workflow_id=None if chance.random() < 0.2 else chance.choice(POOL),
            input=self._payload(),
            timeout_ms=chance.choice((None, None, None, 400, 2_500)),
            if_running=chance.choice(("fail", "use")),
            delay_ms=chance.choice((None, None, None, None, 0, 300)),
        )

    def _send(self) -> calls.Call:
        chance = self._world.chance
        if self._named is not None and chance.random() < 0.5:
            return self._named  # once more, whatever became of it
        payload = self._payload()
        first = calls.StartFirst(workflow_type=chance.choice(TYPES), input=self._payload())
        call = calls.Send(
            id=self._id(),
            event=chance.choice(EVENTS),
            payload=payload,
            event_id=bytes(payload).decode() if chance.random() < 0.2 else None,
            start=first if chance.random() < 0.1 else None,
        )
        self._named = call if call.event_id is not None else self._named
        return call

    def _retry(self) -> calls.Call:
        """Usually of what can be retried."""
        chance = self._world.chance
        failed = [
            row.run_id for row in self._world.disk.runs.values() if row.status in ("failed", "timed_out", "stuck")
        ]
        return calls.Retry(
            id=chance.choice(failed) if failed and chance.random() < 0.8 else self._id(),
            from_step=chance.choice((None, None, None, "begin", "s1", "e1", "2")),
            dry_run=chance.random() < 0.1,
        )

    def _result(self) -> calls.Call:
        chance = self._world.chance
        return calls.Result(
            id=self._id(),
            wait=chance.random() < 0.7,
            timeout_ms=chance.choice((0, 100, 2_000)),
            stuck=chance.random() < 0.5,
        )
