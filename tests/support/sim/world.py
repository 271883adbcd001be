"""One seed from beginning to end: clients and faults for a while, then calm, a last restart, and what must hold then."""

from __future__ import annotations

import contextvars
import logging
import random
from collections import Counter
from collections.abc import Callable

import msgspec

from support.sim.clients import Client
from support.sim.clock import SimClock
from support.sim.daemon import Daemon
from support.sim.disk import Disk
from support.sim.ledger import Ledger
from support.sim.loop import Loop
from support.sim.plans import TYPES, Planner
from support.sim.promises import at_rest, kept
from support.sim.timetables import lay_out
from wfctl.errors import StorageError
from wfd.supervisor.catalog import Catalog

TURNS = 60_000
# Until when things go wrong: sometimes in the middle of it all, sometimes long after.
CALM_US = (100_000, 400_000, 1_000_000, 3_000_000, 6_000_000)


class World:
    """`run` returns what was broken, in words; nothing where every promise was kept. `frames`: all that a worker has said by then
    is heard in one turn of the daemon's loop."""

    def __init__(self, seed: int | str, *, trace: list[str] | None = None, frames: bool = False) -> None:
        self.seed = seed
        self.frames = frames
        self.chance = random.Random(seed)
        self.context = contextvars.copy_context()
        self.loop = Loop()
        self.clock = SimClock(self.loop, self.chance)
        self.disk = Disk()
        self.problems: list[str] = []
        self.ledger = self.watcher = Ledger(self.disk, self.clock, self.loop, self.broken)
        self.ledger.trace = trace
        self.planner = Planner(self.chance)
        self.catalog = Catalog(1, self.planner.types, source_hash="g1")
        # Drawn apart, so that a seed's story is the same without them.
        limits = random.Random(f"limits of {seed}")
        self.limits = {name: limits.randint(1, 2) for name in TYPES if limits.random() < 0.3}
        lay_out(self.disk, random.Random(f"schedules of {seed}"))
        self.daemon: Daemon | None = None
        self.calm = False
        # What went wrong, and how often.
        self.fortune: Counter[str] = Counter()
        self._lives = 0
        self._full_until = 0
        self._slow = self.chance.choice((0, 1, 4))
        self._unreadable = self.chance.choice((0.0, 0.0, 0.0, 0.01))
        self._unsteady = self.chance.choice((0.0, 0.0, 0.005, 0.02, 0.05))

    def run(self) -> list[str]:
        loop = self.loop
        noise = _Noise(self.broken)
        try:
            self._boot()
            for number in range(self.chance.randint(1, 4)):
                client = Client(self, number)
                loop.call_soon(self._begin, client, self.chance.randint(2, 9))
            calm_us = self.chance.choice(CALM_US)
            for _ in range(self.chance.choice((0, 1, 2, 4, 6))):
                loop.at_us(self.chance.randrange(calm_us), self._fault)
            loop.at_us(calm_us, self._come_to_rest)
            self._go_on("the first time")
            if not self.problems:
                self._crash_now()
                loop.call_soon(self._boot)
                self._go_on("after the last restart")
            return self.problems
        finally:
            if self.daemon is not None:
                self.daemon.end()
            noise.end()
            loop.close()

    def _go_on(self, when: str) -> None:
        if not self.loop.run(TURNS) and not self.loop.stopped:
            self.problems.append(f"it does not come to rest {when}")
        self.problems += self.loop.problems
        if not self.problems:
            assert self.daemon is not None
            self.problems += [f"{what} ({when})" for what in (*kept(self.disk, self.ledger), *at_rest(self))]

    def broken(self, what: str) -> None:
        self.ledger.note(f"BROKEN: {what}")
        self.problems.append(what)
        self.loop.stopped = True

    def _begin(self, client: Client, commands: int) -> None:
        self.loop.create_task(client.live(commands))

    # -- the daemon's lives --------------------------------------------------------------------

    def _boot(self) -> None:
        if self.daemon is None:
            self._lives += 1
            self.ledger.note(f"daemon {self._lives} begins")
            self.daemon = Daemon(self, self._lives)

    def crash(self) -> None:
        if self.daemon is not None:
            self._crash_now()
            self.loop.after_us(self.chance.choice((1_000, 100_000, 900_000)), self._boot, context=self.context)

    def _crash_now(self) -> None:
        daemon, self.daemon = self.daemon, None
        assert daemon is not None
        self.ledger.note("daemon is killed")
        daemon.end()

    # -- faults --------------------------------------------------------------------------------

    def _fault(self) -> None:
        faults: tuple[Callable[[], None], ...] = (
            self.crash,
            self.crash,
            self._stop,
            self._lose_worker,
            self._lose_worker,
            self._set_clock,
            self._fill_disk,
            self._reload,
            self._reload,
        )
        fault = self.chance.choice(faults)
        self._happens(fault.__name__.strip("_"))
        fault()

    def _happens(self, what: str) -> None:
        self.fortune[what] += 1
        self.ledger.note(f"-- {what}")

    def _stop(self) -> None:
        daemon = self.daemon
        if daemon is not None and daemon.up:
            daemon.stop(lambda: self.crash() if self.daemon is daemon else None)

    def _lose_worker(self) -> None:
        if self.daemon is not None:
            self.loop.call_soon(self.daemon.workers.lose_one, context=self.daemon.life.context)

    def _set_clock(self) -> None:
        self.clock.step(self.chance.choice((-3_600_000, -2_000, -50, 50, 2_000, 3_600_000)))

    def _fill_disk(self) -> None:
        self._full_until = self.loop.now_us + self.chance.choice((1, 300_000, 1_500_000))

    def _reload(self) -> None:
        """Usually something is missing in the new code, until the next reload."""
        types = dict(self.planner.types)
        if self.chance.random() < 0.7:
            name = self.chance.choice(sorted(types))
            if self.chance.random() < 0.3:
                del types[name]
            else:
                kept = [spec for spec in types[name].handlers if spec.kind == "start" or self.chance.random() < 0.6]
                types[name] = msgspec.structs.replace(types[name], handlers=tuple(kept))
        self._serve(types)

    def _serve(self, types: dict[str, object]) -> None:
        number = self.planner.generation = self.catalog.generation + 1
        self.catalog = Catalog(number, types, source_hash=f"g{number}")  # type: ignore[arg-type]
        if self.daemon is not None:
            self.loop.call_soon(self.daemon.workers.load, self.catalog, context=self.daemon.life.context)

    def _come_to_rest(self) -> None:
        """From here on nothing goes wrong any more, and all code is there."""
        self._happens("come_to_rest")
        self.calm = self.planner.calm = True
        self._serve(dict(self.planner.types))

    # -- what the disk is like -----------------------------------------------------------------

    def wake_us(self) -> int:
        return self.chance.choice((0, 0, 40, 300 * self._slow))

    def commit_us(self) -> int:
        return self.chance.choice((100, 1_000, 6_000 * self._slow))

    def read_us(self) -> int:
        return self.chance.choice((0, 0, 0, 100, 3_000 * self._slow))

    def message_us(self) -> int:
        return self.chance.choice((0, 50, 200, 3_000 * self._slow))

    def at_most(self) -> int:
        return self.chance.choice((1, 1, 3, 1_000))

    def fate(self) -> str:
        if self.calm:
            return "well"
        if self.loop.now_us < self._full_until:
            return "fails"
        draw = self.chance.random()
        if draw < self._unsteady:
            fate = self.chance.choice(("crash_before", "crash_after", "fails", "fails_but_kept"))
            self._happens(fate)
            return fate
        return "well"

    def unreadable(self) -> bool:
        if self.calm or self.chance.random() >= self._unreadable:
            return False
        self._happens("unreadable")
        return True

    def heals(self) -> bool:
        return self.calm or self.loop.now_us >= self._full_until


class _Noise(logging.Handler):
    """What the engine logs as an unexpected error is a broken promise."""

    def __init__(self, broken: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._broken = broken
        self._logger = logging.getLogger("wfd")
        self._before = (self._logger.level, self._logger.propagate)
        self._logger.propagate = False
        self._logger.setLevel(logging.ERROR)
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        # That a read failed is no surprise here.
        if record.exc_info and not isinstance(record.exc_info[1], StorageError):
            trace = logging.Formatter().formatException(record.exc_info)
            self._broken(f"the engine logged: {record.getMessage()}\n{trace}")

    def end(self) -> None:
        self._logger.removeHandler(self)
        self._logger.setLevel(self._before[0])
        self._logger.propagate = self._before[1]
