"""Waiting until the branches of a handler have come to rest: for some turns of the loop, none of them has taken a record."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec

_QUIET_TURNS = 20


class Rest(msgspec.Struct, eq=False):
    """Who waits for it goes on alone, in the order of coming, for each may move the others. One look at the loop a turn serves
    all that wait."""

    _waiting: deque[asyncio.Future[None]] = msgspec.field(default_factory=deque)
    _quiet: int = 0

    def moved(self) -> None:
        """A branch has taken a record, and may go on to ask for the next."""
        self._quiet = 0

    async def come(self) -> None:
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        self._waiting.append(mine)
        if len(self._waiting) == 1:
            self._quiet = 0
            loop.call_soon(self._turn, loop)
        await mine

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._quiet += 1
        while self._waiting and (self._quiet > _QUIET_TURNS or self._waiting[0].done()):
            first = self._waiting.popleft()
            if not first.done():  # else it was given up
                first.set_result(None)
                self._quiet = 0
        if self._waiting:
            loop.call_soon(self._turn, loop)
