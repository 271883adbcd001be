"""A workflow type's graph as SVG: a card for each handler, in it a row for each thing it does next, and lines to where these lead.

All lines to one card share a lane of one colour: no label is written over, and no line ends anywhere but where it leads.
"""

from __future__ import annotations

from wfctl.cli.render.graph import COMPLETE, FAIL, HANDLERS, TIMED_OUT, UNKNOWN, Edge, Graph, Node
from wfctl.cli.render.svg import CHAR, FAINT, INK, Drawing, number
from wfctl.cli.render.text import cells, clean, cut

MARGIN, HEAD, BOX, ROW, GAP, LANE = 24.0, 44.0, 28.0, 22.0, 18.0, 14.0
_INDENT, _MOST_CHARS = 14.0, 78
_FILLS = {"start": "#dafbe1", "step": "#ddf4ff", "event": "#fff8c5"}
_ENDS = {COMPLETE: "#1a7f37", FAIL: "#cf222e", TIMED_OUT: "#cf222e", "child": "#8250df"}
_LANES = ("#0969da", "#8250df", "#1b7c83", "#bf3989", "#57606a", "#9a6700")
_DOUBT = "#bc4c00"


def graph_svg(graph: Graph) -> str:
    """The whole graph as one document."""
    nodes = {node.id: node for node in graph.nodes}
    order = _order(graph)
    leads = {id: [edge for edge in graph.edges if edge.source == id] for id in order}
    texts = {edge: cut(_words(edge, nodes[edge.target]), _MOST_CHARS) for edge in graph.edges}
    heads = {id: cut(_head(nodes[id]), _MOST_CHARS) for id in order}
    longest = max(map(cells, [*texts.values(), *heads.values()]), default=0)
    wide = longest * CHAR + _INDENT + 24
    aims = [id for id in order if any(edge.target == id for edge in graph.edges)]
    lanes = {id: (MARGIN + wide + LANE * (index + 1), _LANES[index % len(_LANES)]) for index, id in enumerate(aims)}
    tops: dict[str, float] = {}
    y = MARGIN + HEAD
    for id in order:
        tops[id] = y
        y += BOX + ROW * len(leads[id]) + GAP
    title = f"{clean(graph.workflow_type)}  {graph.file}:{graph.line}" if graph.file else clean(graph.workflow_type)
    width = max(2 * MARGIN + wide + LANE * (len(lanes) + 1), cells(title) * CHAR * 1.2 + 2 * MARGIN)
    drawing = Drawing(width, y - GAP + MARGIN, title)
    for index, color in enumerate(_LANES):
        drawing.define(
            f'<marker id="to{index}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8"'
            f' markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L10 5L0 10z" fill="{color}"/></marker>'
        )
    drawing.text(MARGIN, MARGIN + 8, title, bold=True, size=14)
    for id in order:
        _card(drawing, nodes[id], heads[id], tops[id], wide)
        for row, edge in enumerate(leads[id]):
            middle = tops[id] + BOX + ROW * row + ROW / 2
            end = _row(drawing, edge, nodes[edge.target], texts[edge], middle)
            if edge.target in lanes:
                x, color = lanes[edge.target]
                into = tops[edge.target] + BOX / 2
                drawing.path(
                    f"M{number(end)} {number(middle)}H{number(x)}V{number(into)}H{number(MARGIN + wide)}",
                    stroke=color,
                    arrow=f"to{_LANES.index(color)}",
                    tip=f"{nodes[id].name}: {texts[edge]}, line {edge.line}",
                )
    return drawing.document()


def _order(graph: Graph) -> list[str]:
    """Handlers as the start handler leads to them, those first that it names first; then those that nothing leads to."""
    handlers = [node.id for node in graph.nodes if node.kind in HANDLERS]
    left = [node.id for node in graph.nodes if node.kind == "start"]
    found: dict[str, None] = {}
    left += [id for id in handlers if id not in left]
    left.reverse()
    while left:
        id = left.pop()
        if id not in found:
            found[id] = None
            left += [edge.target for edge in graph.edges if edge.source == id and edge.target in handlers][::-1]
    return list(found)


def _head(node: Node) -> str:
    return f"{node.kind} {clean(node.name)}" + (f"  :{node.line}" if node.line else "")


def _card(drawing: Drawing, node: Node, text: str, y: float, wide: float) -> None:
    stroke = "#8c959f" if node.reached else _DOUBT
    drawing.box(
        MARGIN, y, wide, BOX, fill=_FILLS[node.kind], stroke=stroke, round=5, dashed=not node.reached,
        tip=f"{node.kind} {node.name} {node.file}:{node.line}" + ("" if node.reached else ", nothing in the source leads here"),
    )  # fmt: skip
    drawing.text(MARGIN + 10, y + BOX / 2 + 4, text, bold=True)


def _row(drawing: Drawing, edge: Edge, target: Node, text: str, middle: float) -> float:
    """Writes the row; where it ends."""
    fill = _DOUBT if edge.kind == UNKNOWN else _ENDS.get(target.kind, INK if target.kind in HANDLERS else FAINT)
    drawing.text(MARGIN + _INDENT + 10, middle + 4, text, fill=fill)
    return MARGIN + _INDENT + 10 + cells(text) * CHAR + 6


def _words(edge: Edge, target: Node) -> str:
    if edge.kind == UNKNOWN:
        return clean(f"? {edge.note}")
    if target.kind in (COMPLETE, FAIL, TIMED_OUT):
        return clean(f"{edge.label} → {target.name}" if edge.label else target.name)
    kind = f"{target.kind} " if target.kind in ("step", "child") else ""
    note = f"  ? {edge.note}" if edge.note and target.kind not in HANDLERS else ""
    return clean(f"{edge.label} → {kind}{target.name}{note}")
