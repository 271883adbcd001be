"""The event loop of a trial: asyncio's own, which raises audit events (uvloop does not), and which knows what it waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any


class TrialLoop(asyncio.SelectorEventLoop):
    """Knows of the timers and of the calls in threads that the code on it waits for."""

    def __init__(self) -> None:
        super().__init__()
        self._timers: set[asyncio.TimerHandle] = set()
        self._calls: set[asyncio.Future[Any]] = set()

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        self._timers.add(handle)
        return handle

    def nap(self, delay_s: float) -> asyncio.Future[None]:
        """A pause that does not count as something the code waits for."""
        over: asyncio.Future[None] = self.create_future()
        super().call_at(self.time() + delay_s, _end, over)
        return over

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        call = super().run_in_executor(executor, func, *args)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call

    @property
    def expecting(self) -> bool:
        """Whether a timer or a call in a thread may still move the code on."""
        now = self.time()
        self._timers = {timer for timer in self._timers if not timer.cancelled() and timer.when() > now}
        return bool(self._timers or self._calls)


def _end(nap: asyncio.Future[None]) -> None:
    if not nap.done():
        nap.set_result(None)
