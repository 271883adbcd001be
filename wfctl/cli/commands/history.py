"""`wfctl history`: everything that was recorded of one run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.history import Describer
from wfctl.cli.render.text import Line
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.protocol.calls import History, HistoryPage
from wfctl.protocol.views import HistoryEntry

EXAMPLES = """
  wfctl history order-1
  wfctl history order-1 --logs
  wfctl history @last -o jsonl
"""
TAKES = ("ids", "times", "table", "pager")


def run(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Workflow ID, run ID, a unique prefix, or @last.")],
    logs: Annotated[bool, typer.Option("--logs", help="With the lines its handlers logged, in their place.")] = False,
) -> int:
    """Show the history of a run, and where the code changed that ran it."""
    shell = shell_of(ctx)
    shell.choose_fields(HistoryEntry)
    shell.read_alone()
    pages = _pages(shell, shell.run_id(id), logs)
    first = next(pages)
    if shell.output is Output.ID:
        shell.out.write(first.run.run_id)
    elif shell.output is Output.JSON:
        items = [*first.items, *(entry for page in pages for entry in page.items)]
        shell.listing("history", items, total=len(items), run=first.run)
    elif shell.output is Output.TABLE and shell.fields is not None:
        shell.table([*first.items, *(entry for page in pages for entry in page.items)], lambda _: [])
    else:
        describer = Describer()
        with shell.paged():
            _print(shell, first.items, describer)
            for page in pages:
                _print(shell, page.items, describer)
    return exit.OK


def _pages(shell: Shell, id: str, logs: bool) -> Iterator[HistoryPage]:
    after = 0
    while True:
        page: HistoryPage = shell.call(History(id=id, after_seq=after, logs=logs))
        yield page
        if page.next is None:
            return
        # By run ID from here on: the workflow ID may have a newer run by now.
        id, after = page.run.run_id, page.next


def _print(shell: Shell, entries: list[HistoryEntry], describer: Describer) -> None:
    if shell.output is Output.JSONL:
        for entry in entries:
            shell.json_line(entry)
        return
    now = now_ms()
    width = shell.out.columns if shell.out.tty else None
    shell.out.lines(line for entry in entries for line in _lines(describer, entry, now, width))


def _lines(describer: Describer, entry: HistoryEntry, now_at: int, width: int | None) -> Iterator[Line]:
    if (change := describer.code_change(entry, width=width)) is not None:
        yield change
    yield describer.line(entry, now_at, width=width)
