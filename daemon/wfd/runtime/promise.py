"""An answer that is to come, for one who waits for it in no coroutine: what a future is for that costs more than twice as much."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")


class Promise(msgspec.Struct, Generic[T], eq=False):
    """Once it is `done` it has its `value`, or an `error`, or was `cancelled`; `given_up` is told of that at once."""

    loop: asyncio.AbstractEventLoop
    value: T | None = None
    given_up: Callable[[Promise[T]], None] | None = None
    error: BaseException | None = None
    done: bool = False
    cancelled: bool = False
    _then: Callable[[Promise[T]], None] | None = None
    _future: asyncio.Future[T] | None = None

    def then(self, call: Callable[[Promise[T]], None]) -> None:
        """Once it is done, call `call` with it, as a future would its callback: at the next turn of the loop, in the order in which
        promises and futures were kept. One is called, the last that was given."""
        self._then = call
        if self.done:
            self.loop.call_soon(call, self)

    def end(self, error: BaseException | None = None) -> None:
        """It is kept, with its value as that is now, or never will be; once that is so, or it is cancelled, nothing changes it."""
        if self.done:
            return
        self.done = True
        if error is not None:
            self.error = error
        if self._then is not None:
            self.loop.call_soon(self._then, self)
        if self._future is not None:
            self._tell(self._future)

    def cancel(self) -> None:
        """Nobody waits any more."""
        if not self.done:
            self.cancelled = True
            if self.given_up is not None:
                self.given_up(self)
            self.end()

    def future(self) -> asyncio.Future[T]:
        """The same for a coroutine."""
        if self._future is None:
            self._future = self.loop.create_future()
            if self.done:
                self._tell(self._future)
        return self._future

    def _tell(self, future: asyncio.Future[Any]) -> None:
        if future.done():  # by a coroutine that was cancelled
            return
        if self.cancelled:
            future.cancel()
        elif self.error is None:
            future.set_result(self.value)
        else:
            future.set_exception(self.error)
            future.exception()  # or it is logged where one waits for no more than that it is over


# What somebody has been promised, with or without a coroutine at work on it.
Promised = Promise[Any] | asyncio.Future[Any]


def future_of(call: Promised) -> asyncio.Future[Any]:
    """For who waits for either kind."""
    return call.future() if isinstance(call, Promise) else call
