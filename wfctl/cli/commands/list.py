"""`wfctl list`: runs, newest first."""

from __future__ import annotations

from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.text import count
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.cli.words import parse_statuses
from wfctl.protocol.calls import List, RunPage
from wfctl.protocol.views import RunView

EXAMPLES = """
  wfctl list
  wfctl list --status failed,stuck --since 1h
  wfctl list --type Order --status open -o id
"""
TAKES = ("ids", "times", "table", "pager")
PAGE = 1_000


def run(
    ctx: typer.Context,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATUS", help="Only these: names, 'open' or 'closed'; repeatable."),
    ] = None,
    workflow_type: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only runs of this type; repeatable.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="15m|TIME", help="Only runs started since then.")
    ] = None,
    parent: Annotated[str | None, typer.Option("--parent", metavar="ID", help="Only children of this run.")] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 100,
    after: Annotated[
        str | None, typer.Option("--after", metavar="CURSOR", help="Go on where an earlier list ended.")
    ] = None,
) -> int:
    """List runs, newest first."""
    shell = shell_of(ctx)
    shell.choose_fields(RunView)
    shell.read_alone()
    call = List(
        statuses=parse_statuses(status or []),
        types=workflow_type or [],
        parent=None if parent is None else shell.run_id(parent),
        since_ms=None if since is None else _instant(since),
        after=after,
    )
    page = _collect(shell, call, limit)
    if shell.output is Output.JSON:
        shell.listing("runs", page.items, next=page.next, total=page.total)
    elif shell.output is Output.JSONL:
        for item in page.items:
            shell.json_line(item)
    elif shell.output is Output.ID:
        shell.print_ids(item.run_id for item in page.items)
    else:
        _table(shell, page)
    if page.next is not None:
        total = "" if page.total is None else f" of {count(page.total, grouped=shell.err.tty)}"
        shell.total(f"{len(page.items)}{total}, more: --after {page.next}, or a higher --limit")
    return exit.OK


def _instant(text: str) -> int:
    from wfctl.values.times import parse_instant

    return parse_instant(text, now_ms())


def _collect(shell: Shell, call: List, limit: int) -> RunPage:
    """Up to `limit` runs, page by page: one answer stays small however many are asked for."""
    items: list[RunView] = []
    total: int | None = None
    after = call.after
    while True:
        page: RunPage = shell.call(
            List(
                statuses=call.statuses, types=call.types, parent=call.parent, since_ms=call.since_ms,
                limit=min(limit - len(items), PAGE), after=after,
            )
        )  # fmt: skip
        items += page.items
        total = page.total if total is None else total
        after = page.next
        if after is None or len(items) >= limit or not page.items:
            return RunPage(items=items, next=after, total=total)


def _table(shell: Shell, page: RunPage) -> None:
    if not page.items and shell.out.tty:
        shell.note("no runs")
        return
    from wfctl.cli.render.runs import runs_table

    with shell.paged():
        shell.table(page.items, lambda width: runs_table(page.items, now_ms(), width=width, ascii=shell.out.ascii))
