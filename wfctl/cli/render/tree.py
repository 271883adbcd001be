"""The tree of a run as lines: first as items (what is shown, what is folded), then laid out for a width.

Principles: one line a node; the status readable without colour; counts before contents; failures never hidden; no fold without
a number. The daemon has grouped and sampled already, so the cost here is that of what is shown.
"""

from __future__ import annotations

from typing import NamedTuple

from wfctl.cli.exit import look
from wfctl.cli.render.progress import bar
from wfctl.cli.render.text import (
    Line,
    Span,
    cells,
    clean,
    clip as clip_line,
    count,
    counted,
    cut,
    cut_middle,
    line_cells,
    pad_left,
)
from wfctl.cli.render.times import began_at, began_cells, short, when
from wfctl.cli.render.treeitems import root_items
from wfctl.cli.render.treeline import RETRYING, Fold, Item
from wfctl.protocol.trees import Tree, TreeGroup, TreeNode
from wfctl.values.status import Status
from wfctl.values.times import format_duration

STATIC_BUDGET = 200
TOOK_CELLS = 8
WIDE_COLUMNS = 110
WIDEST = 120  # an eye does not follow a line further than this
RUN_ID_CELLS = 26
LEAST_NAME, LEAST_ERROR = 8, 8
HIDDEN_LEVELS_CELLS = 4
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


class _Laid(NamedTuple):
    """A line, and how long it may stay where there is no room for all: 0 longest."""

    line: Line
    rank: int


_HEADER, _BAD, _OPEN, _REST = range(4)


def tree_lines(
    tree: Tree, style: Style, *, now_ms: int, fold: Fold | None = None, more: str = "wfctl tree -o json"
) -> list[Line]:
    """Every root with what happened in it. Over the budget, detail is folded step by step, and at last what is neither open nor
    failed is left out, then what is open; `more` is what shows all of it.
    """
    fold = fold or Fold()
    folds = [fold, fold._replace(merge=True), fold._replace(merge=True, sample=2)]
    folds += [fold._replace(merge=True, sample=2, depth=depth) for depth in (8, 4, 3, 2, 1)]
    laid: list[_Laid] = []
    first = 0
    for step in folds:
        laid = [line for root in tree.roots for line in _root(root, style, step, now_ms)]
        first = first or len(laid)
        if style.budget is None or len(laid) <= style.budget - (step is not fold):
            if step is fold:
                return [line for line, _ in laid]
            break
    assert style.budget is not None
    kept = max(style.budget - 1, 1)
    if len(laid) > kept:
        ranked = sorted(range(len(laid)), key=lambda index: (laid[index].rank, index))[:kept]
        laid = [laid[index] for index in sorted(ranked)]
    hidden = counted(first - len(laid), "more line")
    footer: Line = [(cut(f"{style.marks.ellipsis} {hidden}: {more}", (style.width or 80) - 1), "dim")]
    return [*(line for line, _ in laid), footer]


def _root(node: TreeNode, style: Style, fold: Fold, now_ms: int) -> list[_Laid]:
    items = root_items(node, fold, now_ms, relative=style.width is not None)
    return [_Laid(_header(node, style, now_ms), _HEADER), *_flat(items, "", style, now_ms)]


def _header(node: TreeNode, style: Style, now_ms: int) -> Line:
    run = node.run
    shown = look(run.status)
    took = format_duration(run.closed_at - run.started_at) if run.closed_at else short(now_ms - run.started_at)
    name: Span = (clean(run.workflow_id), "bold")
    state: Line = [("  ", ""), (shown.word, shown.style), (f" {took}", "")]
    kind: Line = [(f"  {clean(run.workflow_type)}", "")]
    totals, failed = _totals(node, style)
    why = _why(node)
    if style.width is None:
        line = [name, *kind, *state, (f"  started {when(run.started_at, now_ms, relative=False)}", "")]
        line += [("  ", ""), *totals] if totals else []
        return [*line, (f"  {clean(why)}", "")] if why else line
    room = min(style.width, WIDEST) - 1
    if not totals:
        line = [name, *kind, *state]
        left = room - line_cells(line) - 2
        if why and left >= 8:
            line.append((f"  {cut_middle(clean(why), left, style.marks.ellipsis)}", shown.style))
        if line_cells(line) <= room:
            return line
    # Narrower and narrower; what failed is the last to go.
    for left_part, right in (
        ([name, *kind, *state], totals),
        ([name, *kind, *state], failed),
        ([name, *state], failed),
    ):
        gap = room - line_cells(left_part) - line_cells(right)
        if gap >= 2:
            return [*left_part, (" " * gap, ""), *right]
    short_name = cut_middle(name[0], max(room - line_cells([*state, *failed]) - 2, 8), style.marks.ellipsis)
    return clip([(short_name, "bold"), *state, ("  ", ""), *failed], room, style.marks.ellipsis)


