"""Showing a tree: one snapshot, a live picture, or the changes as lines, each until the watched run has closed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from wfctl.cli.options import Output
from wfctl.cli.reader import end_with_reader
from wfctl.cli.render.document import text_of
from wfctl.cli.render.text import Line, cut
from wfctl.cli.render.treedata import (
    Merger,
    change_line,
    end_line,
    node_lines,
    run_ids,
    standing_text,
    tree_document,
)  # fmt: skip
from wfctl.cli.render.treeline import Fold
from wfctl.cli.screen import DEFAULT_COLUMNS
from wfctl.cli.shell import Shell
from wfctl.protocol.trees import GetTree, Tree, TreeNode
from wfctl.values.commands import command
from wfctl.values.status import Status

# What draws and what follows is imported where it begins: data for programs needs neither.
if TYPE_CHECKING:
    from wfctl.cli.live import Region, Resizes
    from wfctl.cli.render.tree import Style
    from wfctl.client.blocking import Connection
    from wfctl.protocol.daemon import ProblemView
    from wfctl.protocol.runs import Outcome
    from wfctl.protocol.streams import WatchItem

EVERY_MS = 250
TICK_S = 1.0
# So long a member of a sample stays where it is shown, whatever becomes of it: nobody can read what changes faster.
STEADY_S = 2.0
_BAD = (Status.FAILED, Status.TIMED_OUT, Status.STUCK)


class Look(NamedTuple):
    """How the tree is to look, and how much of it is to be shown."""

    fold: Fold
    words: bool
    ascii: bool


class Viewer:
    """`call` is what to ask for; once answered, it stays with the very run that was shown. `since_rev` begins the changes there;
    `several`: a tree is one of several, also where it is the only one that there is."""

    def __init__(
        self, shell: Shell, call: GetTree, look: Look, since_rev: int | None = None, *, several: bool = False
    ) -> None:
        self._shell = shell
        self._call = call
        self._named = call.id is not None
        self._one = self._named and not several
        self._look = look
        self._rev = since_rev
        # The last revision that was shown, for whoever goes on after a restart of the daemon.
        self._seen = since_rev
        self._problems: list[ProblemView] = []
        self._shown_since: dict[str, float] = {}
        self._merger = Merger()

    def fetch(self, connection: Connection) -> Tree:
        tree: Tree = connection.call(replace(self._call, keep=self._steady()))
        self._seen = max(self._seen or 0, tree.rev)
        if self._one and tree.roots:
            # A workflow ID may be taken by a newer run while one watches: stay with this one.
            self._call = replace(self._call, id=tree.roots[0].run.run_id)
        now = time.monotonic()
        self._shown_since = {id: self._shown_since.get(id, now) for root in tree.roots for id in _sampled(root)}
        if self._look.fold.only_failed and not self._named:
            tree = replace(tree, roots=[root for root in tree.roots if _went_wrong(root)])
        return tree

    def _steady(self) -> list[str]:
        """Members of samples that have not been shown long enough to be replaced by others."""
        since = time.monotonic() - STEADY_S
        return [id for id, shown_at in self._shown_since.items() if shown_at > since]

    # -- one snapshot -----------------------------------------------------------------------

    def still(self, tree: Tree) -> None:
        shell = self._shell
        if shell.output is Output.JSON:
            shell.out.write(text_of(tree_document(tree, one=self._one, named=self._named), pretty=shell.out.tty))
        elif shell.output is Output.JSONL:
            self._nodes(tree)
            shell.out.write(text_of(end_line(tree)))
        elif shell.output is Output.ID:
            shell.print_ids(run_ids(tree))
        else:
            from wfctl.cli.render.tree import STATIC_BUDGET

            budget = STATIC_BUDGET if shell.out.tty and not self._look.fold.whole else None
            shell.out.lines(self._lines(tree, self._style(budget), tree.now))
            self._say_what_is_missing(tree)

    def _say_what_is_missing(self, tree: Tree) -> None:
        if self._look.fold.only_failed and not any(map(_went_wrong, tree.roots)):
            self._shell.note("nothing has failed")
            return
        if not tree.roots:
            self._shell.note("no open runs")
        if more := _more_roots(tree):
            self._shell.note(more)

    def _nodes(self, tree: Tree) -> None:
        for line in node_lines(tree):
            self._shell.out.write(text_of(line))

    def _style(self, budget: int | None) -> Style:
        from wfctl.cli.render.tree import Style

        width = self._shell.out.columns if self._shell.out.tty else None
        return Style(width, self._look.ascii, self._look.words, budget)

    def _lines(self, tree: Tree, style: Style, now_ms: int) -> list[Line]:
        from wfctl.cli.render.tree import tree_lines

        named = [self._call.id, *self._call.ids] if self._call.id else []
        whole = command("tree", *named, options="--all")
        return tree_lines(tree, style, now_ms=now_ms, fold=self._look.fold, more=whole)

    # -- following --------------------------------------------------------------------------

    def follow(self) -> list[Status]:
        """Until the runs have closed, and how they did. Live on a terminal, a line a change elsewhere, one document at the end with
        `-o json`."""
        shell = self._shell
        if shell.output is Output.TABLE and shell.out.live:
            from wfctl.cli.live import Region, Resizes

            with Region(shell.out) as region, Resizes() as resizes:
                return shell.persist(lambda: self._live(region, resizes), rev=lambda: self._seen)
        end_with_reader(shell.out)
        return shell.persist(self._changes, rev=lambda: self._rev)

    def _live(self, region: Region, resizes: Resizes) -> list[Status]:
        from wfctl.cli.live import closed
        from wfctl.cli.render.tree import STATIC_BUDGET
        from wfctl.protocol.streams import Watch

        region.settle()
        # The tree is asked for first: it says which run it is.
        tree = self.fetch(self._shell.connect())
        with self._shell.dial() as beside:
            stream = beside.stream(Watch(id=self._call.id, ids=self._call.ids, every_ms=EVERY_MS, progress=True))
            fetched = time.monotonic()
            while True:
                age_ms = int((time.monotonic() - fetched) * 1_000)
                self._draw(region, tree, self._style(max(self._shell.out.rows - 2, 3)), tree.now + age_ms)
                drawn = time.monotonic()
                # Nothing that is shown counts on by itself where nothing is open.
                ticking = any(root.run.status.open for root in tree.roots)
                notice = resizes.poll(stream, TICK_S if ticking else None)
                if notice is not None:
                    self._problems = notice.problems
                if notice is not None or stream.ended:
                    tree = self.fetch(self._shell.connect())
                    fetched = time.monotonic()
                if stream.ended:
                    outcome = closed(stream)
                    # The final frame has no screen to fit on any more, and stays in the scrollback.
                    self._draw(region, tree, self._style(STATIC_BUDGET), tree.now)
                    return self._ends(outcome, tree)
                # A terminal that is being dragged wider says so more often than it is drawn for.
                time.sleep(max(drawn + EVERY_MS / 1_000 - time.monotonic(), 0.0))

    def _ends(self, outcome: Outcome, tree: Tree) -> list[Status]:
        """How the followed runs closed."""
        return [root.run.status for root in tree.roots] if self._call.ids else [outcome.status]

    def _draw(self, region: Region, tree: Tree, style: Style, now_ms: int) -> None:
        from wfctl.cli.render.status import problem_notes

        # The width the lines were laid out for: the terminal may have another by now, and will be drawn for next time.
        width = style.width or DEFAULT_COLUMNS
        notes = problem_notes(self._problems, width)
        if more := _more_roots(tree):
            notes.append([(cut(more, width - 1), "dim")])
        if style.budget is not None:
            style = style._replace(budget=max(style.budget - len(notes), 1))
        region.draw([*self._lines(tree, style, now_ms), *notes], width)

    def _changes(self) -> list[Status]:
        from wfctl.cli.live import closed
        from wfctl.protocol.streams import Watch

        shell = self._shell
        tree = self.fetch(shell.connect())
        if self._rev is None:
            self._rev = tree.rev
            if shell.output is Output.JSONL:
                self._nodes(tree)
            elif shell.output is Output.TABLE:
                shell.out.lines([(standing_text(root.run, tree.now), "")] for root in tree.roots)
            shell.out.flush()
        with shell.dial() as beside:
            call = self._call
            stream = beside.stream(
                Watch(id=call.id, ids=call.ids, every_ms=EVERY_MS, changes=True, since_rev=self._rev)
            )
            while not stream.ended:
                item = stream.poll(self._merger.due_s)
                self._tell(item, last=stream.ended)
            outcome = closed(stream)
            tree = self.fetch(shell.connect())
            if shell.output is Output.JSONL:
                shell.out.write(text_of(end_line(tree)))
            elif shell.output is not Output.TABLE:
                self.still(tree)
            return self._ends(outcome, tree)

    def _tell(self, item: WatchItem | None, *, last: bool) -> None:
        """Print what changed; without an item what was held back, where it is time."""
        shell = self._shell
        if item is not None:
            self._tell_problems(item.problems)
        changes = [] if item is None else item.changes
        if shell.output is Output.JSONL:
            for change in changes:
                shell.out.write(text_of(change_line(change)))
        elif shell.output is Output.TABLE:
            for line in self._merger.feed(changes, last=last):
                shell.out.write(line)
        shell.out.flush()
        if item is not None:
            self._rev = item.rev

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
            from wfctl.cli.render.status import problem_lines

            shell.err.prose([line for problem in problems for line in problem_lines(problem)])
            if not problems:
                shell.err.write("the code is right again")
            shell.err.flush()


def _more_roots(tree: Tree) -> str:
    """That there are more open roots, or such with failures, than are shown; empty where there are not."""
    if tree.failed_roots > len(tree.roots):
        what = "runs without a parent failed, or have failures below them"
        return f"{len(tree.roots):,} of {tree.failed_roots:,} {what}; more: wfctl tree --only failed --all"
    if tree.open_roots <= len(tree.roots):
        return ""
    return f"{len(tree.roots):,} of {tree.open_roots:,} open runs without a parent; more: wfctl tree --all"


def _sampled(node: TreeNode) -> Iterator[str]:
    for child in node.children:
        yield from _sampled(child)
    for group in node.groups:
        for member in group.sample:
            yield member.run.run_id
            yield from _sampled(member)


def _went_wrong(node: TreeNode) -> bool:
    return node.run.status in _BAD or node.failed_below + node.stuck_below > 0
