"""How many connections there are, whether one more is let in, and how many calls each may have under way."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from wfctl.errors import ConflictError

log = logging.getLogger("wfd.server")

# Connections of all programs together, of which the last are for programs that have none yet: however many one of them leaves
# open, `wfctl` gets through.
MAX_CONNECTIONS = 1_000
KEPT_FREE = 50
# Of the files that the daemon may open so many are for connections, with those that are being refused; the rest is for workers
# and the database.
SHARE_OF_FILES = 4
# Calls of all connections that are under way at once, as far as each has the least; the next are read when one of them is answered,
# so that nobody who asks for ten thousand things in one breath, over one connection or twenty, holds up the others: each turn of
# the loop, and each commit, has so many of theirs in it.
ALL_CALLS = 128
LEAST_CALLS = 2
# Starts of all connections that may be under way whatever else is: what the engine does by itself is no reason to take none.
LEAST_STARTS = 16
# Of one connection so many may be more than starts that only wait for the disk: they read, or ask a worker, as others do too.
MAX_TASKS = 32


class Connections:
    """`calling` is how many of them have calls under way, `starts` how many starts these have, `held` what hears those on that
    have asked for more than their share. `left()` is how many more starts there should be under way."""

    def __init__(
        self, left: Callable[[], int] = lambda: ALL_CALLS, most: int = MAX_CONNECTIONS, kept_free: int = KEPT_FREE
    ) -> None:
        self.most = most
        self._left = left
        self._kept_free = kept_free
        self._of: Counter[int] = Counter()
        self._told = False
        self.calling = self.starts = 0
        self._hearing = False
        self.held: set[Callable[[], None]] = set()

    def rests(self) -> None:
        """One of them has no more calls under way: the others may have more."""
        self.calling -= 1
        self.hear_on()

    def eased(self) -> None:
        """More starts may be left than before."""
        if self.held and self._left() > 0:
            self.hear_on()

    def hear_on(self) -> None:
        """There may be room for what some of them have asked for."""
        if self.held and not self._hearing:
            self._hearing = True
            asyncio.get_running_loop().call_soon(self._hear_all)

    def _hear_all(self) -> None:
        self._hearing = False
        for hear in list(self.held):
            hear()

    def room(self, calls: int, tasks: int) -> bool:
        """Whether a connection that has so many calls under way, and so many tasks for them, may have one more."""
        return tasks < MAX_TASKS and (calls < LEAST_CALLS or calls < ALL_CALLS // (self.calling or 1))

    def room_to_start(self, starts: int) -> bool:
        """Whether one that has so many starts under way may have one more: they share what keeps everything busy, beyond which
        nothing gets faster."""
        if starts < LEAST_CALLS:
            return True
        calling = self.calling or 1
        return starts < LEAST_STARTS // calling or starts < (self.starts + self._left()) // calling

    def limit(self, files: int) -> None:
        """The daemon may open so many files."""
        self.most = min(self.most, files // SHARE_OF_FILES)

    def enter(self, pid: int) -> ConflictError | None:
        """One more, of this program; why it is not to stay, if it is not. `leave` in any case."""
        self._of[pid] += 1
        taken = self._of.total() - 1
        of_it = self._of[pid] - 1
        if taken < self.most and (not of_it or taken < self.most - min(self._kept_free, self.most // 4)):
            self._told = False
            return None
        if not self._told:
            self._told = True
            log.warning(
                "connections are refused: %d are open, %d of them to pid %d, which asks for one more", taken, of_it, pid
            )
        return ConflictError(
            f"{taken:,} connections to the daemon are open already, {of_it:,} of them to this program",
            hint="close some, or let each program use one Client for all its calls",
        )

    def leave(self, pid: int) -> None:
        self._of[pid] -= 1
        if self._of[pid] <= 0:
            del self._of[pid]
