"""Workers whose code serves no more: they finish what they have, and leave; for how long, and how many, is bounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from wfctl.protocol import channel
from wfd.runtime.clock import Clock
from wfd.supervisor.catalog import Generation
from wfd.supervisor.steps import Steps
from wfd.supervisor.trial import Trial
from wfd.supervisor.worker import Worker

log = logging.getLogger("wfd.supervisor")

# How long a worker whose code was replaced may go on with steps that have no timeout of their own, and of how many generations
# there may be such workers: after that, what they run begins again on the new code.
LEAVE_MS = 300_000
MOST_LEAVING = 4
# How long one that runs no step may take to leave: as long as a query is waited for.
IDLE_MS = 30_000
# At a stop, one that runs no step has so long.
STOP_S = 2
_REPLACED = "its code was replaced"


class Leaving:
    """`workers` are all there are, the oldest first."""

    def __init__(self, clock: Clock, workers: Sequence[Worker], steps: Steps) -> None:
        self._clock = clock
        self._workers = workers
        self._steps = steps
        # Those whose time to leave is limited.
        self._replaced: set[Worker] = set()

    def give_way(self, trial: Trial, serving: Mapping[int, Generation], workers: Iterable[Worker]) -> None:
        """The code of `trial` has loaded, and these generations serve now: those of `workers` that are of another leave."""
        for other in [one for one in workers if one.generation not in serving]:
            if not other.leaving:
                self.dismiss(other)
            if other.ready and trial.replaces(other, serving.values()):
                self._replace(other)
        self._thin_out()

    def dismiss(self, worker: Worker) -> None:
        """The worker's generation serves no more: it finishes what it has, and leaves."""
        worker.leaving = True
        if not worker.ready:
            worker.kill(_REPLACED)
            return
        worker.send(channel.Stop())
        self._look(worker, idle=False)

    def _replace(self, worker: Worker) -> None:
        """What serves now is other code than that of a worker that leaves: it has so long, counted from the first time."""
        if worker not in self._replaced:
            self._replaced.add(worker)
            self._clock.call_later(LEAVE_MS, partial(self._steps.move, worker, _REPLACED, timed=False))

    async def end_all(self, why: str) -> None:
        """Every worker, whatever it serves: at once those that still run something."""
        workers = list(self._workers)
        for worker in workers:
            if worker.steps:
                worker.kill(why)
            else:
                worker.send(channel.Stop())
        for worker in workers:
            try:
                await asyncio.wait_for(worker.gone(), STOP_S)
            except TimeoutError:
                worker.kill(why)
                await worker.gone()

    def _thin_out(self) -> None:
        """Of the oldest code, where code was replaced again and again, what still runs is moved."""
        busy = [one for one in self._workers if one.leaving and one.steps]
        newest = sorted({one.generation for one in busy})[-MOST_LEAVING:]
        for one in busy:
            if one.generation not in newest:
                log.warning("worker %d is of old code and still busy; what it runs begins again on the new", one.pid)
                self._steps.move(one, _REPLACED, timed=True)

    def _look(self, worker: Worker, *, idle: bool) -> None:
        """End the worker if it had nothing to do the last time either: it does not even hear that it is to leave."""
        if worker not in self._workers:
            self._replaced.discard(worker)
            return
        if idle and not worker.steps:
            worker.kill(_REPLACED)
        else:
            self._clock.call_later(IDLE_MS, partial(self._look, worker, idle=not worker.steps))
