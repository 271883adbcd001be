"""Bars over time on a terminal, and as plain lines elsewhere. What is drawn is made in `wfctl.cli.render.bars`."""

from __future__ import annotations

from typing import NamedTuple

from wfctl.cli.exit import look
from wfctl.cli.render.barrows import Row
from wfctl.cli.render.bars import DOINGS, RETRIES, RUNS, STUCK, WAITS, Bar, Timeline, Totals
from wfctl.cli.render.runs import status_span
from wfctl.cli.render.table import Cell, Column, table
from wfctl.cli.render.text import Line, cells, clean, count, cut, line_cells, pad, pad_left
from wfctl.cli.render.times import absolute, short
from wfctl.protocol.runs import RunView
from wfctl.values.times import format_duration

WIDEST = 200
NOTE_COLUMNS = 110  # from here on there is room for what went wrong
PERCENT_COLUMNS = 60
TOOK_COLUMNS = 40
LEAST_BARS = 10
LEAST_NAME = 6
_TOOK, _PERCENT = 8, 5
_STEPS_MS = (
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
    900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000, 21_600_000, 43_200_000, 86_400_000, 172_800_000, 604_800_000,
)  # fmt: skip


class Ink(NamedTuple):
    """Characters of a cell that is full, and of one that is hardly touched."""

    full: str
    thin: str


UNICODE = {RUNS: Ink("█", "▏"), STUCK: Ink("▒", "▒"), RETRIES: Ink("╌", "╌"), WAITS: Ink("░", "░")}
ASCII = {RUNS: Ink("#", "|"), STUCK: Ink("!", "!"), RETRIES: Ink("-", "-"), WAITS: Ink(".", ".")}
_STYLES = {STUCK: "magenta", RETRIES: "yellow", WAITS: "cyan"}
_THIN = 0.34


