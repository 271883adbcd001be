"""The handlers of a workflow type and what leads from one to another: as data, as lines, as Mermaid. `graphsvg` draws it.

All of it is what the daemon's code was found to say (`Transition`); what its source does not tell is an edge of kind `unknown`.
"""

from __future__ import annotations

import msgspec

from wfctl.cli.render.text import Line, clean, cut, line_cells
from wfctl.values.signature import HandlerSpec, Transition, TypeSpec

HANDLERS = ("start", "step", "event")
COMPLETE, FAIL, TIMED_OUT, PARENT, OTHER, UNKNOWN = "complete", "fail", "timed_out", "parent", "other_run", "unknown"
_ENDS = {COMPLETE: "completed", FAIL: "failed", TIMED_OUT: "timed out"}


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A handler (`kind` start, step or event), or what is outside of them: the run's end (complete, fail, timed_out), a `child`
    type, the `parent`, another run, or what is `unknown`."""

    id: str
    kind: str
    name: str
    file: str = ""
    line: int = 0
    reached: bool = True


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """`kind` is that of the transition, `line` where it is written."""

    source: str
    target: str
    kind: str
    label: str
    line: int = 0
    delayed: bool = False
    note: str = ""

    @property
    def dashed(self) -> bool:
        return self.kind == UNKNOWN


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """`complete` is false where the source does not tell everything. To a node that is `reached` something leads from the start."""

    workflow_type: str
    file: str
    line: int
    nodes: list[Node]
    edges: list[Edge]
    complete: bool


def graph_of(spec: TypeSpec) -> Graph:
    return _Builder(spec).graph()


class _Builder:
    def __init__(self, spec: TypeSpec) -> None:
        self._spec = spec
        self._nodes: dict[str, Node] = {}
        self._edges: list[Edge] = []

    def graph(self) -> Graph:
        handlers = [one for one in self._spec.handlers if one.kind in HANDLERS]
        for handler in handlers:
            self._nodes[_id(handler)] = Node(
                id=_id(handler), kind=handler.kind, name=handler.name, file=handler.file, line=handler.line
            )
        for handler in handlers:
            for transition in handler.transitions:
                self._add(_id(handler), transition)
        edges = list(dict.fromkeys(self._edges))
        reached = _reached(_id(self._spec.start), edges)
        nodes = [msgspec.structs.replace(node, reached=node.id in reached) for node in self._nodes.values()]
        spec = self._spec
        return Graph(
            workflow_type=spec.workflow_type,
            file=spec.file,
            line=spec.line,
            nodes=nodes,
            edges=edges,
            complete=not any(edge.dashed for edge in edges),
        )

    def _add(self, source: str, found: Transition) -> None:
        target = found.target
        match found.kind:
            case "step":
                self._edge(source, f"step:{target}", found, "later" if found.delayed else "then")
            case "wait" if target is None:
                for name in self._spec.names("event"):
                    self._edge(source, f"event:{name}", found, "on any event")
            case "wait":
                self._edge(source, f"event:{target}", found, "on event")
            case "timeout" if target is None:
                self._edge(source, self._end(TIMED_OUT), found, "too late")
            case "timeout":
                self._edge(source, f"step:{target}", found, "too late")
            case "child":
                self._edge(source, self._outside("child", target or "?"), found, "starts")
            case "child_closed":
                self._edge(source, f"step:{target}", found, f"{found.note or 'a child'} has closed")
            case "parent":
                self._edge(source, self._outside(PARENT, "its parent"), found, f"tells {target or '?'}")
            case "send":
                self._edge(source, self._outside(OTHER, "another run"), found, f"sends {target or '?'}")
            case "complete" | "fail":
                self._edge(source, self._end(found.kind), found, "")
            case _:
                self._edge(source, self._outside(UNKNOWN, "not in the source"), found, "?")

    def _end(self, kind: str) -> str:
        return self._outside(kind, _ENDS[kind])

    def _outside(self, kind: str, name: str) -> str:
        id = f"{kind}:{name}" if kind == "child" else kind
        self._nodes.setdefault(id, Node(id=id, kind=kind, name=name))
        return id

    def _edge(self, source: str, target: str, found: Transition, label: str) -> None:
        kind = found.kind if target in self._nodes else UNKNOWN
        if target not in self._nodes:  # a daemon of another version may name what is not listed
            target = self._outside(UNKNOWN, "not in the source")
        edge = Edge(
            source=source,
            target=target,
            kind=kind,
            label=label,
            line=found.line,
            delayed=found.delayed,
            note=found.note,
        )
        self._edges.append(edge)


def _id(handler: HandlerSpec) -> str:
    return f"{handler.kind}:{handler.name}"


def _reached(start: str, edges: list[Edge]) -> set[str]:
    leads: dict[str, list[str]] = {}
    for edge in edges:
        leads.setdefault(edge.source, []).append(edge.target)
    found, left = {start}, [start]
    while left:
        fresh = [target for target in leads.get(left.pop(), []) if target not in found]
        found.update(fresh)
        left += fresh
    return found


# -- lines ---------------------------------------------------------------------------------------

_STYLES = {COMPLETE: "green", FAIL: "red", TIMED_OUT: "red", UNKNOWN: "yellow", "child": "blue", "event": "cyan"}


class _Marks(msgspec.Struct, frozen=True):
    tee: str
    corner: str
    bar: str
    blank: str
    arrow: str
    again: str


_UNICODE = _Marks("├ ", "└ ", "│ ", "  ", "►", "↑")
_ASCII = _Marks("|- ", "`- ", "|  ", "   ", ">", "^")


def graph_lines(graph: Graph, *, width: int | None, ascii: bool = False) -> list[Line]:
    """The graph as a tree from the start handler: where it leads to what is shown above, the arrow says so."""
    where = f"{graph.file}:{graph.line}" if graph.file else ""
    lines: list[Line] = [[(clean(graph.workflow_type), "bold"), (f"  {clean(where)}", "dim")]]
    drawing = _Outline(graph, _ASCII if ascii else _UNICODE)
    roots = [node for node in graph.nodes if node.kind == "start"]
    for node in roots:
        drawing.root(node)
    lines += drawing.lines
    lost = [node for node in graph.nodes if node.kind in HANDLERS and not node.reached]
    if lost:
        drawing.lines = []
        for node in lost:
            if node.id not in drawing.shown:
                drawing.root(node)
        lines += [[], [("nothing in the source leads to:", "yellow")], *drawing.lines]
    return lines if width is None else [_cut(line, width - 1) for line in lines]


class _Outline:
    def __init__(self, graph: Graph, marks: _Marks) -> None:
        self._marks = marks
        self._nodes = {node.id: node for node in graph.nodes}
        self._leads: dict[str, list[Edge]] = {}
        for edge in graph.edges:
            self._leads.setdefault(edge.source, []).append(edge)
        self.shown: set[str] = set()
        self.lines: list[Line] = []

    def root(self, node: Node) -> None:
        self.lines.append([(f"{node.kind} ", "dim"), *_named(node)])
        self._below(node, "")

    def _below(self, node: Node, guide: str) -> None:
        # Without recursion, however long the chain of steps is.
        self.shown.add(node.id)
        left = self._rows(node, guide)
        while left:
            edge, here, last = left.pop()
            target = self._nodes[edge.target]
            again = target.kind in HANDLERS and target.id in self.shown
            marks = self._marks
            line: Line = [(here + (marks.corner if last else marks.tee), "dim")]
            line += self._edge(edge, target)
            if again:
                line.append((f" {marks.again}", "dim"))
            self.lines.append(line)
            if target.kind in HANDLERS and not again:
                self.shown.add(target.id)
                left += self._rows(target, here + (marks.blank if last else marks.bar))

    def _rows(self, node: Node, guide: str) -> list[tuple[Edge, str, bool]]:
        edges = self._leads.get(node.id, [])
        return [(edge, guide, index == len(edges) - 1) for index, edge in enumerate(edges)][::-1]

    def _edge(self, edge: Edge, target: Node) -> Line:
        if edge.kind == UNKNOWN:
            return [(f"? {clean(edge.note)}", "yellow"), (f"  :{edge.line}", "dim")]
        if target.kind in _ENDS:
            label = f"{edge.label} {self._marks.arrow} " if edge.label else ""
            return [(label, "dim"), (target.name, _STYLES[target.kind]), (f"  :{edge.line}", "dim")]
        word = f"{target.kind} " if target.kind in ("step", "child") else ""
        line: Line = [(f"{clean(edge.label)} {self._marks.arrow} {word}", "dim"), *_named(target)]
        if target.kind not in HANDLERS:
            line.append((f"  :{edge.line}", "dim"))
            if edge.note:
                line.append((f"  ? {clean(edge.note)}", "yellow"))
        return line


def _named(node: Node) -> Line:
    line: Line = [(clean(node.name), _STYLES.get(node.kind, "bold"))]
    return [*line, (f"  :{node.line}", "dim")] if node.line else line


def _cut(line: Line, width: int) -> Line:
    out: Line = []
    for text, style in line:
        room = width - line_cells(out)
        if room > 0:
            out.append((cut(text, room), style))
    return out


# -- Mermaid -------------------------------------------------------------------------------------

_SHAPES = {"start": ("([", "])"), "event": (">", "]"), "child": ("[[", "]]"), UNKNOWN: ("{{", "}}")}


def mermaid(graph: Graph) -> str:
    """The graph as a Mermaid flowchart. Names are quoted, so nothing in them means anything to it."""
    ids = {node.id: f"n{index}" for index, node in enumerate(graph.nodes)}
    lines = ["flowchart TD"]
    for node in graph.nodes:
        open_, close = _SHAPES.get(node.kind, ("(", ")") if node.kind in _ENDS else ("[", "]"))
        lines.append(f'    {ids[node.id]}{open_}"{_quoted(_title(node))}"{close}')
    for edge in graph.edges:
        label = f"? {edge.note}" if edge.dashed else edge.label
        arrow = "-.->" if edge.dashed else "-->"
        shown = f'|"{_quoted(label)}"|' if label else ""
        lines.append(f"    {ids[edge.source]} {arrow}{shown} {ids[edge.target]}")
    return "\n".join(lines)


def _title(node: Node) -> str:
    return f"{node.kind}: {node.name}" if node.kind in ("start", "event", "child") else node.name


def _quoted(text: str) -> str:
    out = clean(text).replace("#", "#35;").replace("&", "#38;")
    for char, code in (('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("`", "#96;"), ("\\", "#92;")):
        out = out.replace(char, code)
    return out
