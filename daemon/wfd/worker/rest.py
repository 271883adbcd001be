"""Waiting until the branches of a handler have come to rest: for some turns of the loop, none of them has asked for anything."""

from __future__ import annotations

import asyncio
import heapq
import sys
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from wfctl.protocol.channel import OpDone

# The places of what was begun and has no outcome, after all that has one, and of what is new.
BEGUN, LAST = sys.float_info.max, float("inf")
_QUIET_TURNS = 20
_SELDOM_S = 0.005


class InTurn(msgspec.Struct, eq=False):
    """Gives answers out one at a time, each once the branches had their turns after the one before: as a replay tells them, whose
    order would else be another where several come at once."""

    _late: deque[OpDone] | None = None
    _quiet: int = 0

    @property
    def idle(self) -> bool:
        return self._late is None

    @property
    def holds(self) -> bool:
        """Whether an answer that has come is not given out yet."""
        return bool(self._late)

    def take(self, answer: OpDone, give: Callable[[OpDone], None], loop: asyncio.AbstractEventLoop) -> None:
        if self._late is None:
            self._late, self._quiet = deque(), 0
            give(answer)
            loop.call_soon(self._turn, give, loop)
        else:
            self._late.append(answer)

    def _turn(self, give: Callable[[OpDone], None], loop: asyncio.AbstractEventLoop) -> None:
        self._quiet += 1
        if self._quiet > _QUIET_TURNS:
            if not self._late:
                self._late = None
                return
            self._quiet = 0
            give(self._late.popleft())
        loop.call_soon(self._turn, give, loop)


class Rest(msgspec.Struct, eq=False):
    """Who waits for it goes on alone, the one with the lowest place first, for each may move the others. One look at the loop a
    turn serves all that wait. `passed` counts those that went on, `awaited` those that wait. `standing` are those that wait for
    another branch to ask for its record, which is at that place; until they are through, nothing goes on that has none."""

    passed: int = 0
    awaited: int = 0
    standing: dict[asyncio.Task[Any], float] = {}
    _held: bool = False
    _first: asyncio.Future[bool] | None = None
    _waiting: list[tuple[float, int, asyncio.Future[None]]] = []
    _came: int = 0
    _quiet: int = 0

    @property
    def tells(self) -> bool:
        """Whether one of them waits for its turn to be told something."""
        return bool(self._waiting) and self._waiting[0][0] < BEGUN

    def moved(self) -> None:
        """A branch asks, and may go on to ask for more."""
        self._quiet = 0

    async def come(self, place: float, then: Callable[[], None]) -> None:
        """Wait; `then` is called also where the wait is given up."""
        loop = asyncio.get_running_loop()
        mine: asyncio.Future[None] = loop.create_future()
        self._came += 1
        heapq.heappush(self._waiting, (place, self._came, mine))
        if len(self._waiting) == 1 or self._held:
            self._quiet, self._held = 0, False
            loop.call_soon(self._turn, loop)
        self.awaited += 1
        try:
            await mine
        finally:
            self.awaited -= 1
            then()

    @property
    def moves(self) -> bool:
        """Whether somebody waits who will go on by and by, whatever others do."""
        return self.awaited > 0 and not self._held

    @property
    def last(self) -> list[asyncio.Future[None]]:
        """What those wait for that come after all that has a place."""
        return [mine for place, _, mine in self._waiting if place == LAST]

    def stand(self, place: float) -> None:
        """The asker stands for the record at `place`."""
        me = asyncio.current_task()
        assert me is not None
        self.standing[me] = place

    def through(self) -> None:
        """The asker stands no more."""
        me = asyncio.current_task()
        assert me is not None
        self.standing.pop(me, None)
        if self._first is not None:
            _settle(self._first, True)
        if self._held and not self.standing:
            self._held = False
            loop = asyncio.get_running_loop()
            loop.call_soon(self._turn, loop)

    @property
    def is_first(self) -> bool:
        """Whether the asker is the first of those that stand."""
        me = asyncio.current_task()
        assert me is not None
        return self.standing[me] == min(self.standing.values())

    async def pause(self, seconds: float) -> bool:
        """For so long, or for the first of those that stand until another is through; True in that case. The others, each of whom
        has to look at all, look the more seldom the more they are."""
        if not self.is_first:
            await asyncio.sleep(max(seconds, _SELDOM_S * len(self.standing)))
            return False
        loop = asyncio.get_running_loop()
        changed: asyncio.Future[bool] = loop.create_future()
        self._first = changed
        timer = loop.call_later(seconds, _settle, changed, False)
        try:
            return await changed
        finally:
            timer.cancel()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        self._quiet += 1
        while self._waiting and (self._quiet > _QUIET_TURNS or self._waiting[0][2].done()):
            if self._waiting[0][0] == LAST and self.standing and not self._waiting[0][2].done():
                self._held = True
                return
            first = heapq.heappop(self._waiting)[2]
            if not first.done():  # else it was given up
                first.set_result(None)
                self.passed += 1
                self._quiet = 0
        if self._waiting:
            loop.call_soon(self._turn, loop)


def _settle(future: asyncio.Future[bool], value: bool) -> None:
    if not future.done():
        future.set_result(value)
