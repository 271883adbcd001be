"""Followers: told that something changed, they read what it was from the disk.

A notice carries nothing, so a slow follower costs nothing and misses nothing: it reads on from the last revision it saw.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from wfctl.protocol.views import CodeView
from wfd.engine.batch import Change


class Follower:
    """Wakes when a committed change touches a tree in `roots` (any, where None)."""

    def __init__(self, roots: set[int] | None) -> None:
        self.roots = roots
        self.ended = False
        self._changed = asyncio.Event()

    def notice(self, roots: set[int]) -> None:
        if self.roots is None or not self.roots.isdisjoint(roots):
            self._changed.set()

    def wake(self) -> None:
        self._changed.set()

    def end(self) -> None:
        self.ended = True
        self.wake()

    async def changed(self) -> None:
        """Returns when something has changed since the last call, or the hub has closed."""
        await self._changed.wait()
        self._changed.clear()


class Hub:
    """Who follows, the newest committed revision, and the last that there was to say of the user's code."""

    def __init__(self) -> None:
        self.rev = 0
        self.code: CodeView | None = None
        self._followers: set[Follower] = set()
        self._closed = False

    def follow(self, roots: set[int] | None) -> Follower:
        follower = Follower(roots)
        if self._closed:
            follower.end()
        self._followers.add(follower)
        return follower

    def leave(self, follower: Follower) -> None:
        self._followers.discard(follower)

    def changed(self, changes: Iterable[Change], rev: int) -> None:
        self.touched({change.live.run.root for change in changes} if self._followers else set(), rev)

    def touched(self, roots: set[int], rev: int) -> None:
        """Something that is committed now concerns the trees in `roots`."""
        self.rev = max(self.rev, rev)
        for follower in self._followers:
            follower.notice(roots)

    def code_changed(self, code: CodeView) -> None:
        """Other code serves, or something else is wrong with it: that concerns everybody."""
        self.code = code
        for follower in self._followers:
            follower.wake()

    def close(self) -> None:
        self._closed = True
        for follower in self._followers:
            follower.end()
