"""`wfctl history`: everything that was recorded of one run."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.pages import history_pages
from wfctl.cli.render.history import Describer
from wfctl.cli.render.text import Line
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.cli.words import quoted
from wfctl.errors import NotFoundError
from wfctl.protocol.views import HistoryEntry, RunView
from wfctl.values.times import parse_instant

EXAMPLES = """
  wfctl history order-1
  wfctl history order-1 --logs --step charge
  wfctl history order-1 --reverse --since 15m
  wfctl history @last -o jsonl
"""
TAKES = ("ids", "times", "table", "pager")
_STEP_ENDS = ("step.completed", "step.failed", "step.timed_out")


def run(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Workflow ID, run ID, a unique prefix, or @last.")],
    logs: Annotated[bool, typer.Option("--logs", help="With the lines its handlers logged, in their place.")] = False,
    step: Annotated[
        str | None,
        typer.Option("--step", metavar="STEP", help="Only steps of this handler, or the step of this number."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="15m|TIME", help="Only what was recorded since then.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Newest first.")] = False,
) -> int:
    """Show the history of a run, and where its code changed.

    It ends with what is recorded now; wfctl tail -f goes on with what comes.
    """
    shell = shell_of(ctx)
    shell.choose_fields(HistoryEntry)
    shell.read_alone()
    since_ms = None if since is None else parse_instant(since, now_ms())
    pages = history_pages(shell, shell.run_id(id), logs=logs)
    first = next(pages)
    entries: Iterator[HistoryEntry] = (entry for page in chain((first,), pages) for entry in page.items)
    if step is not None:
        entries = _of_step(entries, step, first.run)
    if since_ms is not None:
        entries = (entry for entry in entries if entry.at >= since_ms)
    if shell.output is Output.ID:
        shell.out.write(first.run.run_id)
    elif shell.json:
        _json(shell, entries, first.run, reverse)
    elif shell.fields is not None:
        items = list(entries)
        shell.table(items[::-1] if reverse else items, lambda _: [])
    else:
        with shell.paged():
            _print(shell, entries, reverse)
    return exit.OK


def _of_step(entries: Iterable[HistoryEntry], wanted: str, run: RunView) -> Iterator[HistoryEntry]:
    """What was recorded between the begin and the end of the steps that are meant, both included; NotFoundError for none."""
    names: dict[str, None] = {}
    inside = found = False
    for entry in entries:
        begun = entry.data if entry.kind == "step.started" else (entry.data.get("phase") or {})
        if entry.kind in ("step.started", "run.resumed") and "step" in begun:
            name = str(begun.get("handler", ""))
            names[name] = None
            inside = wanted in (name, str(begun["step"]))
            found = found or inside
        if inside:
            yield entry
        if entry.kind in _STEP_ENDS:
            inside = False
    if not found:
        near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.6)
        raise NotFoundError(
            f"run {run.workflow_id!r} has no step {wanted!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            hint=f"wfctl history {quoted(run.workflow_id)}" + (f" --step {quoted(near[0])}" if near else ""),
            step=wanted,
            known=list(names),
        )


def _json(shell: Shell, entries: Iterable[HistoryEntry], run: RunView, reverse: bool) -> None:
    if reverse:
        entries = reversed([*entries])
    if shell.output is Output.JSON:
        items = list(entries)
        shell.listing("history", items, total=len(items), run=run)
    else:
        for entry in entries:
            shell.json_line(entry)


def _print(shell: Shell, entries: Iterable[HistoryEntry], reverse: bool) -> None:
    now = now_ms()
    width = shell.out.columns if shell.out.tty else None
    describer = Describer()
    # What a line says may depend on the entries before it, so they are told in order and turned around last.
    shown = (list(_lines(describer, entry, now, width)) for entry in entries)
    if reverse:
        shown = (lines[::-1] for lines in reversed(list(shown)))
    for lines in shown:
        shell.out.lines(lines)


def _lines(describer: Describer, entry: HistoryEntry, now_at: int, width: int | None) -> Iterator[Line]:
    if (change := describer.code_change(entry, width=width)) is not None:
        yield change
    yield describer.line(entry, now_at, width=width)
