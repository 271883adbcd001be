"""Workflow types: a block each for people, a row a handler for programs."""

from __future__ import annotations

from typing import Any

from wfctl.cli.render.document import as_data
from wfctl.cli.render.table import Cell, Column, Row, table
from wfctl.cli.render.text import Line, cells, clean, counted, cut, pad, wrap
from wfctl.cli.render.times import absolute, when
from wfctl.protocol.code import MissingView, WorkflowList, WorkflowView
from wfctl.values import schema
from wfctl.values.signature import HandlerSpec, TypeSpec

LEAST_NAME = 10
_QUERIES = [Column(title) for title in ("NAME", "FUNCTION", "PARAMETERS", "FILE", "LINE")]
_COLUMNS = [
    Column(title)
    for title in (
        "TYPE", "KIND", "NAME", "FUNCTION", "PARAMETERS", "FILE", "LINE", "OPEN", "GENERATION", "SOURCE", "LOADED", "NEEDED",
        "LIMIT", "EXECUTING", "WAITING",
    )
]  # fmt: skip


def described(view: WorkflowView) -> dict[str, Any]:
    """A type as `-o json` has it: each handler with the JSON schema of what it takes, queries with that of what they answer."""
    data: dict[str, Any] = as_data(view)
    for told, handler in zip(data["spec"]["handlers"], view.spec.handlers, strict=True):
        told.pop("shape", None)
        told["schema"] = schema.takes(handler)
        answer = schema.answers(handler)
        if answer is not None:
            told["answer_schema"] = answer
    return data


def workflow_table(answer: WorkflowList) -> list[Line]:
    """Tab-separated, a handler a line. NEEDED is filled for what open runs need and is not there: by how many of them."""
    rows: list[Row] = []
    for view in answer.items:
        name, code = view.spec.workflow_type, (str(view.generation), view.source_hash, absolute(view.loaded_at))
        load = ("" if view.limit is None else str(view.limit), str(view.executing), str(view.waiting))
        for spec in view.spec.handlers:
            where = (spec.file or view.spec.file, str(spec.line))
            takes = (spec.function, spec.signature())
            rows.append(_row(name, spec.kind, spec.name, *takes, *where, str(view.open_runs), *code, "", *load))
        rows += [
            _row(name, lost.kind, lost.name, *[""] * 4, str(view.open_runs), *code, str(lost.runs), *load)
            for lost in view.missing
        ]
    for gone in answer.unloaded:
        number = str(gone.open_runs)
        rows.append(_row(gone.workflow_type, *[""] * 6, number, *[""] * 3, number, *[""] * 3))
    return table(_COLUMNS, rows, width=None)


def _row(*texts: str) -> Row:
    return [Cell(text) for text in texts]


def workflow_lines(answer: WorkflowList, width: int, now_ms: int) -> list[Line]:
    lines: list[Line] = []
    for view in answer.items:
        if lines:
            lines.append([])
        where = f"{view.spec.file}:{view.spec.line}" if view.spec.file else view.spec.module
        head: Line = [(clean(view.spec.workflow_type), "bold"), (f"  {clean(where)}", "dim")]
        if view.open_runs:
            head.append((f"  {counted(view.open_runs, 'open run')}", "blue"))
        if view.limit is not None:
            head.append((f"  limit {view.limit}: {view.executing} executing, {view.waiting} waiting", "blue"))
        lines += wrap(head, width - 1)
        if view.spec.doc:
            lines.append([(cut(f"  {clean(view.spec.doc.splitlines()[0])}", width - 1), "dim")])
        code = f"  generation {view.generation}  {clean(view.source_hash)}  loaded {when(view.loaded_at, now_ms, relative=True)}"
        lines.append([(cut(code, width - 1), "dim")])
        shown = [_handler_text(spec) for spec in view.spec.handlers]
        column = max(map(cells, shown), default=0)
        lines += [_handler(*pair, column, width) for pair in zip(view.spec.handlers, shown, strict=True)]
        lines += [_missing(lost, width) for lost in view.missing]
    for gone in answer.unloaded:
        if lines:
            lines.append([])
        head = [(clean(gone.workflow_type), "bold"), (f"  {counted(gone.open_runs, 'open run')}", "blue")]
        lines += wrap(head, width - 1)
        lines.append([(cut("  in no module that is loaded: put it back", width - 1), "magenta")])
    return lines


def _missing(lost: MissingView, width: int) -> Line:
    who = f"{counted(lost.runs, 'open run')} need{'s' if lost.runs == 1 else ''} it"
    text = clean(f"{lost.name}  is missing: {who}")
    return [(f"  {lost.kind:<5}  ", "cyan"), (cut(text, max(width - 10, 1)), "magenta")]


def query_table(spec: TypeSpec, queries: list[HandlerSpec]) -> list[Line]:
    """Tab-separated, a query a line."""
    rows = [
        [Cell(text) for text in (one.name, one.function, one.signature(), one.file or spec.file, str(one.line))]
        for one in queries
    ]
    return table(_QUERIES, rows, width=None)


def query_lines(queries: list[HandlerSpec], width: int) -> list[Line]:
    """What each takes, and the first line of what its author says about it."""
    shown = [clean(f"{one.name}{one.told()}") for one in queries]
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


def _handler_text(spec: HandlerSpec) -> str:
    name = spec.name if spec.name == spec.function else f"{spec.name} = {spec.function}"
    return clean(f"{name}{spec.told()}")


def _handler(spec: HandlerSpec, text: str, column: int, width: int) -> Line:
    """What the others of its type take decides where the line number stands: beside it, as far as that goes, and nowhere where
    it would leave no room for a name."""
    kind = (f"  {spec.kind:<5}  ", "cyan")
    place = f":{spec.line}" if spec.line else ""
    room = min(width - 9 - cells(place) - 3, column)
    if room < min(LEAST_NAME, column):
        return [kind, (cut(text, max(width - 10, 1)), "")]
    return [kind, (pad(cut(text, room), room), ""), (f"  {place}", "dim")]
