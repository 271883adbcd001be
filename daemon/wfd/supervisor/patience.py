"""How long an import may take, module by module."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from wfd.runtime.clock import Clock
from wfd.supervisor.worker import Worker

# An import of one module that takes longer is taken for one that never ends.
LOAD_MS = 30_000
# The other modules wait for one so long.
APART_MS = 5_000


class Patience:
    """`late(worker)` hears of a worker whose module takes longer than the others wait for it; that goes on until its own time is
    over, when the worker is killed."""

    def __init__(self, clock: Clock, late: Callable[[Worker], object]) -> None:
        self._clock = clock
        self._late = late

    def begin(self, worker: Worker) -> None:
        """The worker has been told what to load."""
        worker.importing_since = self._clock.now_ms()
        self._clock.call_later(LOAD_MS, partial(self._endless, worker))
        self._clock.call_later(APART_MS, partial(self._look, worker))

    def _endless(self, worker: Worker) -> None:
        # Each module has so long.
        left_ms = worker.importing_since + LOAD_MS - self._clock.now_ms()
        if left_ms > 0:
            self._clock.call_later(left_ms, partial(self._endless, worker))
        elif not worker.ready and not worker.leaving:
            worker.endless_ms = LOAD_MS
            worker.kill(f"importing the modules took longer than {LOAD_MS // 1_000} s")

    def _look(self, worker: Worker) -> None:
        if worker.ready or worker.leaving:
            return
        at, now = worker.importing, self._clock.now_ms()
        left_ms = (worker.importing_since if at is not None and at.module else now) + APART_MS - now
        if left_ms <= 0:
            self._late(worker)
        self._clock.call_later(left_ms if left_ms > 0 else APART_MS, partial(self._look, worker))
