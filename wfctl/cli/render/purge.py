"""A purge as a table of the trees that would go, and in sentences."""

from __future__ import annotations

from wfctl.cli.render.runs import status_span
from wfctl.cli.render.status import size
from wfctl.cli.render.table import Cell, Column, table
from wfctl.cli.render.text import Line, counted
from wfctl.cli.render.times import when
from wfctl.protocol.purge import Purged, PurgedTree

_COLUMNS = [
    Column("WORKFLOW ID", middle=True),
    Column("TYPE", priority=2),
    Column("STATUS"),
    Column("CLOSED", priority=1, right=True),
    Column("RUNS", right=True),
    Column("RUN ID", priority=3),
]


def trees_table(trees: list[PurgedTree], now_ms: int, *, width: int | None, ascii: bool = False) -> list[Line]:
    """Trees by their roots; CLOSED is when the root did."""
    person = width is not None
    rows = [
        [
            Cell(tree.workflow_id),
            Cell(tree.workflow_type),
            Cell(*status_span(tree.status, person=person, ascii=ascii)),
            Cell(when(tree.closed_at, now_ms, relative=person)),
            Cell(str(tree.runs)),
            Cell(tree.run_id, "dim"),
        ]
        for tree in trees
    ]
    return table(_COLUMNS, rows, width=width)


def amount(purged: Purged) -> str:
    """`3 runs`, or `3 runs in 2 trees`."""
    runs = counted(purged.runs, "run")
    return runs if purged.runs == purged.trees else f"{runs} in {counted(purged.trees, 'tree')}"


def summary(purged: Purged) -> list[str]:
    """What was done, or would be, and what stays although its root matches."""
    lines = [f"{amount(purged)} would be purged" if purged.dry_run else f"purged {amount(purged)}{_room(purged)}"]
    if purged.more:
        lines.append(f"{counted(purged.more, 'more tree')} would match; --limit leaves them")
    if purged.held == 1:
        lines.append("1 tree whose root matches stays: a run in it is open, or does not match")
    elif purged.held:
        lines.append(f"{purged.held:,} trees whose roots match stay: in each a run is open, or does not match")
    return lines


def _room(purged: Purged) -> str:
    freed = f"; {size(purged.freed_bytes)} freed"
    if purged.returned_bytes:
        return (
            f"{freed}; the database is smaller by {size(purged.returned_bytes)} and has {size(purged.database_bytes)}"
        )
    why = "" if purged.shrinks else ", which new runs will use: this database was made so that it does not shrink"
    return f"{freed}{why}"
