"""`wfctl purge`: take closed runs away for good."""

import sys
from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.bulk import SHOWN_TARGETS
from wfctl.cli.care import Progress
from wfctl.cli.options import Output
from wfctl.cli.render.purge import amount, summary, trees_table
from wfctl.cli.render.text import counted
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.cli.words import parse_statuses
from wfctl.errors import UsageError
from wfctl.protocol.purge import Purge, Purged, PurgedSoFar, PurgedTree
from wfctl.values.times import parse_instant

EXAMPLES = """
  wfctl purge --older-than 30d
  wfctl purge --older-than 30d --yes
  wfctl purge --status failed --status cancelled --type Order --dry-run -o id
  wfctl purge --status completed --limit 1000 --yes
"""
TAKES = ("times", "table")


def run(
    ctx: typer.Context,
    status: Annotated[
        list[str] | None,
        typer.Option(
            "--status", metavar="STATUS", help="Trees of runs in this status alone; repeatable (default: any closed)."
        ),
    ] = None,
    workflow_type: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Trees whose root is of this type; repeatable.")
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", metavar="30d|TIME", help="Trees that closed before that.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many trees, the oldest.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would go; change nothing. The default on a terminal.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it: what is purged is not to be had again.")] = False,
) -> int:
    """Take closed runs away for good.

    Needs a status or an age. A tree goes whole: when every run in it is closed, old enough, and in one of the statuses. On a
    terminal it only tells what would go, until --yes is added.
    """
    shell = shell_of(ctx)
    shell.choose_fields(PurgedTree)
    if not status and older_than is None:
        raise UsageError("purge needs a status or an age", hint="wfctl purge --older-than 30d --dry-run")
    if dry_run and yes:
        raise UsageError("--dry-run changes nothing, so there is nothing to say --yes to", hint="leave out one of them")
    seen = dry_run or yes or sys.stdin.isatty()
    call = Purge(
        statuses=parse_statuses(status or []),
        types=workflow_type or [],
        closed_until_at=None if older_than is None else parse_instant(older_than, now_ms()),
        limit=limit,
        dry_run=not yes,
        each=True,
    )
    first, purged = _carry_out(shell, call, tell=seen)
    if not seen and purged.trees:
        raise UsageError(
            f"purging {amount(purged)} ({_listed(first, purged)}) needs to be confirmed",
            hint="add --yes, or --dry-run to see them all",
            count=purged.trees,
        )
    for line in summary(purged):
        shell.note(line)
    if not yes and not dry_run and purged.trees:
        shell.note("nothing was purged; add --yes to purge them")
    return exit.OK


def _carry_out(shell: Shell, call: Purge, *, tell: bool) -> tuple[list[PurgedTree], Purged]:
    """The first trees, and what became of all. With `tell`, each is told once it is gone; a JSON document comes at the end."""
    progress = Progress(shell, "looking" if call.dry_run else "purging")
    kept: list[PurgedTree] = []
    stream = shell.connect().stream(call)
    try:
        for told in stream:
            runs = counted(told.runs, "run")
            if shell.output is Output.JSON or len(kept) < SHOWN_TARGETS:
                kept += told.trees
            with shell.telling():
                progress.share(told.done, told.total, f"{told.done:,} of {counted(told.total, 'tree')}, {runs}")
                if tell and shell.output in (Output.ID, Output.JSONL):
                    progress.clear()
                    _tell(shell, told)
    finally:
        progress.clear()
    purged: Purged = stream.answer
    if shell.output is Output.JSON and (tell or not purged.trees):
        matched = purged.trees + purged.more
        shell.document("purge", purged, items=shell.pick(kept), next=None, total=matched)
    elif tell and shell.output is Output.TABLE and call.dry_run and kept:
        _table(shell, kept[:SHOWN_TARGETS], purged)
    return kept[:SHOWN_TARGETS], purged


def _tell(shell: Shell, told: PurgedSoFar) -> None:
    if shell.output is Output.ID:
        shell.print_ids(tree.run_id for tree in told.trees)
    else:
        for tree in told.trees:
            shell.json_line(tree)
    shell.out.flush()


def _table(shell: Shell, trees: list[PurgedTree], purged: Purged) -> None:
    shell.table(trees, lambda width: trees_table(trees, now_ms(), width=width, ascii=shell.out.ascii))
    shell.out.flush()
    if purged.trees > len(trees):
        shell.note(f"and {counted(purged.trees - len(trees), 'more tree')}; -o id or -o jsonl tells them all")


def _listed(first: list[PurgedTree], purged: Purged) -> str:
    more = purged.trees - len(first)
    return ", ".join(tree.workflow_id for tree in first) + (f" and {more} more" if more else "")
