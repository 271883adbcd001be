"""Tables: a fixed set of columns a command, fitted to a terminal or written with tabs for programs.

A column that no row fills is left out when it is optional. On a terminal that is too narrow, columns leave from the lowest
priority up, then text is cut; off a terminal nothing is cut and nothing left out for room.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from wfctl.cli.render.text import Line, cells, clean, cut, cut_middle, pad, pad_left, wrap

GAP = 2
MIN_TEXT = 8
LEAST_FACT = 24


class Column(NamedTuple):
    """`priority` 0 never leaves; higher leaves sooner. `optional` columns appear when a row has data for them."""

    title: str
    priority: int = 0
    optional: bool = False
    right: bool = False
    middle: bool = False  # cut in the middle: both ends of an ID tell something


class Cell(NamedTuple):
    text: str
    style: str = ""


Row = list[Cell]


def table(columns: list[Column], rows: list[Row], *, width: int | None) -> list[Line]:
    """Lines of at most `width` cells, or, without a width, tab-separated lines with a header."""
    kept = [
        index for index, column in enumerate(columns) if not column.optional or any(row[index].text for row in rows)
    ]
    columns = [columns[index] for index in kept]
    rows = [[Cell(clean(row[index].text), row[index].style) for index in kept] for row in rows]
    if width is None:
        lines: list[Line] = [[("\t".join(column.title for column in columns), "")]]
        return lines + [_tabbed(row) for row in rows]
    return _fitted(columns, rows, width)


def _tabbed(row: Row) -> Line:
    line: Line = []
    for index, cell in enumerate(row):
        if index:
            line.append(("\t", ""))
        line.append((cell.text, cell.style))
    return line


def _fitted(columns: list[Column], rows: list[Row], width: int) -> list[Line]:
    natural = [
        max(cells(column.title), *(cells(row[index].text) for row in rows), 0) for index, column in enumerate(columns)
    ]
    kept = list(range(len(columns)))
    while len(kept) > 1 and _needed(kept, columns, natural) > width:
        droppable = [index for index in kept if columns[index].priority]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda index: columns[index].priority))
    widths = {index: natural[index] for index in kept}
    over = sum(widths.values()) + GAP * (len(kept) - 1) - width
    while over > 0:
        # The widest text gives first: it is the one a person can still read when it is cut. Half a number or time misleads.
        room = [index for index in kept if widths[index] > 4]
        if not room:
            break
        widest = max(room, key=lambda index: (not columns[index].right, widths[index]))
        widths[widest] -= 1
        over -= 1
    header = _line([Cell(columns[index].title, "bold") for index in kept], kept, columns, widths)
    return [header, *(_line([row[index] for index in kept], kept, columns, widths) for row in rows)]


def _needed(kept: list[int], columns: list[Column], natural: list[int]) -> int:
    """The least width these columns can be shown in: numbers and times whole, long text cut to something readable."""
    least = (
        natural[index] if columns[index].right else min(natural[index], max(MIN_TEXT, cells(columns[index].title), 24))
        for index in kept
    )
    return sum(least) + GAP * (len(kept) - 1)


def _line(row: Row, kept: list[int], columns: list[Column], widths: dict[int, int]) -> Line:
    line: Line = []
    for position, (cell, index) in enumerate(zip(row, kept, strict=True)):
        column, width = columns[index], widths[index]
        text = (cut_middle if column.middle else cut)(cell.text, width)
        last = position == len(kept) - 1
        text = pad_left(text, width) if column.right else text if last else pad(text, width)
        line.append((text, cell.style))
        if not last:
            line.append((" " * GAP, ""))
    return line


def facts(pairs: list[tuple[str, Line]], width: int | None = None, *, whole: Container[str] = ()) -> list[Line]:
    """`name  value` lines, the values in one column, where they are broken at blanks to fit `width`; those of the names in `whole`
    are somebody's data, which is left to be copied. Where the column would leave too little room for values there is none."""
    column = max((cells(name) for name, _ in pairs), default=0) + GAP
    room = None if width is None else width - 1 - column
    if width is not None and room is not None and room < LEAST_FACT:
        return [line for name, value in pairs for line in _narrow(name, value, width - 1, whole=name in whole)]
    lines: list[Line] = []
    for name, value in pairs:
        parts = [value] if room is None or name in whole else wrap(value, room, indent=0)
        lines += [[(pad(name if index == 0 else "", column), "dim"), *part] for index, part in enumerate(parts)]
    return lines


def _narrow(name: str, value: Line, width: int, *, whole: bool) -> list[Line]:
    """A fact on its own: its value goes on below its name."""
    line = [(name, "dim"), (" " * GAP, ""), *value]
    return [line] if whole else [_stripped(part) for part in wrap(line, width)]


def _stripped(line: Line) -> Line:
    while line and not line[-1][0].strip():
        line.pop()
    return line
