"""`wfctl tree`: a run, what happened in it and below it; still, live, or as data."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.live import Region
from wfctl.cli.options import Output
from wfctl.cli.render.document import text_of
from wfctl.cli.render.status import problem_lines, problem_notes
from wfctl.cli.render.tree import STATIC_BUDGET, Style, tree_lines
from wfctl.cli.render.treedata import Differ, end_line, node_lines, run_ids, tree_document
from wfctl.cli.screen import DEFAULT_COLUMNS
from wfctl.cli.shell import Shell, shell_of, stopping
from wfctl.protocol.calls import GetTree, Watch
from wfctl.protocol.views import Outcome, ProblemView, Tree

if TYPE_CHECKING:
    from wfctl.client.blocking import Connection, Stream

EXAMPLES = """
  wfctl tree order-1
  wfctl tree -f order-1
  wfctl tree --words | less
"""
TAKES = ("ids", "times", "pager", "follow", "outcome")
EVERY_MS = 250
TICK_S = 1.0


def run(
    ctx: typer.Context,
    id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Root of the tree; without it the newest open runs.")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Redraw until the run has closed.")] = False,
    words: Annotated[bool, typer.Option("--words", help="Status words instead of glyphs.")] = False,
    ascii: Annotated[bool, typer.Option("--ascii", help="ASCII characters only.")] = False,
) -> int:
    """Show a run with its steps, waits and children.

    With -f on a terminal the tree is redrawn in place as things happen, elsewhere each change is one line; the exit
    code then tells how the run closed.
    """
    shell = shell_of(ctx)
    if not follow:
        shell.read_alone()
    viewer = Viewer(shell, None if id is None else shell.run_id(id), words=words, ascii=ascii or shell.out.ascii)
    if not follow:
        viewer.still(viewer.fetch(shell.connect()))
        return exit.OK
    try:
        outcome = viewer.follow()
    except KeyboardInterrupt:
        shell.note("stopped watching; the run goes on" if id else "stopped watching; the runs go on")
        raise
    return exit.LOOKS[outcome.status].exit


class Viewer:
    def __init__(self, shell: Shell, id: str | None, *, words: bool, ascii: bool) -> None:
        self._shell = shell
        self._id = id
        self._words = words
        self._ascii = ascii
        self._differ = Differ()
        self._first: Tree | None = None
        self._problems: list[ProblemView] = []

    def fetch(self, connection: Connection) -> Tree:
        tree: Tree = connection.call(GetTree(id=self._id))
        if self._id is not None and tree.roots:
            # A workflow ID may be taken by a newer run while one watches: stay with this one.
            self._id = tree.roots[0].run.run_id
        return tree

    # -- one snapshot -----------------------------------------------------------------------

    def still(self, tree: Tree) -> None:
        shell = self._shell
        if shell.output is Output.JSON:
            shell.out.write(text_of(tree_document(tree, one=self._id is not None), pretty=shell.out.tty))
        elif shell.output is Output.JSONL:
            self._nodes(tree)
            shell.out.write(text_of(end_line(tree)))
        elif shell.output is Output.ID:
            shell.print_ids(run_ids(tree))
        else:
            if not tree.roots:
                shell.note("no open runs")
            budget = STATIC_BUDGET if shell.out.tty else None
            shell.out.lines(tree_lines(tree, self._style(budget), now_ms=tree.now, more=self._whole()))

    def _nodes(self, tree: Tree) -> None:
        for line in node_lines(tree):
            self._shell.out.write(text_of(line))

    def _style(self, budget: int | None) -> Style:
        width = self._shell.out.columns if self._shell.out.tty else None
        return Style(width, self._ascii, self._words, budget)

    def _whole(self) -> str:
        return f"wfctl tree {shlex.quote(self._id)} | less" if self._id else "wfctl tree | less"

    # -- following --------------------------------------------------------------------------

    def follow(self) -> Outcome:
        """Until the run has closed: live on a terminal, a line a change elsewhere, one document at the end with `-o json`."""
        shell = self._shell
        if shell.output is Output.TABLE and shell.out.tty:
            with Region(shell.out) as region:
                return shell.persist(lambda: self._live(region))
        return shell.persist(self._changes)

    def _open(self) -> tuple[Connection, Stream, Tree]:
        """The tree, and a stream of notices on a connection of its own. The tree is asked for first: it says which run it is."""
        tree = self.fetch(self._shell.connect())
        beside = self._shell.dial()
        return beside, beside.stream(Watch(id=self._id, every_ms=EVERY_MS)), tree

    def _live(self, region: Region) -> Outcome:
        region.settle()
        beside, stream, tree = self._open()
        with beside:
            fetched = time.monotonic()
            while True:
                age_ms = int((time.monotonic() - fetched) * 1_000)
                style = self._style(max(self._shell.out.rows - 2, 3))
                self._draw(region, tree, style, tree.now + age_ms)
                ticking = any(root.run.status.open for root in tree.roots)
                notice = stream.poll(TICK_S if ticking else None)
                if notice is not None:
                    self._problems = notice.problems
                if notice is not None or stream.ended:
                    tree = self.fetch(self._shell.connect())
                    fetched = time.monotonic()
                if stream.ended:
                    outcome = _closed(stream)
                    # The final frame has no screen to fit on any more, and stays in the scrollback.
                    self._draw(region, tree, self._style(STATIC_BUDGET), tree.now)
                    return outcome

    def _draw(self, region: Region, tree: Tree, style: Style, now_ms: int) -> None:
        # The width the lines were laid out for: the terminal may have another by now, and will be drawn for next time.
        width = style.width or DEFAULT_COLUMNS
        notes = problem_notes(self._problems, width)
        if style.budget is not None:
            style = style._replace(budget=max(style.budget - len(notes), 1))
        region.draw([*tree_lines(tree, style, now_ms=now_ms, more=self._whole()), *notes], width)

    def _changes(self) -> Outcome:
        beside, stream, tree = self._open()
        with beside:
            if self._first is None:
                self._first = tree
                if self._shell.output is Output.JSONL:
                    self._nodes(tree)
                    self._differ.feed(tree)
            self._tell(tree)
            while not stream.ended:
                if (notice := stream.poll(None)) is not None:
                    self._tell_problems(notice.problems)
                    self._tell(self.fetch(self._shell.connect()))
            outcome = _closed(stream)
            tree = self.fetch(self._shell.connect())
            self._tell(tree, last=True)
            if self._shell.output is Output.JSONL:
                self._shell.out.write(text_of(end_line(tree)))
            elif self._shell.output is not Output.TABLE:
                self.still(tree)
            return outcome

    def _tell_problems(self, problems: list[ProblemView]) -> None:
        """What is wrong with the code, once; and once that it is right again."""
        if problems == self._problems:
            return
        self._problems = problems
        shell = self._shell
        if shell.output is Output.JSONL:
            shell.json_line({"kind": "code", "problems": problems})
            shell.out.flush()
        elif not shell.quiet and not shell.json:
            shell.err.prose([line for problem in problems for line in problem_lines(problem)])
            if not problems:
                shell.err.write("the code is right again")
            shell.err.flush()

    def _tell(self, tree: Tree, *, last: bool = False) -> None:
        shell = self._shell
        for change in self._differ.feed(tree, last=last):
            if shell.output is Output.JSONL:
                shell.out.write(text_of(change.data(tree.rev)))
            elif shell.output is Output.TABLE:
                shell.out.write(change.text())
        shell.out.flush()


def _closed(stream: Stream) -> Outcome:
    """How the watched run closed. A stream that ended before it did was ended by a daemon that stops."""
    outcome: Outcome | None = stream.answer
    if outcome is None or outcome.status.open:
        raise stopping()
    return outcome
