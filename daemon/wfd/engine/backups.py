"""A backup while the daemon works: the copy goes on in a thread, what it tells becomes a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from wfctl.errors import InvalidArgumentError
from wfctl.protocol import calls
from wfd.store.copy import Copy


class Backup:
    """`answer` is there once the iteration has ended. Closed before, the copy is given up and what it wrote is removed."""

    answer: calls.BackedUp

    def __init__(self, copy: Copy) -> None:
        self._copy = copy

    async def __aiter__(self) -> AsyncIterator[calls.Copied]:
        if not self._copy.target.is_absolute():
            raise InvalidArgumentError(f"the path of a backup must be absolute, not {str(self._copy.target)!r}")
        if "\0" in str(self._copy.target):
            raise InvalidArgumentError(f"no file can be called {str(self._copy.target)!r}")
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[calls.Copied | None] = asyncio.Queue()

        def tell(copied: int, total: int) -> None:
            loop.call_soon_threadsafe(told.put_nowait, calls.Copied(copied=copied, total=total))

        copying = loop.run_in_executor(None, self._copy.run, tell)
        copying.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (item := await told.get()) is not None:
                yield item
            self.answer = msgspec.convert(copying.result(), calls.BackedUp, from_attributes=True)
        finally:
            self._copy.stop()
            if not copying.done():
                # Its error, once it has given up, is nobody's any more.
                copying.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def aclose(self) -> None:
        self._copy.stop()
