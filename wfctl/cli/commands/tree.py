"""`wfctl tree`: a run, what happened in it and below it; still, live, or as data."""

from contextlib import nullcontext
from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output, choose
from wfctl.cli.render.treeline import Fold
from wfctl.cli.several import Several
from wfctl.cli.shell import Shell, shell_of
from wfctl.cli.treeview import Look, Viewer
from wfctl.cli.words import parse_statuses
from wfctl.errors import UsageError
from wfctl.protocol.runs import Result
from wfctl.protocol.trees import GetTree
from wfctl.values.status import Status

EXAMPLES = """
  wfctl tree order-1
  wfctl tree -f order-1
  wfctl tree order-1 --only failed
  wfctl tree order-1 --expand ShipItem --all
"""
TAKES = ("ids", "times", "pager", "follow", "outcome")
GROUP_AT, SAMPLE, DEPTH, ROOTS = 8, 5, 60, 20
ALL = 1_000_000


Depth = Annotated[
    int | None, typer.Option("--depth", metavar="N", min=0, help="No more than so many levels of children.")
]
Only = Annotated[
    str | None, typer.Option("--only", metavar="failed", help="Only the ways to what failed, timed out or is stuck.")
]
Folded = Annotated[
    list[str] | None,
    typer.Option("--fold", metavar="STATUS", help="Runs in this status as one line; commas or repeated."),
]
Expand = Annotated[
    list[str] | None, typer.Option("--expand", metavar="TYPE|STATUS|ID", help="Do not fold these; repeatable.")
]
All = Annotated[bool, typer.Option("--all", help="Fold nothing, leave nothing out.")]
GroupAt = Annotated[
    int | None,
    typer.Option("--group-at", metavar="N", min=1, help="More than N of one name are one line of counts (default: 8)."),
]
Sample = Annotated[
    int | None, typer.Option("--sample", metavar="N", min=0, help="Lines below such a line at most (default: 5).")
]
SinceRev = Annotated[
    int | None, typer.Option("--since-rev", metavar="REV", min=0, help="With -f: the changes after this revision.")
]


def run(
    ctx: typer.Context,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Roots of the trees; - reads stdin. Without any the newest open runs."),
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Redraw until the runs have closed.")] = False,
    depth: Depth = None,
    only: Only = None,
    fold: Folded = None,
    expand: Expand = None,
    all_: All = False,
    group_at: GroupAt = None,
    sample: Sample = None,
    since_rev: SinceRev = None,
    words: Annotated[bool, typer.Option("--words", help="Status words instead of glyphs.")] = False,
    ascii: Annotated[bool, typer.Option("--ascii", help="ASCII characters only.")] = False,
) -> int:
    """Show runs with their steps, waits and children.

    Many children of one type are one line with their numbers and a few of them, those that failed first. With -f on a terminal
    the tree is redrawn in place as things happen, elsewhere each change is one line; the exit code then tells how the runs closed.

    Without an ID, --only failed shows the newest trees in which something went wrong, open or closed.
    """
    shell = shell_of(ctx)
    if not follow:
        shell.read_alone()
    _check_followed(shell, ids, follow=follow, since_rev=since_rev)
    only_failed = only is not None and choose(only, ("failed",), "choice for --only") == "failed"
    expanded = [_meant(shell, word) for word in expand or []]
    several = Several(shell, ids) if ids else None
    named = [] if several is None else _named(shell, several)
    if several is not None and not named:
        return several.code
    call = GetTree(
        id=named[0] if named else None, ids=named[1:],
        group_at=_given(group_at, ALL if all_ else GROUP_AT), sample=_given(sample, ALL if all_ else SAMPLE),
        depth=_given(depth, ALL if all_ else DEPTH), limit=ALL if all_ else ROOTS, only_failed=only_failed, expand=expanded,
    )  # fmt: skip
    folding = Fold(
        group_at=call.group_at, folded=frozenset(map(str, parse_statuses(fold or []))), expanded=frozenset(expanded),
        whole=all_ and not fold, only_failed=only_failed,
    )  # fmt: skip
    look = Look(folding, words, ascii or shell.out.ascii)
    viewer = Viewer(shell, call, look, since_rev, several=several is not None and not several.one)
    if not follow:
        with shell.paged() if all_ else nullcontext():
            viewer.still(viewer.fetch(shell.connect()))
        return exit.OK if several is None else several.code
    try:
        statuses = viewer.follow()
    except KeyboardInterrupt:
        shell.note("stopped watching; the run goes on" if len(named) == 1 else "stopped watching; the runs go on")
        raise
    return exit.worst(statuses) if several is None else several.code or exit.worst(statuses)


def _check_followed(shell: Shell, ids: list[str] | None, *, follow: bool, since_rev: int | None) -> None:
    if since_rev is not None and not (follow and _in_lines(shell)):
        raise UsageError(
            "--since-rev is for a tree that is followed line by line",
            hint=f"wfctl tree -f -o jsonl --since-rev {since_rev}",
        )
    if follow and not ids:
        shell.without_end("wfctl tree -f -o jsonl", formats=(Output.JSON, Output.ID))


def _named(shell: Shell, several: Several) -> list[str]:
    """The roots that a command line names. Of several, those that there are."""
    if several.one:
        return list(several.each(str))
    return [found.run_id for found in several.each(lambda id: shell.call(Result(id=id, wait=False)))]


def _in_lines(shell: Shell) -> bool:
    """Whether what is followed comes as lines, not as a picture or one document."""
    return shell.output is Output.JSONL or (shell.output is Output.TABLE and not shell.out.live)


def _given(value: int | None, default: int) -> int:
    return default if value is None else value


def _meant(shell: Shell, word: str) -> str:
    """A status in any case, or a workflow type or an ID as it stands."""
    status = word.lower().replace("-", "_")
    return status if status in {str(known) for known in Status} else shell.run_id(word)
