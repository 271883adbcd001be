"""Many bars of one name on one row of a timeline, with those that went wrong under it: counts before contents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from wfctl.cli.render.bars import Bar


class Row(msgspec.Struct, kw_only=True):
    """A line of the picture: one bar, or all of one kind and name where there are many. `more`: so many failures have no row."""

    depth: int
    bars: list[Bar]
    more: int = 0

    @property
    def first(self) -> Bar:
        return self.bars[0]

    def counts(self) -> dict[str, int]:
        """How many bars are in each status, the most frequent first."""
        found: dict[str, int] = {}
        for bar in self.bars:
            found[bar.status] = found.get(bar.status, 0) + 1
        return dict(sorted(found.items(), key=lambda item: -item[1]))


class _Place:
    """A row in the making, and what was begun inside its bars."""

    def __init__(self) -> None:
        self.bars: list[Bar] = []
        self.inside: dict[tuple[str, str], list[Bar]] = {}


BAD = ("failed", "timed_out", "stuck", "terminated")


def rows(bars: Iterable[Bar], *, group_at: int, sample: int) -> list[Row]:
    """Bars of one kind and name beyond `group_at` on one row, under it at most `sample` of those that went wrong. 0
    never groups.
    """
    places = _places(list(bars), group_at)
    found: list[Row] = []
    for place in places:
        found += _folded(place.bars, 0, group_at, sample)
        for members in place.inside.values():
            found += _folded(members, 1, group_at, sample)
    return found


def _places(bars: list[Bar], group_at: int) -> list[_Place]:
    """The bars of depth 0, many of one name in one place, each with what is inside by kind and name."""
    total: dict[tuple[str, str], int] = {}
    for bar in bars:
        if bar.depth == 0:
            total[bar.kind, bar.name] = total.get((bar.kind, bar.name), 0) + 1
    places: list[_Place] = []
    shared: dict[tuple[str, str], _Place] = {}
    current = _Place()
    for bar in bars:
        name = (bar.kind, bar.name)
        if bar.depth:
            current.inside.setdefault(name, []).append(bar)
            continue
        if group_at and total[name] > group_at:
            fresh = name not in shared
            current = shared.setdefault(name, _Place())
        else:
            fresh, current = True, _Place()
        if fresh:
            places.append(current)
        current.bars.append(bar)
    return places


def _folded(bars: list[Bar], depth: int, group_at: int, sample: int) -> Iterator[Row]:
    if not group_at or len(bars) <= group_at:
        yield from (Row(depth=depth, bars=[bar]) for bar in bars)
        return
    bad = [bar for bar in bars if bar.status in BAD]
    yield Row(depth=depth, bars=bars, more=max(len(bad) - sample, 0))
    yield from (Row(depth=depth + 1, bars=[bar]) for bar in bad[:sample])
