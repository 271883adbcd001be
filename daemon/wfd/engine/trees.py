"""The tree of runs as a snapshot: level by level, counts before contents, many children of one type as a group with a sample.

What it costs depends on what is shown, not on how many children there are: groups are counted in the index and never
loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from wfctl.protocol.calls import GetTree
from wfctl.protocol.views import RunView, TreeGroup, TreeNode, TreeStep
from wfctl.values.failure import Failure
from wfctl.values.runinfo import ParentInfo
from wfctl.values.status import Status
from wfd.engine.steps import tree_steps
from wfd.store import browse
from wfd.store.reader import Snapshot
from wfd.store.rows import Sibling, StepRecord, Summary, Trouble

MAX_NODES = 2_000
MAX_NODES_UNGROUPED = 50_000
MAX_STEPS = 200
MAX_SIGNATURES = 20
# A run with more records than this has its newest steps read, not all.
_LONG_HISTORY = 2_000
_NEWEST_RECORDS = 4 * MAX_STEPS
_BAD = (Status.FAILED, Status.TIMED_OUT, Status.STUCK)
# Of members that are well: one that is being cancelled or was begun again, the one that runs longest, the one that waits
# longest. (status, only where its step was begun more than once)
_SLOTS = (
    ((Status.CANCELLING, False), (Status.RUNNING, True)),
    ((Status.RUNNING, False),),
    ((Status.WAITING, False), (Status.SLEEPING, False)),
)
_CHANGING = re.compile(
    r"0x[0-9a-fA-F]+|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9A-HJKMNP-TV-Z]{26}\b|\d+"
)
_names = msgspec.json.Decoder(list[str]).decode
_failure = msgspec.json.Decoder(Failure).decode


def run_view(run: Summary) -> RunView:
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
        children=run.children, open_children=run.open_children, queued_events=run.queued, rev=run.rev,
    )  # fmt: skip


def _wake_at(run: Summary) -> int | None:
    """When the wait or delay ends. The row's is also that of the whole run's deadline, which is shown as such."""
    if run.status == Status.SLEEPING or (run.status == Status.WAITING and run.wake_at != run.deadline):
        return run.wake_at
    return None


def signature(error_type: str | None, message: str | None) -> str:
    """What errors of one cause have in common: their type and first line, with numbers and ids replaced by `#`."""
    first = (message or "").partition("\n")[0].strip()
    text = _CHANGING.sub("#", first)[:120]
    return f"{error_type or 'Error'}: {text}" if text else error_type or "Error"


class _Branch(msgspec.Struct):
    """A node in the making. `inside` is false for a member of a sample, which is shown without what is in it."""

    run: Summary
    inside: bool = True
    steps: list[TreeStep] = []
    steps_elided: int = 0
    children: list[int] = []
    children_elided: int = 0
    groups: list[tuple[str, dict[str, int], dict[str, int], list[int]]] = []
    seq: int = 0


class Forest:
    """Builds the trees of some roots inside one snapshot; `complete` then says whether anything was left out."""

    def __init__(self, snapshot: Snapshot, call: GetTree) -> None:
        self._snapshot = snapshot
        self._call = call
        self._branches: dict[int, _Branch] = {}
        # A caller who wants no groups wants everything, within reason.
        self._room = max(MAX_NODES, min(call.group_at, MAX_NODES_UNGROUPED))
        self.complete = True

    async def grow(self, roots: Sequence[int]) -> list[TreeNode]:
        level = await self._show(roots, inside=True)
        depth = 0
        while level:
            parents = [key for key in level if self._branches[key].run.children]
            depth += 1
            if depth > self._call.depth:
                for key in parents:
                    self._elide(key, self._branches[key].run.children)
                break
            level = await self._below(parents) if parents else []
        await self._fill()
        return [self._node(key) for key in roots if key in self._branches]

    async def _show(self, keys: Iterable[int], *, inside: bool) -> list[int]:
        found = await browse.summaries(self._snapshot, keys)
        for key, run in found.items():
            self._branches[key] = _Branch(run, inside)
        return sorted(found)

    def _elide(self, parent: int, number: int) -> None:
        self._branches[parent].children_elided += number
        self.complete = False

    # -- children ------------------------------------------------------------------------------

    async def _below(self, parents: list[int]) -> list[int]:
        """Show the children of `parents`, or count and sample them; returns those that are shown with what is in them."""
        small: list[tuple[int, str]] = []
        for (parent, kind), by_status in _by_kind(await browse.siblings(self._snapshot, parents)).items():
            total = sum(by_status.values())
            if total > self._call.group_at and self._room > 0:
                await self._group(parent, kind, by_status)
            elif total <= self._room:
                self._room -= total
                small.append((parent, kind))
            else:
                self._elide(parent, total)
        if not small:
            return []
        pairs = await browse.children_of(self._snapshot, small)
        shown = await self._show([key for key, _ in pairs], inside=True)
        for key, parent in pairs:
            self._branches[parent].children.append(key)
        return shown

    async def _group(self, parent: int, kind: str, by_status: dict[str, int]) -> None:
        sample, errors = await self._sample(parent, kind, by_status)
        self._room -= len(await self._show(sample, inside=False))
        self._branches[parent].groups.append((kind, by_status, errors, sample))
        self.complete = False

    async def _sample(self, parent: int, kind: str, by_status: dict[str, int]) -> tuple[list[int], dict[str, int]]:
        """Members worth a line, and how often each error occurs: two that went wrong (oldest first, one of each cause), then
        what `_SLOTS` names; slots that are left go to further causes, then to further failures.
        """
        size, snapshot = self._call.sample, self._snapshot
        bad = [status for status in _BAD if by_status.get(status)]
        causes = await browse.troubles(snapshot, parent, kind) if bad else []
        firsts = _oldest_by_cause(causes)
        others = await self._others(parent, kind, by_status, size - min(2, len(firsts), size))
        wrong = firsts[: size - len(others)]
        if len(wrong) + len(others) < size:
            more = [key for status in bad for key in await browse.oldest(snapshot, parent, kind, status, size)]
            wrong += [key for key in sorted(more) if key not in wrong][: size - len(wrong) - len(others)]
        return sorted(wrong) + others, _histogram(causes)

    async def _others(self, parent: int, kind: str, by_status: dict[str, int], room: int) -> list[int]:
        found: list[int] = []
        for slot in _SLOTS:
            for status, retried in slot:
                if len(found) >= room:
                    return found
                if not by_status.get(status):
                    continue
                if retried:
                    keys = await browse.oldest_retried(self._snapshot, parent, kind)
                else:
                    keys = await browse.oldest(self._snapshot, parent, kind, status, len(found) + 1)
                free = [key for key in keys if key not in found]
                if free:
                    found.append(free[0])
                    break
        return found

    # -- what is in a run ----------------------------------------------------------------------

    async def _fill(self) -> None:
        """The steps of all runs that are shown with what is in them, and where each run was started."""
        short: list[int] = []
        for key, branch in self._branches.items():
            if branch.inside:
                if branch.run.seq > _LONG_HISTORY:
                    await self._fill_long(key, branch)
                else:
                    short.append(key)
        by_run: dict[int, list[StepRecord]] = {}
        for record in await browse.step_records(self._snapshot, short):
            by_run.setdefault(record.run, []).append(record)
        for key, records in by_run.items():
            self._keep_newest(self._branches[key], tree_steps(records), 0)
        children = [key for key, branch in self._branches.items() if branch.run.parent is not None]
        for key, seq in (await browse.child_seqs(self._snapshot, children)).items():
            self._branches[key].seq = seq

    async def _fill_long(self, key: int, branch: _Branch) -> None:
        records = await browse.newest_step_records(self._snapshot, key, _NEWEST_RECORDS)
        steps = tree_steps(records)
        before = await browse.lines_before(self._snapshot, key, steps[0].seq if steps else 0)
        self._keep_newest(branch, steps, before)

    def _keep_newest(self, branch: _Branch, steps: list[TreeStep], before: int) -> None:
        branch.steps = steps[-MAX_STEPS:]
        branch.steps_elided = before + len(steps) - len(branch.steps)
        if branch.steps_elided:
            self.complete = False

    def _node(self, key: int) -> TreeNode:
        branch = self._branches[key]
        return TreeNode(
            run=run_view(branch.run), steps=branch.steps, steps_elided=branch.steps_elided,
            children=[self._node(child) for child in branch.children], children_elided=branch.children_elided,
            groups=[
                TreeGroup(
                    workflow_type=kind, total=sum(by_status.values()), by_status=by_status, by_error=errors,
                    sample=[self._node(member) for member in sample],
                )
                for kind, by_status, errors, sample in branch.groups
            ],
            seq=branch.seq,
        )  # fmt: skip


def _by_kind(counted: Iterable[Sibling]) -> dict[tuple[int, str], dict[str, int]]:
    found: dict[tuple[int, str], dict[str, int]] = {}
    for row in counted:
        found.setdefault((row.parent, row.type), {})[row.status] = row.count
    return found


def _cause(trouble: Trouble) -> str:
    if trouble.status == Status.STUCK:
        return f"stuck: {trouble.reason}"
    return signature(trouble.error_type, trouble.error_message)


def _oldest_by_cause(causes: Iterable[Trouble]) -> list[int]:
    """The oldest run of each cause, oldest first. `causes` come oldest first, so the first of a cause counts."""
    first: dict[str, int] = {}
    for trouble in causes:
        first.setdefault(_cause(trouble), trouble.oldest)
    return list(first.values())


def _histogram(causes: Iterable[Trouble]) -> dict[str, int]:
    """How often each error signature occurs, the most frequent first. Stuck runs have no error."""
    counts: dict[str, int] = {}
    for trouble in causes:
        if trouble.status != Status.STUCK:
            cause = _cause(trouble)
            counts[cause] = counts.get(cause, 0) + trouble.count
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:MAX_SIGNATURES])
