"""One pass over closed runs that may go: what it has before it, what it has done, and how much it rests.

While others write, what holds the writer is followed by a rest of `REST` times as long: then it does not show in how they wait.
But the rest ends as soon as `CLOSED` runs have closed for every `GONE` that are gone since the pass began to take away. So a pass
that keeps up rests in full, and one that does not rests as much less as it has to, down to nothing. Whatever the others do, fewer
runs close in the course of a pass than go; so the next finds less than this one did, or what came due in the pause before it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import msgspec

from wfd.store.purge import Rule

REST = 4
GONE, CLOSED = 5, 4


class Tally(msgspec.Struct):
    """What has been done so far."""

    total: int = 0
    trees: int = 0
    runs: int = 0
    held: int = 0
    freed_bytes: int = 0
    returned_bytes: int = 0


class Pass:
    """`roots` are those of the trees that may go by `rule`, the oldest first. `closed` counts the runs that close in the rule's
    statuses: the others stay, and are nothing to keep up with. With `each`, who takes them away tells of each tree."""

    def __init__(
        self, rule: Rule, tally: Tally, roots: Iterator[int], closed: Callable[[], int], each: bool = False
    ) -> None:
        self.rule = rule
        self.tally = tally
        self.each = each
        self._roots = roots
        self._closed = closed
        self._before = closed()

    def next(self, trees: int) -> list[int]:
        """The roots of the next so many trees; empty at the end."""
        return list(itertools.islice(self._roots, trees))

    def only(self, trees: int) -> int:
        """Go no further than so many trees; how many are left out by that."""
        more = max(self.tally.total - trees, 0)
        self.tally.total -= more
        self._roots = itertools.islice(self._roots, trees)
        return more

    def behind(self) -> bool:
        """Whether too many runs have closed for those that are gone."""
        return GONE * (self._closed() - self._before) > CLOSED * self.tally.runs
