"""A service that does something now and then, one time after the other."""

from __future__ import annotations

import abc
import asyncio

from wfd.runtime.clock import Clock, TimerHandle
from wfd.runtime.lifecycle import Service


class Periodic(Service):
    """`_look` is called when what was armed is due, never twice at a time; it returns after how many ms it is to be called again,
    None: when it is armed."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._timer: TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._again = False

    @abc.abstractmethod
    async def _look(self) -> int | None: ...

    def arm(self, delay_ms: int) -> None:
        """Look after so long, instead of when it was to be."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(delay_ms, self._wake)

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()

    def _wake(self) -> None:
        self._timer = None
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        else:
            self._again = True

    async def _run(self) -> None:
        self._again = False
        delay_ms = await self._look()
        if self._again:
            delay_ms = 0
        if delay_ms is not None and self._timer is None:
            self.arm(delay_ms)
