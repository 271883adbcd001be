"""Followers: told that something changed, they read what it was from the disk.

A notice carries nothing, so a slow follower costs nothing and misses nothing: it reads on from the last revision it saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import msgspec

from wfctl.protocol.channel import Progress
from wfctl.protocol.views import CodeView, ProgressView
from wfd.engine.batch import Batch
from wfd.engine.memory import Live


class Report(msgspec.Struct, frozen=True):
    """How far the step that `run` (a key, in the tree of `root`) executes has got."""

    run: int
    root: int
    run_id: str
    workflow_id: str
    progress: ProgressView


class Follower:
    """Wakes when a committed change touches a tree in `roots` (any, where None); if it wants reports, when a run there makes one.

    `committed` is whether there is anything new on the disk since `changed` returned last; `reports` are the newest of each run.
    """

    def __init__(self, roots: set[int] | None, *, wants_reports: bool = False) -> None:
        self.roots = roots
        self._wants_reports = wants_reports
        self.ended = False
        self.committed = True
        self.reports: dict[int, Report] = {}
        self._changed = asyncio.Event()
        self._fresh = False

    def notice(self, roots: set[int]) -> None:
        if self.roots is None or not self.roots.isdisjoint(roots):
            self.wake()

    def wake(self) -> None:
        self._fresh = True
        self._changed.set()

    def report(self, report: Report) -> None:
        if self._wants_reports and (self.roots is None or report.root in self.roots):
            self.reports[report.run] = report
            self._changed.set()

    def end(self) -> None:
        self.ended = True
        self.wake()

    async def changed(self) -> None:
        """Returns when something has changed since the last call, or the hub has closed."""
        await self._changed.wait()
        self._changed.clear()
        self.committed, self._fresh = self._fresh, False


class Hub:
    """Who follows, the newest committed revision, the last that there was to say of the user's code, and the progress of the steps
    that run, by the key of their run. Progress is on no disk: whatever ends a step, or this process, ends it."""

    def __init__(self) -> None:
        self.rev = 0
        self.code: CodeView | None = None
        self.reports: dict[int, Report] = {}
        self._followers: set[Follower] = set()
        self._closed = False

    def follow(self, roots: set[int] | None, *, reports: bool = False) -> Follower:
        follower = Follower(roots, wants_reports=reports)
        if self._closed:
            follower.end()
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        self._followers.discard(follower)

    def committed(self, batches: Iterable[Batch], rev: int) -> None:
        """These are on the disk now, up to revision `rev`."""
        self.rev = max(self.rev, rev)
        if self._followers:
            roots = {root for batch in batches for root in batch.roots}
            for follower in self._followers:
                follower.notice(roots)

    def reopened(self, rev: int) -> None:
        """The disk has been looked at anew, and stands at revision `rev`: it may hold what nobody was told had been committed."""
        self.rev = max(self.rev, rev)
        for follower in self._followers:
            follower.wake()

    def progressed(self, live: Live, message: Progress, now_ms: int) -> None:
        """What the handler of a run says of its progress."""
        run = live.run
        view = ProgressView(done=message.done, total=message.total, note=message.note, at=now_ms)
        report = self.reports[run.key] = Report(run.key, run.root, run.run_id, run.workflow_id, view)
        for follower in self._followers:
            follower.report(report)

    def over(self, run: int) -> None:
        """The step has ended that may have reported."""
        self.reports.pop(run, None)

    def code_changed(self, code: CodeView) -> None:
        """Other code serves, or something else is wrong with it: that concerns everybody."""
        self.code = code
        for follower in self._followers:
            follower.wake()

    def close(self) -> None:
        self._closed = True
        for follower in self._followers:
            follower.end()
