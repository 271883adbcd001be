"""The tree of a run as lines: first as items (what is shown, what is folded), then laid out for a width.

Principles: one line a node; the status readable without colour; counts before contents; failures never hidden; no fold without
a number. The daemon has grouped and sampled already, so the cost here is that of what is shown.
"""

from __future__ import annotations

from typing import NamedTuple

from wfctl.cli.exit import look
from wfctl.cli.render.treeitems import Fold, Item, root_items
from wfctl.cli.render.text import Line, Span, cells, clean, count, counted, cut, cut_middle, line_cells, pad_left
from wfctl.cli.render.times import short
from wfctl.protocol.views import Tree, TreeGroup, TreeNode
from wfctl.values.status import Status
from wfctl.values.times import format_duration, rfc3339

STATIC_BUDGET = 200
TOOK_CELLS = 8
WIDE_COLUMNS = 110
WIDE_EXTRA = 2 + 9 + 2 + 26  # start time and run ID
_FAILED = (Status.FAILED, Status.TIMED_OUT)


class Marks(NamedTuple):
    """The characters lines are drawn with."""

    tee: str
    corner: str
    bar: str
    blank: str
    times: str
    separator: str
    ellipsis: str


UNICODE = Marks("├ ", "└ ", "│ ", "  ", "×", " · ", "…")
ASCII = Marks("|- ", "`- ", "|  ", "   ", "x", ", ", "...")


class Style(NamedTuple):
    """How to draw. `width` None is for what is no terminal: nothing aligned, nothing cut, times absolute."""

    width: int | None = None
    ascii: bool = False
    words: bool = False
    budget: int | None = None

    @property
    def marks(self) -> Marks:
        return ASCII if self.ascii else UNICODE

    def mark(self, status: str) -> Span:
        shown = look(status)
        return (shown.word if self.words else shown.ascii if self.ascii else shown.glyph, shown.style)


def tree_lines(tree: Tree, style: Style, *, now_ms: int, more: str = "wfctl tree -o json") -> list[Line]:
    """Every root with what happened in it. Over the budget, detail is folded step by step; `more` is what shows all of it."""
    folds = [Fold(), Fold(merge=True), Fold(merge=True, sample=2)]
    folds += [Fold(merge=True, sample=2, depth=depth) for depth in (8, 4, 3, 2, 1)]
    lines: list[Line] = []
    for fold in folds:
        lines = [line for root in tree.roots for line in _root(root, style, fold, now_ms)]
        if style.budget is None or len(lines) <= style.budget:
            return lines
    assert style.budget is not None
    kept = max(style.budget - 1, 1)
    hidden = counted(len(lines) - kept, "more line")
    return lines[:kept] + [[(cut(f"{style.marks.ellipsis} {hidden}: {more}", (style.width or 80) - 1), "dim")]]


def _root(node: TreeNode, style: Style, fold: Fold, now_ms: int) -> list[Line]:
    items = root_items(node, fold, now_ms, relative=style.width is not None)
    return [_header(node, style, now_ms), *_flat(items, "", style, now_ms)]


