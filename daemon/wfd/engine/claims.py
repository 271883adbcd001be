"""What one at a time may do: ask the disk whether there is something, and where there is not, have it come to be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Claims(Generic[T]):
    def __init__(self) -> None:
        self._held: dict[T, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def of(self, what: T) -> AsyncIterator[None]:
        """Hold it, once nobody else does."""
        while (busy := self._held.get(what)) is not None:
            await asyncio.wait([busy])
        mine = self._held[what] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._held[what]
            mine.set_result(None)
