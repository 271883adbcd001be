"""What followers get: history as it commits, and notices that a tree has changed.

Both read committed rows from the last revision they gave out, so each entry comes once and in order, whatever was missed,
coalesced or slow in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec

from wfctl.protocol import calls, views
from wfd.engine.reads import Reads
from wfd.engine.watch import Hub
from wfd.runtime.clock import Clock

PAGE = 500


class Tail:
    """History entries of some runs, or of all. Ends at what is there now, or with `follow` when every named run is closed."""

    def __init__(self, reads: Reads, hub: Hub, call: calls.Tail) -> None:
        self._reads = reads
        self._call = call
        # Followed from the start, so that nothing that commits while the past is read goes unnoticed.
        self._follower = hub.follow(None)
        self._hub = hub
        self._rev = 0
        # What is wrong with the code already is told, what is right with it only when that changes.
        self._code = hub.code if hub.code is not None and not hub.code.problems else None
        self._named: list[int] = []
        self.answer = calls.TailEnd(rev=0, outcomes=[])

    async def __aiter__(self) -> AsyncIterator[views.HistoryEntry]:
        call = self._call
        self._named = [(await self._reads.resolve(text)).key for text in call.ids]
        if self._named:
            self._follower.roots = {await self._reads.root_of(key) for key in self._named}
        if call.since_rev is not None:
            self._rev = call.since_rev
        elif call.last is not None:
            newest = await self._reads.newest_rev()
            keys = await self._keys()
            for entry in await self._reads.last_entries(keys, call.last, call.logs):
                if entry.rev <= newest:
                    yield entry
            self._rev = newest
        while True:
            # How they stand is asked before their entries are read: what closed in between is then read once more.
            outcomes = [await self._reads.outcome(key) for key in self._named]
            async for entry in self._new():
                yield entry
            if call.code and call.follow and (notice := self._notice()) is not None:
                yield notice
            over = bool(outcomes) and all(outcome.status.closed for outcome in outcomes)
            if not call.follow or over or self._follower.ended:
                self.answer = calls.TailEnd(rev=self._rev, outcomes=outcomes)
                return
            await self._follower.changed()

    def _notice(self) -> views.HistoryEntry | None:
        """What there is to say of the code, where that has changed."""
        code = self._hub.code
        if code is None or code is self._code:
            return None
        self._code = code
        return views.HistoryEntry(
            rev=self._rev, run_id="", workflow_id="", seq=0, at=code.at, kind="code", data=msgspec.to_builtins(code)
        )

    async def _keys(self) -> set[int] | None:
        if not self._named:
            return None
        keys = set(self._named)
        if self._call.children:
            for key in self._named:
                keys.update(await self._reads.descendants(key))
        return keys

    async def _new(self) -> AsyncIterator[views.HistoryEntry]:
        """What came up to now. What comes while it is read is left for the next time: it may be of a child not in `keys`."""
        newest = await self._reads.newest_rev()
        keys = await self._keys()
        while self._rev < newest:
            entries = await self._reads.entries_since(keys, self._rev, PAGE, self._call.logs)
            for entry in entries:
                if entry.rev > newest:
                    break
                self._rev = entry.rev
                yield entry
            else:
                if len(entries) == PAGE:
                    continue
            self._rev = newest

    async def aclose(self) -> None:
        self._hub.leave(self._follower)


class Watch:
    """Notices of change in one run's tree (or anywhere), at most one per `every_ms`; the first at once."""

    def __init__(self, reads: Reads, hub: Hub, clock: Clock, call: calls.Watch) -> None:
        self._reads = reads
        self._hub = hub
        self._clock = clock
        self._call = call
        self._follower = hub.follow(None)
        self.answer: views.Outcome | None = None

    async def __aiter__(self) -> AsyncIterator[calls.WatchItem]:
        key = None
        if self._call.id is not None:
            key = (await self._reads.resolve(self._call.id)).key
            self._follower.roots = {await self._reads.root_of(key)}
        while True:
            outcome = None if key is None else await self._reads.outcome(key)
            code = self._hub.code
            yield calls.WatchItem(rev=self._hub.rev, problems=[] if code is None else code.problems)
            if self._follower.ended or (outcome is not None and outcome.status.closed):
                self.answer = outcome
                return
            await self._pause()
            await self._follower.changed()

    async def _pause(self) -> None:
        over = asyncio.Event()
        timer = self._clock.call_later(self._call.every_ms, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    async def aclose(self) -> None:
        self._hub.leave(self._follower)
