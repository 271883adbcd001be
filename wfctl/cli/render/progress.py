"""The progress of running steps: as a bar beside a line of a tree, and as lines of their own below what is printed."""

from __future__ import annotations

from wfctl.cli.exit import look
from wfctl.cli.render.text import SHORT_ID, Line, cells, clean, cut, cut_middle, line_cells, pad
from wfctl.protocol.runs import ProgressView

BAR_CELLS = 20
SHORT_BAR_CELLS = 10
LEAST_NOTE = 6


def bar(part: float, width: int) -> str:
    """`[#####.....]` of `width` cells between the brackets; full only when all is done."""
    filled = min(int(part * width), width)
    return f"[{'#' * filled}{'.' * (width - filled)}]"


def share(progress: ProgressView) -> float | None:
    """How much is done, from 0 to 1; None where it is not known how much there is."""
    if progress.total is None:
        return None
    return min(progress.done / progress.total, 1.0) if progress.total > 0 else 1.0


def amount(progress: ProgressView) -> str:
    """`6/10`, or `6`."""
    return _number(progress.done) + ("" if progress.total is None else f"/{_number(progress.total)}")


def _number(value: int | float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def percentage(progress: ProgressView) -> str:
    """`60%`, rounded down; empty where there is no total."""
    part = share(progress)
    return "" if part is None else f"{int(part * 100)}%"


def progress_notes(progress: ProgressView, *, drawn: bool) -> list[str]:
    """`[######....] 60% 6/10 resizing` to stand beside something, then shorter and shorter; the bar only where it is `drawn`."""
    part = share(progress)
    drawing = bar(part, SHORT_BAR_CELLS) if drawn and part is not None else ""
    percents, counts = percentage(progress), amount(progress)
    shapes = [
        (drawing, percents, counts, clean(progress.note)),
        (drawing, percents, counts),
        (drawing, percents or counts),
    ]
    shapes.append((percents or counts,))
    return list(dict.fromkeys(" ".join(word for word in shape if word) for shape in shapes))


def progress_lines(bars: dict[str, tuple[str, ProgressView]], width: int, most: int) -> list[Line]:
    """A line each of the newest `most` of `bars` (workflow ID and progress), and one that counts the others."""
    shown = list(bars.values())[-most:]
    names = [cut_middle(clean(name), SHORT_ID) for name, _ in shown]
    widest = min(max(map(cells, names), default=0), max(width // 3, 8))
    lines = [
        _line(cut_middle(name, widest), widest, progress, width)
        for name, (_, progress) in zip(names, shown, strict=True)
    ]
    if len(bars) > len(shown):
        lines.append([(cut(f"+ {len(bars) - len(shown):,} more running steps", width - 1), "dim")])
    return lines


def _line(name: str, widest: int, progress: ProgressView, width: int) -> Line:
    part = share(progress)
    line: Line = [(pad(name, widest), "cyan"), ("  ", "")]
    room = width - 1
    counts = " ".join(word for word in (percentage(progress), amount(progress)) if word)
    for size in (BAR_CELLS, SHORT_BAR_CELLS, 0):
        drawn = f"{bar(part, size)} {counts}" if part is not None and size else counts
        if line_cells(line) + cells(drawn) <= room:
            break
    line.append((cut(drawn, max(room - line_cells(line), 1)), look("running").style))
    left = room - line_cells(line) - 2
    if progress.note and left >= LEAST_NOTE:
        line.append((f"  {cut(clean(progress.note), left)}", ""))
    return line
