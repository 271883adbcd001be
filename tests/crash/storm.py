"""Random `kill -9` of the daemon, its workers and its writer under a load of orders, with figures.

    python tests/crash/storm.py [--kills 1000] [--orders 5000] [--seed 1]

The same seed draws the same victims and pauses; what they hit is up to the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from crash.shop import Customers, Shop
from support.checker import broken_effects, broken_orders, broken_promises, missing
from support.effects import effects

LANES = 20
MOST_PAUSE_S = 0.25
CALM_S = 60
# How many of the new daemons are killed while they start, and how long that may take.
EARLY = 0.25
MOST_START_S = 0.5


@dataclass
class Figures:
    kills: int = 0
    of_the_daemon: int = 0
    before_it_was_ready: int = 0
    of_workers: int = 0
    of_the_writer: int = 0
    orders: int = 0
    steps_interrupted: int = 0
    effects: int = 0
    effects_repeated: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return "\n".join(f"{name.replace('_', ' '):>20}: {value}" for name, value in asdict(self).items())


class Storm:
    """`orders` in all, let in as the kills go on, so that each of them finds orders under way."""

    def __init__(self, shop: Shop, *, kills: int, orders: int, seed: int) -> None:
        self.shop = shop
        self.kills = kills
        self.orders = orders
        self.rng = random.Random(seed)
        self.figures = Figures()
        self.customers = Customers(shop)
        self._numbers = iter(range(orders))
        self._let_in = asyncio.Semaphore(0)

    async def run(self) -> Figures:
        begun = time.monotonic()
        await asyncio.to_thread(self.shop.serve)
        load = asyncio.gather(*(self._lane() for _ in range(LANES)))
        try:
            let_in = 0
            while (kill := self.figures.kills) < self.kills:
                let_in = self._open(let_in, (kill + 1) * self.orders // (self.kills + 1))
                # Not a wait for anything: the moment of the next kill is drawn.
                await asyncio.wait({load}, timeout=self.rng.uniform(0, MOST_PAUSE_S))
                if load.done():
                    break
                await self._kill()
            self._open(let_in, self.orders)
            await asyncio.wait({load}, timeout=CALM_S)
        finally:
            # Orders that are not through by now are found missing.
            load.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await load
            await self.customers.leave()
        self.figures.seconds = round(time.monotonic() - begun, 1)
        return self._judged()

    def _open(self, before: int, upto: int) -> int:
        """Let orders in until there have been `upto`."""
        for _ in range(upto - before):
            self._let_in.release()
        return upto

    async def _lane(self) -> None:
        while True:
            await self._let_in.acquire()
            number = next(self._numbers, None)
            if number is None:
                # The others in the queue have nothing to wait for either.
                self._let_in.release()
                return
            await self.customers.order(number)
            if number == self.orders - 1:
                self._let_in.release()

    async def _kill(self) -> None:
        workers = self.shop.children()
        self.figures.kills += 1
        if not workers or self.rng.random() < 0.5:
            self.figures.of_the_daemon += 1
            await asyncio.to_thread(self.shop.end)
            await self._serve()
        else:
            victim = self.rng.choice(workers)
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                writes = b"wfd.store.apart" in Path(f"/proc/{victim}/cmdline").read_bytes()
                os.kill(victim, signal.SIGKILL)
                self.figures.of_the_writer += writes
                self.figures.of_workers += not writes

    async def _serve(self) -> None:
        """Start the daemon; now and then kill it once more, before it is ready."""
        starting = asyncio.create_task(asyncio.to_thread(self.shop.serve))
        before = self.shop.daemon
        if self.rng.random() < EARLY:
            await asyncio.wait({starting}, timeout=self.rng.uniform(0, MOST_START_S))
            if self.shop.daemon is not None and self.shop.daemon is not before:
                self.figures.kills += 1
                self.figures.of_the_daemon += 1
                self.figures.before_it_was_ready += not starting.done()
                self.shop.daemon.kill()
                await starting
                starting = asyncio.create_task(asyncio.to_thread(self.shop.serve))
        await starting

    def _judged(self) -> Figures:
        figures, database = self.figures, self.shop.database
        figures.orders = self.shop.completed()
        [(interrupted,)] = self.shop.sql("select count(*) from history where kind = 'step.interrupted'")
        assert isinstance(interrupted, int)
        figures.steps_interrupted = interrupted
        log = effects(self.shop.effects)
        figures.effects = len(log)
        figures.effects_repeated = sum(times - 1 for times in Counter(effect.key for effect in log).values())
        figures.broken = [
            *broken_promises(database),
            # Workers live on where the writer dies, and begin their steps again.
            *broken_effects(database, self.shop.effects, outlived=figures.of_the_writer > 0),
            *broken_orders(database, range(self.orders)),
            *missing(database, self.customers.acknowledged),
        ]
        return figures


def storm(folder: Path, *, kills: int, orders: int, seed: int) -> Figures:
    """One storm in a folder of its own."""
    shop = Shop(folder / "shop")

    async def run() -> Figures:
        return await Storm(shop, kills=kills, orders=orders, seed=seed).run()

    try:
        return asyncio.run(run())
    finally:
        shop.stop()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--orders", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wfctl-storm-") as folder:
        figures = storm(Path(folder), kills=options.kills, orders=options.orders, seed=options.seed)
    print(figures)
    return 1 if figures.broken or figures.kills < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())
