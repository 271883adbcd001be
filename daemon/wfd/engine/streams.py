"""What followers get: history as it commits, and notices that a tree has changed.

Both read committed rows from the last revision they gave out, so each entry comes once and in order, whatever was missed,
coalesced or slow in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import msgspec

from wfctl.errors import RunNotFoundError
from wfctl.protocol import calls, views
from wfctl.values.kinds import CODE, LOG, PROGRESS, RECORDS, chosen_kinds
from wfd.engine.changes import Changes
from wfd.engine.reads import Reads
from wfd.engine.watch import Hub, Report
from wfd.runtime.clock import Clock
from wfd.store.rows import Scope

PAGE = 500


class Tail:
    """History entries of some runs, or of all. Ends at what is there now, or with `follow` when every named run is closed."""

    def __init__(self, reads: Reads, hub: Hub, call: calls.Tail) -> None:
        self._reads = reads
        self._call = call
        kinds = chosen_kinds(call.kinds) if call.kinds else None
        self._records = None if kinds is None else [kind for kind in kinds if kind in RECORDS]
        self._logs = call.logs and (kinds is None or LOG in kinds)
        self._tells_code = call.code and call.follow and (kinds is None or CODE in kinds)
        self._tells_progress = call.progress and call.follow and (kinds is None or PROGRESS in kinds)
        # Followed from the start, so that nothing that commits while the past is read goes unnoticed.
        self._follower = hub.follow(None, reports=self._tells_progress)
        self._hub = hub
        self._rev = 0
        # What is wrong with the code already is told, what is right with it only when that changes.
        self._code = hub.code if hub.code is not None and not hub.code.problems else None
        self._named: list[int] = []
        self._ended: dict[int, views.Outcome] = {}
        self._whole_trees = False
        self._scope = Scope()
        self.answer = calls.TailEnd(rev=0, outcomes=[])

    async def __aiter__(self) -> AsyncIterator[views.HistoryEntry]:
        call = self._call
        self._named = [(await self._reads.resolve(text, exact=call.exact)).key for text in call.ids]
        if self._named:
            roots = {await self._reads.root_of(key) for key in self._named}
            self._follower.roots = roots
            self._whole_trees = call.children and roots == set(self._named)
        async for entry in self._begin():
            yield entry
        while True:
            for entry in self._reported(ended=True):
                yield entry
            if self._follower.committed:
                # How they stand is asked before their entries are read: what closed in between is then read once more.
                standing = [await self._standing(key) for key in self._named]
                async for entry in self._new():
                    yield entry
                if self._tells_code and (notice := self._notice()) is not None:
                    yield notice
                for entry in self._reported(ended=False):
                    yield entry
                over = bool(standing) and all(
                    isinstance(one, RunNotFoundError) or one.status.closed for one in standing
                )
                if not call.follow or over or self._follower.ended:
                    self.answer = calls.TailEnd(rev=self._rev, outcomes=_outcomes(standing))
                    return
            await self._follower.changed()

    async def _standing(self, key: int) -> views.Outcome | RunNotFoundError:
        """How a run stands, or stood when it was purged; the error where it closed and was purged without having been seen so."""
        try:
            outcome = await self._reads.outcome(key)
        except RunNotFoundError as error:
            return self._ended.get(key, error)
        if outcome.status.closed:
            self._ended[key] = outcome
        return outcome

    async def _begin(self) -> AsyncIterator[views.HistoryEntry]:
        """The newest of what there is, where that is asked for; and where to go on."""
        call, reads = self._call, self._reads
        self._rev = call.since_rev or 0
        if call.since_ms is not None:
            self._rev = max(self._rev, await reads.rev_before(call.since_ms))
        if call.last is not None:
            newest = await reads.newest_rev()
            self._scope = await self._find()
            for entry in await reads.last_entries(
                self._scope, call.last, rev=self._rev, logs=self._logs, kinds=self._records
            ):
                if entry.rev <= newest:
                    yield entry
            self._rev = max(self._rev, newest)
        # A step that runs may have reported before: where it is now is told once the past has been.
        if self._tells_progress:
            for report in self._hub.reports.values():
                if self._follower.roots is None or report.root in self._follower.roots:
                    self._follower.reports.setdefault(report.run, report)

    def _notice(self) -> views.HistoryEntry | None:
        """What there is to say of the code, where that has changed."""
        code = self._hub.code
        if code is None or code is self._code:
            return None
        self._code = code
        return views.HistoryEntry(
            rev=self._rev, run_id="", workflow_id="", seq=0, at=code.at, kind=CODE, data=msgspec.to_builtins(code)
        )

    def _reported(self, *, ended: bool) -> list[views.HistoryEntry]:
        """What steps of runs that are known reported last. What is of runs not yet heard of waits until their start is told.

        With `ended` also where the step is over meanwhile: its end has not been told yet, and the last report comes before it.
        """
        waiting, self._follower.reports = self._follower.reports, {}
        told = []
        for key, report in waiting.items():
            if not self._follows(report):
                if ended:
                    self._follower.reports[key] = report
            elif ended or key in self._hub.reports:
                data = msgspec.to_builtins(report.progress)
                at = data.pop("at", 0)
                told.append(
                    views.HistoryEntry(
                        run_id=report.run_id, workflow_id=report.workflow_id, seq=0, at=at, kind=PROGRESS, data=data
                    )
                )
        return told

    def _follows(self, report: Report) -> bool:
        keys, roots = self._scope.keys, self._scope.roots
        if roots is not None:
            return report.root in roots
        if keys is not None:
            return report.run in keys
        return not self._named

    async def _find(self) -> Scope:
        """Whose entries are told: whole trees cost nothing to name, parts of them are looked up each time."""
        if not self._named:
            return Scope()
        if self._whole_trees:
            return Scope(roots=tuple(self._named))
        keys = set(self._named)
        if self._call.children:
            for key in self._named:
                keys.update(await self._reads.descendants(key))
        return Scope(keys=tuple(keys))

    async def _new(self) -> AsyncIterator[views.HistoryEntry]:
        """What came up to now. What comes while it is read is left for the next time: it may be of a child not in the scope."""
        newest = await self._reads.newest_rev()
        self._scope = await self._find()
        while self._rev < newest:
            entries = await self._reads.entries_since(
                self._scope, self._rev, PAGE, logs=self._logs, kinds=self._records
            )
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


def _outcomes(standing: Iterable[views.Outcome | RunNotFoundError]) -> list[views.Outcome]:
    outcomes = []
    for one in standing:
        if isinstance(one, RunNotFoundError):
            raise one
        outcomes.append(one)
    return outcomes


class Watch:
    """Notices of change in the trees of some runs (or anywhere), at most one per `every_ms`; the first at once."""

    def __init__(self, reads: Reads, hub: Hub, clock: Clock, call: calls.Watch) -> None:
        self._reads = reads
        self._hub = hub
        self._clock = clock
        self._call = call
        self._follower = hub.follow(None, reports=call.progress)
        self.answer: views.Outcome | None = None

    async def __aiter__(self) -> AsyncIterator[calls.WatchItem]:
        call = self._call
        keys = [(await self._reads.resolve(id, exact=call.exact)).key for id in (call.id, *call.ids) if id is not None]
        roots = {await self._reads.root_of(key) for key in keys}
        if keys:
            self._follower.roots = roots
        changes = None
        if call.changes:
            rev = await self._reads.newest_rev() if call.since_rev is None else call.since_rev
            changes = Changes(roots, set(keys), rev)
        while True:
            outcome = await self._standing(keys)
            code = self._hub.code
            problems = [] if code is None else code.problems
            if changes is None:
                # Nothing has been committed yet where the daemon has just begun.
                yield calls.WatchItem(rev=self._hub.rev or await self._reads.newest_rev(), problems=problems)
            else:
                async for found in self._reads.changes(changes):
                    yield calls.WatchItem(rev=changes.rev, problems=problems, changes=found)
            self._follower.reports.clear()
            if self._follower.ended or (outcome is not None and outcome.status.closed):
                self.answer = outcome
                return
            await self._pause()
            await self._follower.changed()

    async def _standing(self, keys: list[int]) -> views.Outcome | None:
        """The outcome of one of these runs: of one that is open, while there is one."""
        outcome = None
        for key in keys:
            outcome = await self._reads.outcome(key)
            if outcome.status.open:
                break
        return outcome

    async def _pause(self) -> None:
        over = asyncio.Event()
        timer = self._clock.call_later(self._call.every_ms, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    async def aclose(self) -> None:
        self._hub.leave(self._follower)
