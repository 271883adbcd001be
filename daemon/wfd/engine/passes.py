"""One pass over closed runs that may go: what it has before it, what it has done, and how much it rests.

While others write, what holds the writer is followed by a rest of `REST` times as long, and a read by one of `READ_REST` times:
then it hardly shows in how long they wait. But a pass is never to take less than `GONE` runs away for every `CLOSED` that close
in its course: where it is behind that, it does not rest, and as much goes in the next portion as it is behind. So one that keeps
up rests in full and goes in small portions, and one that does not departs from that by as much as it has to: down to no rest, and
up to portions that are worth the wait for the commits of a busy writer. And not less than `LOOKED` runs are looked at for every
one that closes while it is found what may go. Fewer runs then come due in the course of it all than go, and the next pass finds
less.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import msgspec

from wfd.store.purge import Rule

REST, READ_REST = 19, 6
GONE, CLOSED = 5, 4
LOOKED = 10
# Trees that are looked at, and barred, at a time; so many where it is behind.
TREES = 64
MOST_TREES = 512
# Rows of one portion: some milliseconds of the writer's time; where it is behind, so many at most.
PORTION_ROWS = 500
MOST_ROWS = 4_000


class Tally(msgspec.Struct):
    """What has been done so far."""

    total: int = 0
    trees: int = 0
    runs: int = 0
    held: int = 0
    freed_bytes: int = 0
    returned_bytes: int = 0


class Pass:
    """What goes by `rule`. `closed` counts the runs that close in the rule's statuses: the others stay, and are nothing to keep up
    with. With `each`, who takes them away tells of each tree. `looked` is at how many runs was looked for it."""

    def __init__(self, rule: Rule, closed: Callable[[], int], each: bool = False) -> None:
        self.rule = rule
        self.each = each
        self.tally = Tally()
        self.looked = 0
        self._roots: Iterator[int] | None = None
        self._closed = closed
        self._before = closed()

    def begin(self, roots: Iterator[int], total: int) -> None:
        """All has been looked at: these are the roots of the trees that may go, so many, the oldest first."""
        self._roots = roots
        self.tally.total = total
        self._before = self._closed()

    def next(self, trees: int | None = None) -> list[int]:
        """The roots of the next trees, so many or as many as are to be taken away at a time; empty at the end."""
        return list(itertools.islice(self._roots or (), trees or min(max(TREES, self.behind()), MOST_TREES)))

    def only(self, trees: int) -> int:
        """Go no further than so many trees; how many are left out by that."""
        more = max(self.tally.total - trees, 0)
        self.tally.total -= more
        self._roots = itertools.islice(self._roots or (), trees)
        return more

    def behind(self) -> int:
        """How many runs more should be gone by now."""
        return max(GONE * (self._closed() - self._before) // CLOSED - self.tally.runs, 0)

    def hurries(self) -> bool:
        """Whether there is no time to rest."""
        if self._roots is None:
            return self.looked < LOOKED * (self._closed() - self._before)
        return self.behind() > 0
