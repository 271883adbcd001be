"""One worker that has started and waits to be told what to load.

Starting an interpreter takes longer than importing most projects, so with a spare new code serves in a fraction of the time.
It has imported nothing of the user's, and runs nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from wfctl.errors import reason
from wfd.config import Config
from wfd.runtime.clock import Clock, TimerHandle
from wfd.supervisor.worker import Worker

log = logging.getLogger("wfd.supervisor")

# A spare is started when there is nothing more urgent to do any more.
AFTER_MS = 300


class Spare:
    """`make(config)` is a worker that is not started. `take` hands it over; another takes its place after `AFTER_MS`."""

    def __init__(self, clock: Clock, make: Callable[[Config], Worker]) -> None:
        self._clock = clock
        self._make = make
        self._worker: Worker | None = None
        self._ready = False
        self._timer: TimerHandle | None = None
        self._task: asyncio.Task[Any] | None = None

    def want(self, config: Config) -> None:
        """Have one for `config` soon, if its project is reloaded as files change; else none."""
        self._clear()
        if config.reload:
            self._timer = self._clock.call_later(AFTER_MS, lambda: self._start(config))
        else:
            self._drop()

    def take(self, config: Config) -> Worker | None:
        """A started worker for `config`, which is the caller's from now on; None where there is none."""
        worker = self._worker
        if worker is None or not self._ready or worker.config.python != config.python:
            return None
        self._worker = None
        return worker

    def lost(self, worker: Worker) -> bool:
        """The worker has ended. True where it was the spare, which nobody else needs to hear of."""
        if worker is not self._worker:
            return False
        self._worker = None
        return True

    async def stop(self) -> None:
        self._clear()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        worker = self._worker
        self._drop()
        if worker is not None:
            await worker.gone()

    def _clear(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _drop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None and self._ready:
            worker.leaving = True
            worker.kill("it is not needed")

    def _start(self, config: Config) -> None:
        self._timer = None
        if self._worker is not None:
            if self._worker.config.python == config.python:
                return
            self._drop()
        self._ready = False
        self._worker = self._make(config)
        self._task = asyncio.get_running_loop().create_task(self._started(self._worker))

    async def _started(self, worker: Worker) -> None:
        try:
            await worker.start()
        except OSError as error:
            # Whoever needs a worker at once will say so; this one was only for later.
            log.info("no spare worker: %s", reason(error))
            if self._worker is worker:
                self._worker = None
            return
        worker.started_at = self._clock.now_ms()
        if self._worker is worker:
            self._ready = True
        else:
            worker.leaving = True
            worker.kill("it is not needed")
