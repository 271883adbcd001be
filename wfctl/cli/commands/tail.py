"""`wfctl tail`: the history of runs as it happens, with the lines their handlers log in their place."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.history import Describer
from wfctl.cli.shell import Shell, now_ms, shell_of, stopping
from wfctl.cli.words import given_ids
from wfctl.protocol.calls import List, RunPage, Tail, TailEnd
from wfctl.protocol.views import CodeView, HistoryEntry
from wfctl.values.status import OPEN, Status

EXAMPLES = """
  wfctl tail -f order-1
  wfctl tail -f order-1 --children
  wfctl tail -n 50 -o jsonl
"""
TAKES = ("ids", "times", "follow", "outcome")
LAST_OF_ALL = 20


def run(
    ctx: typer.Context,
    ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Runs to show; without any the only open run, or all.")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the named runs have closed.")] = False,
    children: Annotated[bool, typer.Option("--children", help="With all descendants.")] = False,
    lines: Annotated[
        int | None, typer.Option("-n", "--lines", metavar="N", min=0, help="Begin with the newest N entries.")
    ] = None,
    since_rev: Annotated[
        int | None, typer.Option("--since-rev", metavar="REV", min=0, help="Begin after this revision.")
    ] = None,
    logs: Annotated[bool, typer.Option("--logs/--no-logs", help="With the lines handlers logged.")] = True,
) -> int:
    """Show what happens in runs.

    Oldest first, each entry once.

    With -f it exits by outcome of the named runs, as 'wfctl result' does, and outlives a restart of the daemon.
    """
    shell = shell_of(ctx)
    chosen = [shell.run_id(id) for id in given_ids(ids)] if ids else _only_open_run(shell)
    if lines is None and not chosen and since_rev is None:
        lines = LAST_OF_ALL
    call = Tail(ids=chosen, children=children, follow=follow, since_rev=since_rev, last=lines, logs=logs, code=True)
    printer = Printer(shell, several=len(chosen) != 1 or children)
    end = stream_history(shell, call, printer)
    printer.end(end)
    return exit.worst(outcome.status for outcome in end.outcomes) if follow else exit.OK


def _only_open_run(shell: Shell) -> list[str]:
    page: RunPage = shell.call(List(statuses=[status for status in Status if status in OPEN], limit=1))
    if page.total == 1 and page.items:
        shell.note(f"the only open run: {page.items[0].workflow_id}")
        return [page.items[0].run_id]
    shell.note(f"{page.total or 'no'} open runs: showing all; name one for itself alone")
    return []


class Printer:
    """Writes entries in the chosen format. `-o json` is one document, so it keeps them until the end."""

    def __init__(self, shell: Shell, *, several: bool) -> None:
        self._shell = shell
        self._describer = Describer(several=several)
        self._kept: list[HistoryEntry] = []
        self._seen: set[str] = set()

    def entry(self, entry: HistoryEntry) -> None:
        shell = self._shell
        if entry.kind == "code" and shell.output is not Output.JSONL:
            self._code(entry)
            return
        if shell.output is Output.JSON:
            self._kept.append(entry)
            return
        if shell.output is Output.JSONL:
            shell.json_line(entry)
        elif shell.output is Output.ID:
            if entry.run_id not in self._seen:
                self._seen.add(entry.run_id)
                shell.out.write(entry.run_id)
        else:
            width = shell.out.columns if shell.out.tty else None
            shell.out.line(self._describer.line(entry, now_ms(), width=width))
        # Somebody may be watching, or reading the other end of a pipe line by line.
        shell.out.flush()

    def _code(self, entry: HistoryEntry) -> None:
        """That the code has changed is nothing that happened in a run: it is said beside it."""
        shell = self._shell
        if not shell.quiet and not shell.json:
            from wfctl.cli.render.reload import code_lines

            shell.err.prose(code_lines(msgspec.convert(entry.data, CodeView)))
            shell.err.flush()

    def end(self, end: TailEnd) -> None:
        shell = self._shell
        if shell.output is Output.JSON:
            more: dict[str, Any] = {"rev": end.rev, "outcomes": end.outcomes}
            shell.document("tail", {"items": self._kept, **more})
        elif shell.output is Output.JSONL:
            shell.json_line({"kind": "end", "rev": end.rev, "outcomes": end.outcomes})


def stream_history(shell: Shell, call: Tail, printer: Printer) -> TailEnd:
    """Print the entries of `call`, on across restarts of the daemon after the last one printed, and return how it ended."""
    seen: int | None = None

    def attempt() -> TailEnd:
        nonlocal seen
        resumed = call if seen is None else Tail(
            ids=call.ids, children=call.children, follow=call.follow, since_rev=seen, logs=call.logs, code=True
        )  # fmt: skip
        stream = shell.connect().stream(resumed)
        for entry in stream:
            printer.entry(entry)
            seen = entry.rev if seen is None else max(seen, entry.rev)
        end: TailEnd = stream.answer
        seen = max(seen or 0, end.rev)
        if call.follow and (not end.outcomes or any(outcome.status.open for outcome in end.outcomes)):
            raise stopping()
        return end

    if not call.follow:
        return attempt()
    try:
        return shell.persist(attempt, rev=lambda: seen)
    except KeyboardInterrupt:
        shell.note("stopped watching; the runs go on")
        raise
