"""The tree of runs as a snapshot: level by level, counts before contents, many children of one type as a group with a sample.

What it costs depends on what is shown, not on how many children there are: groups are counted in the index and never
loaded. What went wrong is looked for first, so that no fold, sample or cut hides the way to it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from wfctl.protocol.calls import GetTree
from wfctl.protocol.views import ProgressView, RunView, TreeGroup, TreeNode, TreeStep, TriesView
from wfctl.values.failure import Failure
from wfctl.values.runinfo import ParentInfo
from wfctl.values.status import Status
from wfd.engine import samples
from wfd.engine.samples import BAD, Members
from wfd.engine.steps import tree_steps
from wfd.engine.watch import Report
from wfd.store import browse
from wfd.store.reader import Snapshot
from wfd.store.rows import Sibling, StepRecord, Summary

MAX_NODES = 2_000
MAX_NODES_UNGROUPED = 50_000
MAX_STEPS = 200
# To so many runs that went wrong in one tree the way is shown; further ones are counted.
MAX_WAYS = 500
# A run with more records than this has its newest steps read, not all.
_LONG_HISTORY = 2_000
_NEWEST_RECORDS = 4 * MAX_STEPS
# Runs of which it is told how often the task of their newest step was tried.
_TRIED = (Status.RUNNING, Status.FAILED)
_names = msgspec.json.Decoder(list[str]).decode
_failure = msgspec.json.Decoder(Failure).decode


def run_view(run: Summary, progress: ProgressView | None = None) -> RunView:
    """One run as every listing shows it."""
    parent = None
    if run.parent_id is not None:
        parent = ParentInfo(run.parent_id, run.parent_workflow_id or "", run.parent_type or "")
    return RunView(
        run_id=run.run_id, workflow_id=run.workflow_id, workflow_type=run.type, status=Status(run.status),
        started_at=run.started_at, closed_at=run.closed_at, parent=parent, root_id=run.root_id, depth=run.depth,
        step=run.step, attempt=run.attempt,
        waiting_for=None if run.waiting_for is None else _names(run.waiting_for),
        wake_at=_wake_at(run), deadline=run.deadline,
        stuck_reason=run.reason if run.status == Status.STUCK else None,
        error=None if run.error is None else _failure(run.error),
        children=run.children, open_children=run.open_children, queued_events=run.queued, rev=run.rev, progress=progress,
    )  # fmt: skip


def _wake_at(run: Summary) -> int | None:
    """When the wait or delay ends. The row's is also that of the whole run's deadline, which is shown as such."""
    if run.status == Status.SLEEPING or (run.status == Status.WAITING and run.wake_at != run.deadline):
        return run.wake_at
    return None


class Expanded(msgspec.Struct, frozen=True):
    """What is to be shown whatever is folded: the members of groups of these types, or in these statuses, and these runs (keys)."""

    types: frozenset[str] = frozenset()
    statuses: tuple[str, ...] = ()
    keys: tuple[int, ...] = ()


class _Group(msgspec.Struct):
    """A group in the making. `seq` is where the first of it was started."""

    members: Members
    sample: list[int]
    causes: samples.Causes
    troubled: int
    p50_ms: int | None
    p99_ms: int | None
    timed: int
    seq: int = 0


class _Branch(msgspec.Struct):
    """A node in the making. `inside` is false for a member of a sample, which is shown without what is in it."""

    run: Summary
    inside: bool = True
    steps: list[TreeStep] = []
    steps_elided: int = 0
    children: list[int] = []
    children_elided: int = 0
    groups: list[_Group] = []
    seq: int = 0
    cut: bool = False
    tries: TriesView | None = None
    # When the sleep of its running step is over.
    wake_at: int | None = None


class _Ways:
    """The ways down to runs that must not be hidden: `failed` and `stuck` count what went wrong under each run on them."""

    def __init__(self) -> None:
        self.failed: dict[int, int] = {}
        self.stuck: dict[int, int] = {}
        self.bad: set[int] = set()
        self._children: dict[tuple[int, str], list[int]] = {}

    def leads_through(self, key: int) -> bool:
        return key in self.failed or key in self.stuck

    async def lead(self, snapshot: Snapshot, keys: Collection[int], bad: Mapping[int, str] | None = None) -> None:
        """Add the ways to `keys`; `bad` says in which status those are that went wrong."""
        above = await browse.lineage(snapshot, keys)
        for key in sorted(above):
            parent = above[key].parent
            if parent is not None:
                siblings = self._children.setdefault((parent, above[key].type), [])
                if key not in siblings:
                    siblings.append(key)
        for key, status in (bad or {}).items():
            self.bad.add(key)
            counts = self.stuck if status == Status.STUCK else self.failed
            at = above[key].parent
            while at is not None:
                counts[at] = counts.get(at, 0) + 1
                at = above[at].parent

    def children(self, parent: int, kind: str) -> list[int]:
        """The children of that type that lie on a way."""
        return self._children.get((parent, kind), [])


class Forest:
    """Builds the trees of some roots inside one snapshot; `complete` then says whether anything was left out."""

    def __init__(
        self, snapshot: Snapshot, call: GetTree, expanded: Expanded, now_ms: int, reports: Mapping[int, Report]
    ) -> None:
        self._snapshot = snapshot
        self._now_ms = now_ms
        self._call = call
        self._expanded = expanded
        self._reports = reports
        self._branches: dict[int, _Branch] = {}
        # A caller who wants no groups wants everything, within reason.
        self._room = max(MAX_NODES, min(call.group_at, MAX_NODES_UNGROUPED))
        self._ways = _Ways()  # to what went wrong
        self._wanted = _Ways()  # to what the caller named
        self._kept: dict[tuple[int, str], list[int]] = {}
        self.complete = True

    async def grow(self, roots: Sequence[int]) -> list[TreeNode]:
        await self._look(roots)
        level = await self._show(roots, inside=True)
        depth = 0
        while level:
            parents = [key for key in level if self._branches[key].run.children]
            depth += 1
            if depth > self._call.depth:
                for key in parents:
                    self._branches[key].cut = True
                    self._elide(key, self._branches[key].run.children)
                break
            level = await self._below(parents) if parents else []
        await self._fill()
        return [self._node(key) for key in roots if key in self._branches]

    async def _look(self, roots: Sequence[int]) -> None:
        """What must be shown, before anything is."""
        for root in roots:
            bad = await browse.bad_below(self._snapshot, root, MAX_WAYS)
            await self._ways.lead(self._snapshot, bad, bad)
            if len(bad) == MAX_WAYS:
                counts = await browse.count_bad_below(self._snapshot, root)
                self._ways.stuck[root] = counts.pop(Status.STUCK, 0)
                self._ways.failed[root] = sum(counts.values())
        if self._expanded.keys:
            await self._wanted.lead(self._snapshot, self._expanded.keys)
        for key, parent, kind in await browse.placed(self._snapshot, self._call.keep):
            self._kept.setdefault((parent, kind), []).append(key)

    async def _show(self, keys: Iterable[int], *, inside: bool) -> list[int]:
        found = await browse.summaries(self._snapshot, keys)
        for key, run in found.items():
            self._branches[key] = _Branch(run, inside)
        return sorted(found)

    def _elide(self, parent: int, number: int) -> None:
        self._branches[parent].children_elided += number
        self.complete = self.complete and not number

    # -- children ------------------------------------------------------------------------------

    async def _below(self, parents: list[int]) -> list[int]:
        """Show the children of `parents`, or count and sample them; returns those that are shown with what is in them."""
        small: list[tuple[int, str]] = []
        single: list[tuple[int, int]] = []
        opened: list[int] = []
        for members in _groups(await browse.siblings(self._snapshot, parents)):
            total, kind = members.total, members.kind
            must = [*self._ways.children(members.parent, kind), *self._wanted.children(members.parent, kind)]
            number = len(must) if self._call.only_failed else total
            if number > self._call.group_at and self._room > 0 and kind not in self._expanded.types:
                opened += await self._group(members)
            elif not self._call.only_failed and total <= self._room:
                self._room -= total
                small.append((members.parent, kind))
            else:
                single += [(key, members.parent) for key in dict.fromkeys(must)]
                self._elide(members.parent, total - len(set(must)))
        pairs = single + (await browse.children_of(self._snapshot, small) if small else [])
        shown = await self._show([key for key, _ in pairs], inside=True) if pairs else []
        for key, parent in sorted(pairs):
            self._branches[parent].children.append(key)
        return sorted({*shown, *opened})

    async def _group(self, members: Members) -> list[int]:
        """Count and sample; returns those of the sample that are shown with what is in them."""
        parent, kind, snapshot = members.parent, members.kind, self._snapshot
        causes = await samples.causes(snapshot, members)
        troubled = [key for key in self._ways.children(parent, kind) if key not in self._ways.bad]
        if self._call.only_failed:
            # Those that are well have no slots here.
            shown = msgspec.structs.replace(members, by_status={s: n for s, n in members.by_status.items() if s in BAD})
        else:
            shown = members
        kept = self._kept.get((parent, kind), [])
        sample = await samples.sample(snapshot, shown, self._call.sample, causes, kept, troubled, self._now_ms)
        wanted = list(self._wanted.children(parent, kind))
        for status in self._expanded.statuses:
            if members.by_status.get(status):
                wanted += await browse.oldest(snapshot, parent, kind, status, self._room)
        sample += [key for key in dict.fromkeys(wanted) if key not in sample]
        opened = [key for key in sample if self._ways.leads_through(key) or key in wanted]
        self._room -= len(await self._show(sample, inside=False))
        for key in opened:
            self._branches[key].inside = True
        if kept:
            sample.sort(key=self._place)
        group = _Group(members, sample, causes, len(troubled), *await samples.durations(snapshot, members))
        self._branches[parent].groups.append(group)
        self.complete = self.complete and len(sample) == members.total
        return opened

    def _place(self, key: int) -> tuple[bool, int]:
        """Where a member stands among others of a sample, those that are kept included: what went wrong first, the oldest first."""
        well = self._branches[key].run.status not in BAD and not self._ways.leads_through(key)
        return well, 0 if well else key

    # -- what is in a run ----------------------------------------------------------------------

    async def _fill(self) -> None:
        """The steps of all runs that are shown with what is in them, and where each run was started."""
        short: list[int] = []
        for key, branch in self._branches.items():
            if branch.inside or branch.run.status in _TRIED:
                if branch.run.seq > _LONG_HISTORY:
                    await self._fill_long(key, branch)
                else:
                    short.append(key)
        by_run: dict[int, list[StepRecord]] = {}
        failed_since: dict[int, int] = {}
        for record in await browse.step_records(self._snapshot, short):
            if record.kind.startswith("task."):
                failed_since.setdefault(record.run, record.seq)
            else:
                by_run.setdefault(record.run, []).append(record)
        for record in await browse.tried(self._snapshot, failed_since) if failed_since else ():
            by_run.setdefault(record.run, []).append(record)
        for key, records in by_run.items():
            self._keep_newest(self._branches[key], tree_steps(records), 0)
        children = {key for key, branch in self._branches.items() if branch.run.parent is not None}
        groups = {group.members.oldest: group for branch in self._branches.values() for group in branch.groups}
        for key, seq in (await browse.child_seqs(self._snapshot, children | groups.keys())).items():
            if key in self._branches:
                self._branches[key].seq = seq
            if key in groups:
                groups[key].seq = seq

    async def _fill_long(self, key: int, branch: _Branch) -> None:
        records = await browse.newest_step_records(self._snapshot, key, _NEWEST_RECORDS)
        first = records[0].seq if records else 0
        steps = tree_steps([*records, *await browse.tried(self._snapshot, {key: first})])
        before = 0
        if branch.inside:
            before = await browse.lines_before(self._snapshot, key, steps[0].seq if steps else 0)
        self._keep_newest(branch, steps, before)

    def _keep_newest(self, branch: _Branch, steps: list[TreeStep], before: int) -> None:
        if steps and branch.run.status in _TRIED:
            branch.tries = steps[-1].tries
            if branch.run.status == Status.RUNNING and steps[-1].kind not in ("sleep", "wait"):
                branch.wake_at = steps[-1].wake_at
        if not branch.inside:
            return
        branch.steps = steps[-MAX_STEPS:]
        branch.steps_elided = before + len(steps) - len(branch.steps)
        if branch.steps_elided:
            self.complete = False

    def _node(self, key: int) -> TreeNode:
        branch = self._branches[key]
        report = self._reports.get(key)
        view = run_view(branch.run, None if report is None else report.progress)
        return TreeNode(
            run=view if branch.wake_at is None else msgspec.structs.replace(view, wake_at=branch.wake_at),
            steps=branch.steps, steps_elided=branch.steps_elided,
            children=[self._node(child) for child in branch.children], children_elided=branch.children_elided,
            groups=[self._group_view(group) for group in branch.groups],
            seq=branch.seq, failed_below=self._ways.failed.get(key, 0),
            stuck_below=self._ways.stuck.get(key, 0), cut=branch.cut, tries=branch.tries,
        )  # fmt: skip

    def _group_view(self, group: _Group) -> TreeGroup:
        members, causes = group.members, group.causes
        return TreeGroup(
            workflow_type=members.kind, total=members.total, by_status=members.by_status, by_error=causes.by_error,
            sample=[self._node(member) for member in group.sample], seq=group.seq,
            errors_of=causes.counted if causes.counted < members.bad else 0,
            p50_ms=group.p50_ms, p99_ms=group.p99_ms, timed=group.timed, troubled=group.troubled,
        )  # fmt: skip


def _groups(counted: Iterable[Sibling]) -> list[Members]:
    found: dict[tuple[int, str], Members] = {}
    for row in counted:
        before = found.get((row.parent, row.type))
        by_status = {} if before is None else before.by_status
        by_status[row.status] = row.count
        oldest = row.oldest if before is None else min(before.oldest, row.oldest)
        found[row.parent, row.type] = Members(row.parent, row.type, by_status, oldest)
    return list(found.values())
