"""Runs, steps and trees as a daemon would show them, for tests of what is drawn."""

from __future__ import annotations

from typing import Any

from support.fake_daemon import NOW
from wfctl.protocol.views import HistoryEntry, RunView, Tree, TreeGroup, TreeNode, TreeStep
from wfctl.values.failure import Failure
from wfctl.values.status import Status

MINUTE = 60_000


def run(workflow_id: str = "order-1", *, type: str = "Order", status: str = "running", **more: Any) -> RunView:
    """A run that started four minutes and twelve seconds ago."""
    facts: dict[str, Any] = {
        "started_at": NOW - 252_000,
        "run_id": f"01JF{abs(hash(workflow_id)) % 10**22:022d}",
        **more,
    }
    if Status(status).closed:
        facts.setdefault("closed_at", facts["started_at"] + 12_100)
    return RunView(workflow_id=workflow_id, workflow_type=type, status=Status(status), **facts)


def failure(type: str, message: str = "") -> Failure:
    return Failure(type=type, message=message)


def step(
    name: str, status: str = "completed", *, took: int | None = 120, at: int = NOW - 200_000, **more: Any
) -> TreeStep:
    return TreeStep(
        name=name,
        kind=more.pop("kind", "step"),
        status=status,
        started_at=at,
        ended_at=None if took is None else at + took,
        **more,
    )


def node(view: RunView, *parts: TreeStep | TreeNode | TreeGroup, **more: Any) -> TreeNode:
    """A node with its parts in the order given."""
    steps, children, groups = [], [], []
    for seq, part in enumerate(parts, 1):
        if isinstance(part, TreeStep):
            steps.append(_with(part, seq))
        elif isinstance(part, TreeNode):
            children.append(_with(part, seq))
        else:
            groups.append(_sampled(part, seq))
    inner = [*children, *(member for group in groups for member in group.sample)]
    for name, bad in (("failed_below", (Status.FAILED, Status.TIMED_OUT)), ("stuck_below", (Status.STUCK,))):
        number = sum(getattr(one, name) for one in inner) + sum(child.run.status in bad for child in children)
        more.setdefault(name, number + sum(group.by_status.get(status, 0) for group in groups for status in bad))
    return TreeNode(run=view, steps=steps, children=children, groups=groups, **more)


def _with(part: Any, seq: int) -> Any:
    from msgspec.structs import replace

    return replace(part, seq=seq)


def _sampled(group: TreeGroup, seq: int) -> TreeGroup:
    return _with(_with_sample(group, [_with(member, seq) for member in group.sample]), seq)


def _with_sample(group: TreeGroup, sample: list[TreeNode]) -> TreeGroup:
    from msgspec.structs import replace

    return replace(group, sample=sample)


def tree(*roots: TreeNode, rev: int = 8841) -> Tree:
    return Tree(rev=rev, now=NOW, roots=list(roots))


def entry(
    kind: str, *, seq: int = 1, rev: int = 1, workflow_id: str = "order-1", at: int = NOW, **data: Any
) -> HistoryEntry:
    return HistoryEntry(
        rev=rev, run_id=f"run-of-{workflow_id}", workflow_id=workflow_id, seq=seq, at=at, kind=kind, data=data
    )
