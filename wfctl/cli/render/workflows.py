"""Workflow types: a block each for people, a row a handler for programs."""

from __future__ import annotations

from wfctl.cli.render.table import Cell, Column, table
from wfctl.cli.render.text import Line, cells, clean, counted, cut, pad
from wfctl.protocol.views import WorkflowView
from wfctl.values.signature import HandlerSpec, TypeSpec

_QUERIES = [Column(title) for title in ("NAME", "FUNCTION", "PARAMETERS", "FILE", "LINE")]
_COLUMNS = [Column(title) for title in ("TYPE", "KIND", "NAME", "FUNCTION", "PARAMETERS", "FILE", "LINE", "OPEN")]


def workflow_table(views: list[WorkflowView]) -> list[Line]:
    """Tab-separated, a handler a line."""
    rows = [
        [
            Cell(text)
            for text in (
                view.spec.workflow_type, spec.kind, spec.name, spec.function, spec.signature(), spec.file or view.spec.file,
                str(spec.line), str(view.open_runs),
            )
        ]
        for view in views
        for spec in view.spec.handlers
    ]  # fmt: skip
    return table(_COLUMNS, rows, width=None)


def workflow_lines(views: list[WorkflowView], width: int) -> list[Line]:
    lines: list[Line] = []
    for view in views:
        if lines:
            lines.append([])
        where = f"{view.spec.file}:{view.spec.line}" if view.spec.file else view.spec.module
        head: Line = [(clean(view.spec.workflow_type), "bold"), (f"  {clean(where)}", "dim")]
        if view.open_runs:
            head.append((f"  {counted(view.open_runs, 'open run')}", "blue"))
        lines.append(head)
        if view.spec.doc:
            lines.append([(cut(f"  {clean(view.spec.doc.splitlines()[0])}", width - 1), "dim")])
        lines += [_handler(spec, width) for spec in view.spec.handlers]
    return lines


def query_table(spec: TypeSpec, queries: list[HandlerSpec]) -> list[Line]:
    """Tab-separated, a query a line."""
    rows = [
        [Cell(text) for text in (one.name, one.function, one.signature(), one.file or spec.file, str(one.line))]
        for one in queries
    ]
    return table(_QUERIES, rows, width=None)


def query_lines(queries: list[HandlerSpec], width: int) -> list[Line]:
    """What each takes, and the first line of what its author says about it."""
    shown = [clean(f"{one.name}{one.signature()}") for one in queries]
    column = max(cells(text) for text in shown)
    lines: list[Line] = []
    for text, one in zip(shown, queries, strict=True):
        doc = clean(one.doc.partition("\n")[0])
        # Beside each other where there is room; what a query takes is never cut for what is said about it.
        room = width - 1 - column - 2
        line: Line = [(pad(text, column) if doc and room >= 16 else cut(text, width - 1), "")]
        if doc and room >= 16:
            line.append((f"  {cut(doc, room)}", "dim"))
        lines.append(line)
    return lines


def _handler(spec: HandlerSpec, width: int) -> Line:
    name = spec.name if spec.name == spec.function else f"{spec.name} = {spec.function}"
    text = clean(f"{name}{spec.signature()}")
    place = f":{spec.line}" if spec.line else ""
    room = max(width - 9 - cells(place) - 3, 10)
    return [(f"  {spec.kind:<5}  ", "cyan"), (pad(cut(text, room), room), ""), (f"  {place}", "dim")]
