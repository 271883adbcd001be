"""`wfctl tail`: the history of runs as it happens, with the lines their handlers log in their place."""

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from msgspec.structs import replace

from wfctl.cli import exit
from wfctl.cli.bars import Bars
from wfctl.cli.chapters import CONTEXT
from wfctl.cli.options import Output
from wfctl.cli.reader import end_with_reader
from wfctl.cli.render.history import Describer
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.cli.words import given_ids
from wfctl.client.faults import stopping
from wfctl.errors import UsageError, WfctlError
from wfctl.protocol.daemon import CodeView
from wfctl.protocol.lists import List, RunPage
from wfctl.protocol.runs import History, HistoryEntry, HistoryPage
from wfctl.protocol.streams import Tail, TailEnd
from wfctl.values.kinds import CODE, PROGRESS, chosen_kinds
from wfctl.values.status import OPEN, Status
from wfctl.values.times import parse_instant

if TYPE_CHECKING:
    from wfctl.client.blocking import Stream

EXAMPLES = """
  wfctl tail -f order-1
  wfctl tail -f order-1 --children
  wfctl tail -n 50 -o jsonl
  wfctl tail --since 1h --kinds run.failed,task
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
    since: Annotated[
        str | None, typer.Option("--since", metavar="15m|TIME", help="Begin with what happened since then.")
    ] = None,
    since_rev: Annotated[
        int | None, typer.Option("--since-rev", metavar="REV", min=0, help="Begin after this revision.")
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option("--kinds", metavar="KIND", help="Only these: run.failed, or all of 'task'; commas or repeated."),
    ] = None,
    logs: Annotated[bool, typer.Option("--logs/--no-logs", help="With the lines handlers logged.")] = True,
) -> int:
    """Show what happens in runs.

    Oldest first, each entry once. On a terminal -f shows the progress of running steps as bars below.

    With -f it exits by outcome of the named runs, as 'wfctl result' does, and outlives a restart of the daemon.
    """
    shell = shell_of(ctx)
    words = [word.strip() for text in kinds or [] for word in text.split(",") if word.strip()]
    wanted = chosen_kinds(words)
    if kinds and not wanted:
        raise UsageError("--kinds names no kind", hint="--kinds task,run.failed")
    if wanted == [PROGRESS] and not follow:
        raise UsageError("progress is recorded nowhere, so it is only seen as it happens", hint="wfctl tail -f")
    since_ms = None if since is None else parse_instant(since, now_ms())
    chosen = [shell.run_id(id) for id in given_ids(ids)] if ids else _only_open_run(shell)
    if follow and not chosen:
        shell.without_end("wfctl tail -f -o jsonl")
    if lines is None and not chosen and since_rev is None and since is None:
        lines = LAST_OF_ALL
    # Where lines are for people, progress is drawn, which takes a terminal.
    progress = follow and (shell.output is Output.JSONL or (shell.output is Output.TABLE and shell.out.live))
    call = Tail(
        ids=chosen, children=children, follow=follow, since_rev=since_rev, since_ms=since_ms, last=lines, logs=logs,
        kinds=[] if not wanted else [*wanted, *({CODE} if not shell.json else ())], code=True, progress=progress,
    )  # fmt: skip
    with Bars(shell.out) as bars:
        printer = Printer(shell, bars, several=len(chosen) != 1 or children, last=lines)
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

    def __init__(self, shell: Shell, bars: Bars, *, several: bool, last: int | None) -> None:
        self._shell = shell
        self.bars = bars
        self._last = last
        self._describer = Describer(several=several)
        self._kept: list[HistoryEntry] = []
        self._seen: set[str] = set()

    def entry(self, entry: HistoryEntry) -> None:
        shell = self._shell
        if entry.kind == CODE and shell.output is not Output.JSONL:
            self._code(entry)
            return
        if shell.output is Output.TABLE:
            if entry.kind != PROGRESS:
                width = shell.out.columns if shell.out.tty else None
                if self._describer.lacks(entry):
                    self._look_back(entry)
                for line in self._describer.lines(entry, now_ms(), width=width):
                    self.bars.print(line)
            self.bars.take(entry)
            return
        if shell.output is Output.JSON:
            self._kept.append(entry)
            return
        if shell.output is Output.JSONL:
            shell.json_line(_without_place(entry) if entry.kind == PROGRESS else entry)
        elif entry.run_id not in self._seen:
            self._seen.add(entry.run_id)
            shell.out.write(entry.run_id)
        # Somebody may be reading the other end of a pipe line by line.
        shell.out.flush()

    def _look_back(self, entry: HistoryEntry) -> None:
        """Read which handler the step of `entry` runs, as its begin is not among what is shown."""
        call = History(id=entry.run_id, exact=True, before_seq=entry.seq, limit=CONTEXT, newest=True)
        try:
            with self._shell.dial() as beside:
                page: HistoryPage = beside.call(call)
        except WfctlError:
            return  # its number will do; what is wrong, the stream finds out
        for one in page.items:
            self._describer.detail(one)

    def _code(self, entry: HistoryEntry) -> None:
        """That the code has changed is nothing that happened in a run: it is said beside it."""
        shell = self._shell
        if not shell.quiet and not shell.json:
            self.bars.clear()
            from wfctl.cli.render.reload import code_lines

            shell.err.prose(code_lines(msgspec.convert(entry.data, CodeView)))
            shell.err.flush()

    def end(self, end: TailEnd) -> None:
        shell = self._shell
        if shell.output is Output.JSON:
            # What -n left out, nobody has counted.
            total = None if self._last is not None and len(self._kept) >= self._last else len(self._kept)
            shell.listing("tail", self._kept, total=total, rev=end.rev, outcomes=end.outcomes)
        elif shell.output is Output.JSONL:
            shell.json_line({"kind": "end", "rev": end.rev, "outcomes": end.outcomes})


def _without_place(entry: HistoryEntry) -> dict[str, Any]:
    """Progress as a JSON line: it is no part of any history, so it has no place there."""
    from wfctl.cli.render.document import as_data

    return {key: value for key, value in as_data(entry).items() if key not in ("rev", "seq", "source")}


def stream_history(shell: Shell, call: Tail, printer: Printer) -> TailEnd:
    """Print the entries of `call`, on across restarts of the daemon after the last one printed, and return how it ended."""
    seen: int | None = None

    def attempt() -> TailEnd:
        nonlocal seen
        resumed = call if seen is None else replace(call, since_rev=seen, since_ms=None, last=None)
        try:
            return listen(shell.connect().stream(resumed))
        finally:
            # Whatever ends it is told below what is printed, where the bars are.
            printer.bars.clear()

    def listen(stream: "Stream") -> TailEnd:
        nonlocal seen
        while not stream.ended:
            entry = stream.poll(printer.bars.due_s)
            if entry is not None:
                printer.entry(entry)
                if entry.rev:  # progress is no place to go on after
                    seen = entry.rev if seen is None else max(seen, entry.rev)
            elif printer.bars.due_s == 0.0:
                printer.bars.draw()
        end: TailEnd = stream.answer
        seen = max(seen or 0, end.rev)
        if call.follow and (not end.outcomes or any(outcome.status.open for outcome in end.outcomes)):
            raise stopping()
        return end

    if not call.follow:
        return attempt()
    end_with_reader(shell.out)
    try:
        return shell.persist(attempt, rev=lambda: seen)
    except KeyboardInterrupt:
        shell.note("stopped watching; the runs go on")
        raise