def _header(node: TreeNode, style: Style, now_ms: int) -> Line:
    run = node.run
    shown = look(run.status)
    took = format_duration((run.closed_at or now_ms) - run.started_at)
    people = style.width is not None
    left: Line = [(clean(run.workflow_id), "bold"), (f"  {clean(run.workflow_type)}  ", "")]
    left += [(shown.word, shown.style), (f" {short_took(run.closed_at, took, now_ms - run.started_at)}", "")]
    failed = sum(1 for child in node.children if child.run.status in _FAILED)
    failed += sum(group.by_status.get(status, 0) for group in node.groups for status in _FAILED)
    right: Line = []
    if run.children > 1:
        right.append((counted(run.children, "child", plural="children", grouped=people), ""))
    if failed:
        right.append(("   " if right else "", ""))
        right.append((f"{count(failed, grouped=people)} failed", look(Status.FAILED).style))
    if run.children > 1:
        right.append((f"   {percent(run.children - run.open_children, run.children)}%", ""))
    if style.width is None:
        reason: Line = [(f"  {clean(why)}", "")] if (why := _why(node)) else []
        return [*left, (f"  started {rfc3339(run.started_at)}", ""), *([("  ", ""), *right] if right else []), *reason]
    room = style.width - 1
    if run.children > 1 and line_cells(left) + line_cells(right) + 2 > room:
        right = right[-2:-1] if failed else []  # at the narrowest, what failed is what is said
    if line_cells(left) + line_cells(right) + 2 > room:
        left[0] = (cut_middle(left[0][0], max(room - line_cells(left[1:]) - line_cells(right) - 2, 8), style.marks.ellipsis), "bold")
    gap = max(room - line_cells(left) - line_cells(right), 2)
    line = [*left, (" " * gap, ""), *right] if right else left
    if not right and (why := _why(node)):
        line = [*left, (f"  {cut_middle(clean(why), max(room - line_cells(left) - 2, 0), style.marks.ellipsis)}", shown.style)]
    return clip(line, room, style.marks.ellipsis)


def _why(node: TreeNode) -> str:
    """Why the root stands as it does; its steps may be too old to be shown."""
    return node.run.stuck_reason or (str(node.run.error) if node.run.error else "")


def short_took(closed_at: int | None, took: str, age_ms: int) -> str:
    return took if closed_at is not None else short(age_ms)


def percent(part: int, whole: int) -> int:
    """Rounded down, so that 100% is said of nothing that is not finished."""
    return part * 100 // whole if whole else 100


def _flat(items: list[Item], guides: str, style: Style, now_ms: int) -> list[Line]:
    marks = style.marks
    lines: list[Line] = []
    for index, item in enumerate(items):
        last = index == len(items) - 1
        lines.append(_lay(item, guides + (marks.corner if last else marks.tee), style, now_ms))
        lines += _flat(item.children, guides + (marks.blank if last else marks.bar), style, now_ms)
    return lines


def _lay(item: Item, guides: str, style: Style, now_ms: int) -> Line:
    if item.group is not None:
        return _group(item.group, guides, style)
    if item.status is None:
        text = item.name.replace(" · ", style.marks.separator)
        line: Line = [(guides, "dim"), ("  ", ""), (text, item.style)]
        return line if style.width is None else clip(line, style.width - 1, style.marks.ellipsis)
    mark = style.mark(item.status)
    prefix: Line = [(guides, "dim"), mark, (" ", "")]
    if style.width is None:
        parts = [part for part in (item.name, item.text, item.note, item.took) if part]
        return [*prefix, ("  ".join(parts), "")]
    width = style.width
    extra: Line = []
    if width >= WIDE_COLUMNS:
        started = f"{rfc3339(item.started_at)[11:19]}Z" if item.started_at else ""
        extra = [(f"  {started:<9}  {item.run_id:<26}", "dim")]
        width -= WIDE_EXTRA
    return [*prefix, *_columns(item, width - 1 - line_cells(prefix), mark[1], style.marks.ellipsis), *extra]


def _columns(item: Item, room: int, emphasis: str, ellipsis: str) -> Line:
    """Name and text left, note right of them, duration at the edge: exactly `room` cells."""
    took = pad_left(item.took, TOOK_CELLS) if item.took else ""
    note = item.note
    name = item.name
    tail = cells(took)

    def left_room() -> int:
        return room - tail - (cells(note) + 2 if note else 0) - (2 if tail else 0)

    if note and left_room() < cells(name) + (2 + min(cells(item.text), 12) if item.text else 0):
        note = ""
    if cells(name) > left_room():
        name = cut_middle(item.short_name or name, max(left_room(), 1), ellipsis)
    text = ""
    if item.text:
        text = cut_middle(item.text, left_room() - cells(name) - 2, ellipsis)
        if cells(text) < min(cells(item.text), 6):
            text = ""
    line: Line = [(name, item.style)]
    if text:
        line += [("  ", ""), (text, emphasis if item.loud else "dim")]
    gap = room - line_cells(line) - cells(note) - (2 if note and tail else 0) - tail
    line.append((" " * max(gap, 0), ""))
    if note:
        line += [(note, "dim"), ("  " if tail else "", "")]
    return [*line, (took, "")]


