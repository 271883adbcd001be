"""What goes on: entries and notices as they come, and waits. Across restarts of the daemon, for as long as the client puts up
with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from msgspec.structs import replace

from wfctl.client.connection import Link
from wfctl.client.faults import stopping
from wfctl.client.patience import Patience
from wfctl.errors import DaemonDownError
from wfctl.protocol import calls, views

T = TypeVar("T")
FindIds = Callable[[], Awaitable[list[str]]]


class _Attempts:
    """One after another, on as many connections. `lost` returns when it is time for the one after that of `began`, or raises why
    there is none."""

    def __init__(self, link: Link) -> None:
        self.now = asyncio.get_running_loop().time
        self._patience = Patience(link.reconnect_s)

    async def lost(self, began: float, error: DaemonDownError, deadline: float | None = None) -> None:
        now = self.now()
        self._patience.lost(began, now)
        if self._patience.over(now) or (deadline is not None and now >= deadline):
            raise error
        await asyncio.sleep(self._patience.delay_s())


async def _persist(link: Link, attempt: Callable[[], AsyncGenerator[T, None]]) -> AsyncGenerator[T, None]:
    attempts = _Attempts(link)
    while True:
        began = attempts.now()
        try:
            async with aclosing(attempt()) as items:
                async for item in items:
                    yield item
            return
        except DaemonDownError as error:
            await attempts.lost(began, error)


async def outcome_of(link: Link, call: calls.Result) -> views.Outcome:
    """The answer to a call that waits. The wait is one however many daemons it takes."""
    attempts: _Attempts | None = None
    now = asyncio.get_running_loop().time
    began = now()
    deadline = None if call.timeout_ms is None else began + call.timeout_ms / 1_000
    while True:
        try:
            outcome: views.Outcome = await link.call(call)
            return outcome
        except DaemonDownError as error:
            attempts = attempts or _Attempts(link)
            await attempts.lost(began, error, deadline)
        began = now()
        if deadline is not None:
            call = replace(call, timeout_ms=max(round((deadline - now()) * 1_000), 0))


class Tail(AsyncIterator[views.HistoryEntry]):
    """Entries of histories, each once, in the order in which they were committed. Made by `Client.tail` and `ClientHandle.watch`.

    `rev` is the revision it has come to: that of the newest entry, and at the end of all that was looked at. One that is to go on
    there is `client.tail(..., since_rev=rev)`. When the iteration has ended by itself, `outcomes` tells of each run that was named
    how it stands. `aclose()` ends it early; so does to leave it alone.
    """

    def __init__(self, link: Link, call: calls.Tail, find: FindIds) -> None:
        self.rev = call.since_rev
        self.outcomes: list[views.Outcome] = []
        self._link = link
        self._call = call
        self._find = find
        self._found = False
        self._moved = False
        self._entries = _persist(link, self._attempt)

    def __aiter__(self) -> Tail:
        return self

    async def __anext__(self) -> views.HistoryEntry:
        return await anext(self._entries)

    async def aclose(self) -> None:
        """End it, at the daemon too. Twice is fine."""
        await self._entries.aclose()

    async def _attempt(self) -> AsyncGenerator[views.HistoryEntry, None]:
        if not self._found:
            # Once: a workflow ID may mean another run by the time a daemon is back.
            self._call = replace(self._call, ids=await self._find(), exact=True)
            self._found = True
        call = self._call
        if self._moved:
            call = replace(call, since_rev=self.rev, since_ms=None, last=None)
        async with self._link.stream(call) as entries:
            async for entry in entries:
                if entry.rev:  # progress is no place to go on after
                    self._move(entry.rev)
                yield entry
            end: calls.TailEnd = entries.answer
        self._move(end.rev)
        self.outcomes = end.outcomes
        if call.follow and (not end.outcomes or any(outcome.status.open for outcome in end.outcomes)):
            raise stopping()

    def _move(self, rev: int) -> None:
        self._moved, self.rev = True, max(self.rev or 0, rev)


async def changes(link: Link, call: calls.Watch, find: FindIds) -> AsyncGenerator[views.WatchItem, None]:
    """The notices of a watch."""
    found: list[str] | None = None
    rev = call.since_rev

    async def attempt() -> AsyncGenerator[views.WatchItem, None]:
        nonlocal found, rev
        if found is None:
            found = await find()
        async with link.stream(replace(call, ids=found, exact=True, since_rev=rev)) as notices:
            async for notice in notices:
                rev = notice.rev
                yield notice
            outcome: views.Outcome | None = notices.answer
        if outcome is None or outcome.status.open:
            raise stopping()

    async with aclosing(_persist(link, attempt)) as notices:
        async for notice in notices:
            yield notice
