"""The timeline of a run as SVG: the rows of the terminal's picture, with room for what each of them is."""

from __future__ import annotations

from wfctl.cli.render.barrows import Row
from wfctl.cli.render.bars import RETRIES, RUNS, STUCK, WAITS, Bar, Timeline
from wfctl.cli.render.svg import CHAR, FAINT, Drawing
from wfctl.cli.render.text import cells, cut, plain
from wfctl.cli.render.timeline import axis_of, head, label, name_of, note, tick_mark, totals_text
from wfctl.protocol.runs import RunView
from wfctl.values.times import format_duration, rfc3339

WIDTH, MARGIN, ROW, BAR = 1_000, 16, 22, 13
_TOOK, _LEAST = 72, 1.5
_MOST_CHARS = 44
_COLORS = {
    "running": "#0969da", "waiting": "#1b7c83", "sleeping": "#1b7c83", "cancelling": "#9a6700", "stuck": "#8250df",
    "completed": "#1a7f37", "failed": "#cf222e", "cancelled": "#9a6700", "terminated": "#a40e26", "timed_out": "#bc4c00",
    "retrying": "#9a6700", "interrupted": "#9a6700",
}  # fmt: skip
_IDLE = {WAITS: "#a5d8dd", RETRIES: "#f2d48f", STUCK: "#d8b9ff"}


def timeline_svg(run: RunView, shown: Timeline, rows: list[Row]) -> str:
    """The whole picture as one document."""
    texts = [cut(plain(label(row, ascii=False)), _MOST_CHARS) for row in rows]
    left = MARGIN + max((cells(text) for text in texts), default=8) * CHAR + 12
    right = WIDTH - MARGIN - _TOOK
    top = MARGIN + 46
    axis = axis_of(shown)
    totals = totals_text(shown.totals, axis, 1 << 20)
    bottom = top + ROW * len(rows)
    title = plain(head(run, shown, person=True, ascii=False))
    drawing = Drawing(WIDTH, bottom + 22 * len(totals) + MARGIN + 8, title)

    def place(at_ms: int) -> float:
        return left + (right - left) * min(max((at_ms - axis.begun_at) / axis.span_ms, 0), 1)

    drawing.text(MARGIN, MARGIN + 12, title, bold=True, size=14)
    for offset in axis.ticks(int((right - left) // 90)):
        x = place(axis.begun_at + offset)
        drawing.line(x, top - 8, x, bottom)
        drawing.text(x, top - 12, tick_mark(offset), fill=FAINT, anchor="middle")
    for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
        y = top + ROW * index
        color = _COLORS.get(next(iter(row.counts())), "#57606a")
        drawing.text(MARGIN, y + 11, text)
        tip = _tip(row.first) if len(row.bars) == 1 else text.strip()
        for doing, begin, end in _stretches(row, axis.ended_at):
            x = place(begin)
            fill = color if doing == RUNS else _IDLE[doing]
            drawing.box(x, y + 1, max(place(end) - x, _LEAST), BAR, fill=fill, tip=tip)
        begun = min(bar.begun_at for bar in row.bars)
        took = max(bar.begun_at + bar.took_ms for bar in row.bars) - begun
        drawing.text(WIDTH - MARGIN, y + 11, format_duration(took), anchor="end", fill=FAINT)
    for index, text in enumerate(totals):
        drawing.text(MARGIN, bottom + 22 * (index + 1), text, fill=FAINT)
    return drawing.document()


def _stretches(row: Row, end: int) -> list[tuple[str, int, int]]:
    """When something of the row was going on: what ran at the same time is one stretch, however many bars it is of."""
    found: list[tuple[str, int, int]] = []
    parts = sorted(
        (part.doing, part.begun_at, end if part.ended_at is None else part.ended_at)
        for bar in row.bars
        for part in bar.parts
    )
    for doing, begun, ended in parts:
        if found and len(row.bars) > 1 and found[-1][0] == doing and begun <= found[-1][2]:
            found[-1] = (doing, found[-1][1], max(ended, found[-1][2]))
        else:
            found.append((doing, begun, ended))
    # What waits is drawn first, so that what works is seen.
    return sorted(found, key=lambda one: one[0] == RUNS)


def _tip(bar: Bar) -> str:
    ended = "goes on" if bar.ended_at is None else rfc3339(bar.ended_at)
    words = [
        f"{bar.kind} {name_of(bar)}",
        bar.status,
        f"{rfc3339(bar.begun_at)} to {ended}",
        format_duration(bar.took_ms),
    ]
    words += [f"{bar.attempts} attempts"] if bar.attempts > 1 else []
    return ", ".join([*words, *([bar.error] if bar.error else [note(Row(depth=0, bars=[bar]))])]).rstrip(", ")