def _group(group: TreeGroup, guides: str, style: Style) -> Line:
    """`ShipItem ×10,000  [######..] 94%  9,400 ✓ 412 ► 37 ✗`, as much of it as fits; the counts go last."""
    people = style.width is not None
    closed = sum(number for word, number in group.by_status.items() if _closed(word))
    status = _group_status(group)
    mark = style.mark(status)
    prefix: Line = [(guides, "dim"), mark, (" ", "")]
    name = f"{clean(group.workflow_type)} {style.marks.times}{count(group.total, grouped=people)}"
    done = percent(closed, group.total)
    counts = _counts(group.by_status, style, people)
    if style.width is None:
        return [*prefix, (f"{name}  {done}%  ", ""), *counts]
    room = style.width - 1 - line_cells(prefix)
    for bar in (20, 10, 0):
        filled = bar * done // 100
        drawn = f"[{'#' * filled}{'.' * (bar - filled)}] {done}%" if bar else f"{done}%"
        line: Line = [(f"{name}    {drawn}   " if bar else f"{name}  {drawn}  ", ""), *counts]
        if line_cells(line) <= room:
            return [*prefix, *line]
    # Too narrow for all counts: those that need somebody first.
    urgent = sorted(group.by_status, key=lambda word: (not _needs_somebody(word), _closed(word)))
    return [*prefix, *clip([(f"{name}  ", ""), *_counts({word: group.by_status[word] for word in urgent}, style, people, fold=False)],
                           room, style.marks.ellipsis)]  # fmt: skip


def _closed(word: str) -> bool:
    try:
        return Status(word).closed
    except ValueError:
        return False


def _needs_somebody(word: str) -> bool:
    return word in (Status.FAILED, Status.TIMED_OUT, Status.STUCK)


def _group_status(group: TreeGroup) -> str:
    """The one status a group's line wears: open while any member is, else the worst of how they ended."""
    present = [word for word, number in group.by_status.items() if number]
    if any(not _closed(word) for word in present):
        return Status.STUCK if all(word == Status.STUCK or _closed(word) for word in present) else Status.RUNNING
    order = (Status.FAILED, Status.TIMED_OUT, Status.TERMINATED, Status.CANCELLED)
    return next((status for status in order if status in present), Status.COMPLETED)


def _counts(by_status: dict[str, int], style: Style, people: bool, *, fold: bool = True) -> Line:
    """`9,400 ✓ 412 ► 37 ✗`. Beside their glyphs, all that goes on is one number; words keep each apart."""
    shown: dict[str, int] = {}
    for word, number in by_status.items():
        going_on = not _closed(word) and word not in (Status.STUCK, "queued")
        key = Status.RUNNING if going_on and not style.words else word
        shown[key] = shown.get(key, 0) + number
    order = [Status.COMPLETED, Status.RUNNING, "queued", Status.STUCK, Status.CANCELLED, Status.TERMINATED]
    if fold:
        known = [word for word in (*order, *(w for w in shown if w not in order and w not in _FAILED), *_FAILED)]
        shown = {word: shown[word] for word in known if word in shown}
    line: Line = []
    for word, number in shown.items():
        if number:
            text, color = style.mark(word)
            line.append((f"{' ' if line else ''}{count(number, grouped=people)} ", ""))
            line.append((f"{text}," if style.words and word != list(shown)[-1] else text, color))
    return line


def clip(line: Line, width: int, ellipsis: str) -> Line:
    """`line` cut at `width` cells."""
    if line_cells(line) <= width:
        return line
    out: Line = []
    left = width
    for text, style in line:
        if cells(text) > left or (cells(text) == left and line[-1] != (text, style)):
            out.append((cut(text + " " * 3, left, ellipsis) if left else "", style))
            return out
        out.append((text, style))
        left -= cells(text)
    return out