class Axis(NamedTuple):
    begun_at: int
    ended_at: int

    @property
    def span_ms(self) -> int:
        return max(self.ended_at - self.begun_at, 1)

    def ticks(self, most: int) -> list[int]:
        """Offsets in milliseconds at round distances, at most `most` of them after 0."""
        step = next((ms for ms in _STEPS_MS if self.span_ms <= ms * max(most, 1)), 0)
        if not step:
            weeks = -(-self.span_ms // (_STEPS_MS[-1] * max(most, 1)))
            step = weeks * _STEPS_MS[-1]
        return list(range(0, self.span_ms + 1, step))


def axis_of(shown: Timeline) -> Axis:
    return Axis(shown.begun_at, shown.ended_at)


def head(run: RunView, shown: Timeline, *, person: bool, ascii: bool) -> Line:
    """Which run, how it stands, how long it took."""
    took = format_duration(shown.ended_at - shown.begun_at)
    status = status_span(run.status, person=person, ascii=ascii)
    return [(clean(run.workflow_id), "bold"), (f"  {clean(run.workflow_type)}  ", ""), status, (f"  {took}", "")]


def timeline_lines(run: RunView, shown: Timeline, rows: list[Row], *, width: int, ascii: bool = False) -> list[Line]:
    """The picture for a terminal of `width` cells; no line is longer than that less one."""
    width = min(width, WIDEST) - 1
    labels = [label(row, ascii=ascii) for row in rows]
    durations = [format_duration(_took(row)) for row in rows]
    percent = _PERCENT if width + 1 >= PERCENT_COLUMNS else 0
    note_room = width // 4 if width + 1 >= NOTE_COLUMNS and any(note(row) for row in rows) else 0
    took = max(_TOOK if width + 1 >= TOOK_COLUMNS else 0, *(cells(text) + 1 for text in durations), 1)
    right = took + percent + (note_room + 2 if note_room else 0)
    names = min(max(map(line_cells, labels), default=0), max((width - right) * 2 // 5, 8))
    # Where there is little room, names give first, then bars; how long it took stays.
    names = max(min(names, width - right - 1 - LEAST_BARS), min(names, LEAST_NAME))
    room = max(width - names - 1 - right, 0)
    axis = axis_of(shown)
    lines = [cut_line(head(run, shown, person=True, ascii=ascii), width)]
    lines.append([(" " * (names + 1) + _ticks(axis, room), "dim")])
    for row, name, duration in zip(rows, labels, durations, strict=True):
        line = cut_line(name, names)
        line.append((" " * (names - line_cells(line) + 1), ""))
        line += _drawn(row, axis, room, ascii=ascii)
        line.append((pad_left(duration, took), ""))
        if percent:
            line.append((pad_left(f"{round(100 * min(_took(row) / axis.span_ms, 1))}%", percent), "dim"))
        if note_room and (said := note(row)):
            line.append((f"  {cut(said, note_room)}", "red"))
        lines.append(line)
    lines += [[(text, "dim")] for text in totals_text(shown.totals, axis, width)]
    return [cut_line(line, width) for line in lines]


def cut_line(line: Line, width: int) -> Line:
    """`line` cut at its end to `width` cells."""
    out: Line = []
    for text, style in line:
        left = width - line_cells(out)
        if left <= 0:
            break
        out.append((cut(text, left), style))
    return out


def label(row: Row, *, ascii: bool) -> Line:
    """A row's status and name: `✓ charge`, `  ✗ Ship(ship-7)`, `► Ship ×10,000 37✗`."""
    bar = row.first
    if len(row.bars) == 1:
        shown = look(bar.status)
        text = name_of(bar)
        if bar.attempts > 1:
            text += f" {'x' if ascii else '×'}{bar.attempts} tries"
        return [("  " * row.depth, ""), (shown.ascii if ascii else shown.glyph, shown.style), (f" {text}", "")]
    counts = row.counts()
    # What stands for all of them is the worst that is among them.
    worst = next(
        (word for word in ("stuck", "failed", "timed_out", "terminated") if word in counts), next(iter(counts))
    )
    shown = look(worst)
    many = f" {clean(bar.name) or 'sleep'} {'x' if ascii else '×'}{count(len(row.bars), grouped=True)}"
    line: Line = [("  " * row.depth, ""), (shown.ascii if ascii else shown.glyph, shown.style), (many, "")]
    if len(counts) > 1:
        for word, number in counts.items():
            one = look(word)
            line.append((f" {count(number, grouped=True)}{one.ascii if ascii else one.glyph}", one.style))
    return line


def name_of(bar: Bar) -> str:
    if bar.kind == "child":
        return clean(f"{bar.name}({bar.id})")
    if bar.kind == "wait":
        return clean(f"wait {bar.name}")
    if bar.kind == "sleep":
        return clean(f"delay before {bar.name}" if bar.name else "sleep")
    return clean(bar.name)


def note(row: Row) -> str:
    if len(row.bars) == 1:
        return clean(row.first.error or "")
    return f"{count(row.more, grouped=True)} more went wrong: -o jsonl" if row.more else ""


def _took(row: Row) -> int:
    """How long one took, or all of a group together from the first beginning to the last end."""
    begun = min(bar.begun_at for bar in row.bars)
    return max(bar.begun_at + bar.took_ms for bar in row.bars) - begun


def _ticks(axis: Axis, room: int) -> str:
    text = ""
    for offset in axis.ticks(room // 9):
        mark = tick_mark(offset)
        place = offset * room // axis.span_ms
        if place >= cells(text) and place + cells(mark) <= room:
            text = pad(text, place) + mark + " "
    return text.rstrip()


def tick_mark(offset_ms: int) -> str:
    return short(offset_ms) if offset_ms else "0"


def _drawn(row: Row, axis: Axis, room: int, *, ascii: bool) -> Line:
    """The row's parts in `room` cells: each cell shows what matters most of what went on in its time."""
    if not room:
        return []
    covered = {doing: [0.0] * room for doing in DOINGS}
    open_until = 0
    for bar in row.bars:
        for part in bar.parts:
            begin = (part.begun_at - axis.begun_at) * room / axis.span_ms
            end = ((axis.ended_at if part.ended_at is None else part.ended_at) - axis.begun_at) * room / axis.span_ms
            _cover(covered[part.doing], begin, end)
        if bar.ended_at is None:
            open_until = room
    inks = ASCII if ascii else UNICODE
    style = (
        look(row.first.status).style
        if len(row.bars) == 1
        else look(max(row.counts(), key=row.counts().__getitem__)).style
    )
    line: Line = []
    for cell in range(room):
        doing = next((one for one in DOINGS if covered[one][cell] > 0), None)
        # Work that hardly touches a cell that is otherwise waited through is still seen.
        char = " " if doing is None else inks[doing].full if covered[doing][cell] >= _THIN else inks[doing].thin
        if cell == open_until - 1:
            char = ">" if ascii else "►"
        painted = "" if doing is None else _STYLES.get(doing, style)
        if line and line[-1][1] == painted:
            line[-1] = (line[-1][0] + char, painted)
        else:
            line.append((char, painted))
    return line


def _cover(covered: list[float], begin: float, end: float) -> None:
    """Add a stretch to the cells it lies in; one without length lies in one too."""
    last = len(covered) - 1
    first, until = min(max(int(begin), 0), last), min(int(end), last)
    for cell in range(first, until + 1):
        part = min(end, cell + 1) - max(begin, cell)
        if part > 0 or cell == first:
            covered[cell] += max(part, 0.001)


def totals_text(totals: Totals, axis: Axis, width: int) -> list[str]:
    """How long at what, with its share of the whole, on as many lines as it needs."""
    shares = [
        (name, ms)
        for name, ms in (
            ("steps", totals.steps_ms), ("waits", totals.waits_ms), ("delays", totals.delays_ms), ("stuck", totals.stuck_ms),
            ("tasks", totals.tasks_ms), ("retry delays", totals.retries_ms), ("children", totals.children_ms),
        )
        if ms
    ]  # fmt: skip
    lines: list[str] = []
    for name, ms in shares:
        text = f"{name} {format_duration(ms)} {round(100 * min(ms / axis.span_ms, 1))}%"
        if lines and cells(lines[-1]) + 2 + cells(text) <= width:
            lines[-1] += f"  {text}"
        else:
            lines.append(text)
    return lines


_COLUMNS = [
    Column("BEGUN"), Column("ENDED"), Column("TOOK"), Column("KIND"), Column("NAME"), Column("STATUS"), Column("ATTEMPTS"),
    Column("ID"), Column("PROBLEM"),
]  # fmt: skip


def timeline_table(shown: Timeline) -> list[Line]:
    """Tab-separated, a bar a line, none folded."""
    return table(
        _COLUMNS,
        [
            [
                Cell(absolute(bar.begun_at)),
                Cell("" if bar.ended_at is None else absolute(bar.ended_at)),
                Cell(format_duration(bar.took_ms)),
                Cell(bar.kind),
                Cell(bar.name),
                Cell(bar.status),
                Cell(str(bar.attempts)),
                Cell(bar.id or ""),
                Cell(bar.error or ""),
            ]
            for bar in shown.bars
        ],
        width=None,
    )