def _totals(node: TreeNode, style: Style) -> tuple[Line, Line]:
    """`10,001 children   37 failed   94%`, and of it what failed alone."""
    run, people = node.run, style.width is not None
    failed: Line = []
    for number, status in ((node.failed_below, Status.FAILED), (node.stuck_below, Status.STUCK)):
        if number:
            failed += [("   " if failed else "", ""), (f"{count(number, grouped=people)} {status}", look(status).style)]
    if run.children < 2:
        return failed, failed
    totals: Line = [(counted(run.children, "child", plural="children", grouped=people), "")]
    totals += [("   ", ""), *failed] if failed else []
    totals.append((f"   {percent(run.children - run.open_children, run.children)}%", ""))
    return totals, failed


def _why(node: TreeNode) -> str:
    """Why the root stands as it does; its steps may be too old to be shown."""
    return node.run.stuck_reason or (str(node.run.error) if node.run.error else "")


def percent(part: int, whole: int) -> int:
    """Rounded down, so that 100% is said of nothing that is not finished."""
    return part * 100 // whole if whole else 100


def _flat(items: list[Item], guides: str, style: Style, now_ms: int) -> list[_Laid]:
    marks = style.marks
    laid: list[_Laid] = []
    for index, item in enumerate(items):
        last = index == len(items) - 1
        inner = _flat(item.children, guides + (marks.blank if last else marks.bar), style, now_ms)
        # A line on the way to one that stays stays as well.
        rank = min([_rank(item), *(max(line.rank, _BAD) for line in inner)])
        drawn = _lay(item, _guides(guides + (marks.corner if last else marks.tee), style), style, now_ms)
        if style.width is not None and line_cells(drawn) >= style.width:
            drawn = clip_line(drawn, style.width - 1)  # so narrow that not even the least has room
        laid.append(_Laid(drawn, rank))
        laid += inner
    return laid


