"""Deadlines. They live in an indexed column; memory holds only the nearest one.

A timer is a hint: it says that time has passed, and the run's own state says whether anything is due. So a timer that fires
twice, late, or for a run that has moved on does no harm, and a restart needs nothing but one query.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection

from wfctl.errors import StorageError
from wfd.runtime.clock import Clock, TimerHandle
from wfd.store.reader import Reader

log = logging.getLogger("wfd.engine")

# Runs that are woken at a time, and are on disk before the next are: those who ask for something meanwhile come between.
BATCH = 100
# A run that is due on disk but whose unit is on its way is looked at again after this.
AGAIN_MS = 20
# A disk that could not be read is tried again after this.
RETRY_MS = 1_000


class Timers:
    """Calls `fire(keys)` with runs that are due. Nothing before the first `arm_soon`, nothing after `stop`.

    Those that are `aside` stay due for ever, and are passed over.
    """

    def __init__(
        self,
        reader: Reader,
        clock: Clock,
        fire: Callable[[list[int]], Awaitable[None]],
        aside: Collection[int] = (),
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._fire = fire
        self._aside = aside
        self._timer: TimerHandle | None = None
        self._at: int | None = None
        self._armed = False
        self._again = False
        self._task: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return self._task is not None and not self._task.done()

    def note(self, wake_at: int) -> None:
        """A committed run wants to be woken at `wake_at` (UTC epoch ms)."""
        if self._armed and (self._at is None or wake_at < self._at):
            self._set(wake_at)

    def arm_soon(self) -> None:
        """Begin, by finding the nearest deadline on disk."""
        self._armed = True
        self._wake()

    def pause(self) -> None:
        self._armed = False
        self._clear()

    def stop(self) -> None:
        self.pause()
        if self._task is not None:
            self._task.cancel()

    def _clear(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._at = None, None

    def _set(self, at: int) -> None:
        self._clear()
        self._at = at
        self._timer = self._clock.call_at(at, self._wake)

    def _wake(self) -> None:
        self._clear()
        if self.busy:
            # What is due now may have been committed after the task has looked.
            self._again = True
        elif self._armed:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            nearest = await self._look()
        except StorageError as error:
            log.warning("the deadlines could not be looked at: %s; this is tried again", error.message)
            nearest = self._clock.now_ms() + RETRY_MS
        except Exception:
            log.exception("the deadlines could not be looked at; this is tried again")
            nearest = self._clock.now_ms() + RETRY_MS
        if nearest is not None:
            self.note(max(nearest, self._clock.now_ms() + AGAIN_MS))

    async def _look(self) -> int | None:
        """Fire for what is due, and return when the next is."""
        while True:
            self._again = False
            await self._run_due()
            now = self._clock.now_ms()
            nearest = await self._reader.next_wake()
            if nearest is not None and nearest <= now and self._aside:
                due = await self._reader.due(now, len(self._aside) + 1)
                if all(key in self._aside for _, key in due):
                    nearest = await self._reader.next_wake(now)
            if not self._again:
                return nearest

    async def _run_due(self) -> None:
        """Fire for everything that is due now, oldest deadline first."""
        after = (0, 0)
        while page := await self._reader.due(self._clock.now_ms(), BATCH, after):
            after = page[-1]
            await self._fire([key for _, key in page if key not in self._aside])
