"""Threads for the user's blocking functions: the loop goes on, and a call that nobody waits for any more holds up nothing."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

LIMIT = 64

Outcome = tuple[Any, BaseException | None]


class Threads:
    """Each call gets a thread of its own, at most `LIMIT` at a time; for one loop. `running` counts those somebody waits for.

    Not a pool: a call that was given up (it timed out) cannot be ended, and in a pool it would keep a thread from the others. The
    threads are daemonic, so that none of them holds the process.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(LIMIT)
        self.running = 0
        # Since when those wait that have none, in their order (time of the loop).
        self._line: dict[object, float] = {}

    @property
    def waiting(self) -> list[float]:
        return list(self._line.values())

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until a call may begin; it ends with the block, whether or not its thread does."""
        if self._free.locked():
            here = object()
            self._line[here] = asyncio.get_running_loop().time()
            try:
                await self._free.acquire()
            finally:
                del self._line[here]
        else:
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()

    async def run(self, call: Callable[[], Any], name: str, stays: Callable[[], bool] = lambda: False) -> Outcome:
        """What `call` returned or raised, with the context variables of the caller. Cancelling drops what comes of it, at once, or
        where the caller `stays`, when it has come; a second time does it at once."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Outcome] = loop.create_future()
        ended: asyncio.Future[Outcome] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            outcome = context.run(_outcome, call)
            try:
                loop.call_soon_threadsafe(settle, future, outcome)
                loop.call_soon_threadsafe(settle, ended, outcome)
            except RuntimeError:
                return  # the loop has closed: nobody waits any more

        threading.Thread(target=work, name=name, daemon=True).start()
        self.running += 1
        try:
            return await future
        except asyncio.CancelledError:
            if stays():
                await ended
            raise
        finally:
            self.running -= 1


def _outcome(call: Callable[[], Any]) -> Outcome:
    try:
        return call(), None
    except BaseException as error:
        return None, error


def settle(future: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not future.done():
        future.set_result(outcome)