def _guides(guides: str, style: Style) -> str:
    """`guides` in at most a third of the line: of those that are too deep the outer levels are one mark, with how many they are."""
    if style.width is None:
        return guides
    marks, room = style.marks, _columns_of(style) // 3
    level = cells(marks.bar)
    if cells(guides) <= room:
        return guides
    mark = cells(marks.ellipsis) + HIDDEN_LEVELS_CELLS
    kept = max((room - mark) // level, 1)
    hidden = f"{marks.ellipsis}{cells(guides) // level - kept}"
    return f"{hidden:<{mark}}{guides[-kept * level :]}"


def _columns_of(style: Style) -> int:
    """The columns for guides, names and durations: beyond them, on a wide terminal, stand start times and run IDs."""
    assert style.width is not None
    if style.width < WIDE_COLUMNS:
        return min(style.width, WIDEST) - 1
    return min(style.width - 2 - began_cells() - 2 - RUN_ID_CELLS, WIDEST) - 1


def _rank(item: Item) -> int:
    status = item.status if item.group is None else _group_status(item.group)
    if item.bad or (item.group is not None and any(map(item.group.by_status.get, (*_FAILED, Status.STUCK)))):
        return _BAD
    return _OPEN if status is not None and not _closed(status) else _REST


def _lay(item: Item, guides: str, style: Style, now_ms: int) -> Line:
    if item.group is not None:
        return _group(item.group, guides, style)
    if style.ascii:
        # What is ours in a name; what a user wrote has no such signs between blanks.
        item.name = item.name.replace(" ×", f" {style.marks.times}").replace(" · ", style.marks.separator)
    if item.status is None:
        text = item.name
        line: Line = [(guides, "dim"), ("  ", ""), (text, item.style)]
        return line if style.width is None else clip(line, style.width - 1, style.marks.ellipsis)
    mark = style.mark(item.status)
    prefix: Line = [(guides, "dim"), mark, (" ", "")]
    if style.width is None:
        parts = [part for part in (item.name, item.text, item.note, item.took) if part]
        return [*prefix, ("  ".join(parts), "")]
    extra: Line = []
    if style.width >= WIDE_COLUMNS:
        started = began_at(item.started_at, now_ms) if item.started_at else ""
        extra = [(f"  {started:<{began_cells()}}  {item.run_id}".rstrip(), "dim")]
    room = _columns_of(style) - line_cells(prefix)
    return [*prefix, *_columns(item, room, mark[1], style.marks.ellipsis), *extra]


def _columns(item: Item, room: int, emphasis: str, ellipsis: str) -> Line:
    """Name and text left, note right of them, duration at the edge: exactly `room` cells.

    Where that is little, what went wrong and which attempt comes are said beside the ends of a name.
    """
    took = pad_left(item.took, TOOK_CELLS) if item.took and room >= LEAST_NAME + 2 + TOOK_CELLS else ""
    name, text, note = item.name, item.text, item.note
    tail = cells(took)

    def left_room() -> int:
        return room - tail - (cells(note) + 2 if note else 0) - (2 if tail else 0)

    least = cells(name) + (2 + min(cells(text), 12) if text else 0)
    for note in (item.note, *item.short_notes, ""):  # noqa: B007
        if left_room() >= least:
            break
    if item.status == RETRYING and item.note and not note:
        # Which attempt comes tells more than of what.
        text, note = "", item.short_notes[-1]
        note = note if left_room() >= LEAST_NAME else ""
    beside = 2 + min(cells(text), LEAST_ERROR) if text and item.loud else 0
    if cells(name) > left_room() - beside:
        kept = min(max(left_room() - beside, LEAST_NAME), left_room())
        # A short name that is still too long is not cut once more: what is left out is told once.
        short_enough = item.short_name and cells(item.short_name) <= kept
        name = item.short_name if short_enough else cut_middle(name, max(kept, 1), ellipsis)
    if text:
        text = cut_middle(text, left_room() - cells(name) - 2, ellipsis)
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
    room = min(style.width, WIDEST) - 1 - line_cells(prefix)
    for size in (20, 10, 0):
        drawn = f"{bar(done / 100, size)} {done}%" if size else f"{done}%"
        line: Line = [(f"{name}    {drawn}   " if size else f"{name}  {drawn}  ", ""), *counts]
        if line_cells(line) <= room:
            return [*prefix, *line]
    # Too narrow for all counts: those that need somebody first.
    urgent = sorted(group.by_status, key=lambda word: (not _needs_somebody(word), _closed(word)))
    counts = _counts({word: group.by_status[word] for word in urgent}, style, people, ordered=False)
    return [*prefix, *clip([(f"{name}  ", ""), *counts], room, style.marks.ellipsis)]


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


def _counts(by_status: dict[str, int], style: Style, people: bool, *, ordered: bool = True) -> Line:
    """`9,400 ✓ 412 ► 37 ✗`. Beside their glyphs, all that goes on is one number; words keep each apart."""
    shown: dict[str, int] = {}
    for word, number in by_status.items():
        going_on = not _closed(word) and word not in (Status.STUCK, "queued")
        key = Status.RUNNING if going_on and not style.words else word
        shown[key] = shown.get(key, 0) + number
    order = [Status.COMPLETED, Status.RUNNING, "queued", Status.STUCK, Status.CANCELLED, Status.TERMINATED]
    if ordered:
        others = [word for word in shown if word not in order and word not in _FAILED]
        shown = {word: shown[word] for word in (*order, *others, *_FAILED) if word in shown}
    line: Line = []
    for word, number in shown.items():
        if number:
            text, color = style.mark(word)
            line.append((f"{' ' if line else ''}{count(number, grouped=people)} ", ""))
            line.append((f"{text}," if style.words and word != list(shown)[-1] else text, color))
    return line


def clip(line: Line, width: int, ellipsis: str) -> Line:
    """`line` cut at `width` cells, the cut marked."""
    if line_cells(line) <= width:
        return line
    out: Line = []
    left = width - cells(ellipsis)
    for text, style in line:
        if cells(text) >= left:
            out.append((cut(text, left, "").rstrip() + ellipsis, style))
            return out
        out.append((text, style))
        left -= cells(text)
    return out
