"""A workflow type's graph as SVG: handlers in rows by how many transitions they are from the start, what is outside below."""

from __future__ import annotations

from wfctl.cli.render.graph import COMPLETE, FAIL, HANDLERS, TIMED_OUT, UNKNOWN, Edge, Graph, Node
from wfctl.cli.render.svg import CHAR, FAINT, GRID, Drawing, number
from wfctl.cli.render.text import cells, clean, cut

MARGIN, HEAD, BOX, DOWN, ACROSS = 24.0, 40.0, 30.0, 66.0, 34.0
_NAME_CHARS, _LABEL_CHARS = 32, 36
_FILLS = {
    "start": "#dafbe1", "step": "#ddf4ff", "event": "#fff8c5", "child": "#fbefff", COMPLETE: "#aceebb", FAIL: "#ffcecb",
    TIMED_OUT: "#ffcecb", UNKNOWN: "#ffffff",
}  # fmt: skip
_LINE, _DOUBT = "#57606a", "#bc4c00"


class _Box:
    def __init__(self, node: Node) -> None:
        self.node = node
        kind = f"{node.kind} " if node.kind in (*HANDLERS, "child") else ""
        self.text = cut(f"{kind}{clean(node.name)}", _NAME_CHARS)
        self.width = max(cells(self.text) * CHAR + 20, 70.0)
        self.x = self.y = 0.0

    @property
    def middle(self) -> float:
        return self.x + self.width / 2


def graph_svg(graph: Graph) -> str:
    """The whole graph as one document."""
    boxes = {node.id: _Box(node) for node in graph.nodes}
    ranks = _ranks(graph)
    rows = _rows(graph, boxes, ranks)
    widest = max((_width(row) for row in rows), default=100.0)
    for index, row in enumerate(rows):
        x = MARGIN + (widest - _width(row)) / 2
        for box in row:
            box.x, box.y = x, MARGIN + HEAD + index * (BOX + DOWN)
            x += box.width + ACROSS
    backward = [edge for edge in graph.edges if ranks[edge.target] <= ranks[edge.source]]
    side = 40.0 + 12.0 * len({edge.target for edge in backward}) + _LABEL_CHARS * CHAR / 2 if backward else 0.0
    title = f"{graph.workflow_type}  {graph.file}:{graph.line}"
    width = max(widest + side, cells(title) * CHAR * 1.2) + 2 * MARGIN
    drawing = Drawing(width, MARGIN * 2 + HEAD + len(rows) * (BOX + DOWN) - DOWN, title)
    for name, color in (("to", _LINE), ("doubt", _DOUBT)):
        drawing.define(
            f'<marker id="{name}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0 0L10 5L0 10z" fill="{color}"/></marker>'
        )
    drawing.text(MARGIN, MARGIN + 8, title, bold=True, size=14)
    lanes = {target: index for index, target in enumerate(dict.fromkeys(edge.target for edge in backward))}
    for edge in graph.edges:
        lane = MARGIN + widest + 24 + 12 * lanes[edge.target] if edge in backward else None
        _edge(drawing, edge, boxes[edge.source], boxes[edge.target], lane)
    for box in boxes.values():
        doubtful = box.node.kind == UNKNOWN or not box.node.reached
        where = f"{box.node.file}:{box.node.line}" if box.node.line else ""
        drawing.box(
            box.x, box.y, box.width, BOX, fill=_FILLS.get(box.node.kind, "#f6f8fa"), stroke=_DOUBT if doubtful else GRID,
            round=15 if box.node.kind not in HANDLERS else 5, tip=f"{box.node.kind} {box.node.name} {where}".strip(),
            dashed=doubtful,
        )  # fmt: skip
        drawing.text(box.middle, box.y + 19, box.text, anchor="middle")
    return drawing.document()


def _edge(drawing: Drawing, edge: Edge, source: _Box, target: _Box, lane: float | None) -> None:
    label = cut(clean(f"? {edge.note}" if edge.dashed else edge.label), _LABEL_CHARS)
    color = _DOUBT if edge.dashed else _LINE
    if lane is None:
        x1, y1, x2, y2 = source.middle, source.y + BOX, target.middle, target.y
        bend = (y2 - y1) / 2
        data = _curve((x1, y1), (x1, y1 + bend), (x2, y2 - bend), (x2, y2))
        # Nearer to where it comes from: there the edges of a handler are still apart from those of others.
        place = ((x1 * 2 + x2) / 3, y1 + (y2 - y1) * 0.42)
    else:
        x1, y1, x2, y2 = source.x + source.width, source.y + BOX / 2, target.x + target.width, target.y + BOX / 2
        data = _curve((x1, y1), (lane, y1), (lane, y2), (x2, y2))
        place = (lane, (y1 + y2) / 2)
    tip = f"{source.node.name} to {target.node.name}: {edge.label or edge.kind} {edge.note} (line {edge.line})"
    drawing.path(data, stroke=color, dashed=edge.dashed, arrow="doubt" if edge.dashed else "to", tip=tip)
    if label:
        drawing.text(*place, label, fill=color if edge.dashed else FAINT, anchor="middle", size=11)


def _curve(*points: tuple[float, float]) -> str:
    start, *rest = (f"{number(x)} {number(y)}" for x, y in points)
    return f"M{start}C{' '.join(rest)}"


def _ranks(graph: Graph) -> dict[str, int]:
    """Handlers by their distance from the start, those nothing leads to in a row of their own; all else in the last row."""
    ranks = {node.id: 0 for node in graph.nodes if node.kind == "start"}
    level = list(ranks)
    handlers = {node.id for node in graph.nodes if node.kind in HANDLERS}
    while level:
        found = dict.fromkeys(
            edge.target for one in level for edge in graph.edges
            if edge.source == one and edge.target in handlers and edge.target not in ranks
        )  # fmt: skip
        ranks |= dict.fromkeys(found, ranks[level[0]] + 1)
        level = list(found)
    lost = max(ranks.values(), default=0) + 1
    for node in graph.nodes:
        if node.id in handlers:
            ranks.setdefault(node.id, lost)
    last = max(ranks.values(), default=0) + 1
    return {node.id: ranks.get(node.id, last) for node in graph.nodes}


def _rows(graph: Graph, boxes: dict[str, _Box], ranks: dict[str, int]) -> list[list[_Box]]:
    """The boxes row by row, each as near as it can be below what leads to it."""
    rows: list[list[_Box]] = []
    places: dict[str, float] = {}
    for rank in sorted(set(ranks.values())):
        ids = [node.id for node in graph.nodes if ranks[node.id] == rank]
        wanted: dict[str, float] = {}
        for id in ids:
            above = [places[edge.source] for edge in graph.edges if edge.target == id and edge.source in places]
            wanted[id] = sum(above) / len(above) if above else 0.5
        ids.sort(key=wanted.__getitem__)
        places |= {id: (index + 1) / (len(ids) + 1) for index, id in enumerate(ids)}
        rows.append([boxes[id] for id in ids])
    return rows


def _width(row: list[_Box]) -> float:
    return sum(box.width for box in row) + ACROSS * max(len(row) - 1, 0)
