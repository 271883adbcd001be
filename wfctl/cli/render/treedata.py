"""The tree for programs: one JSON document, one line a node, and the changes between two snapshots."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from wfctl.cli.render.document import as_data
from wfctl.cli.render.text import clean
from wfctl.cli.render.times import absolute
from wfctl.protocol.runs import RunView
from wfctl.protocol.trees import Tree, TreeGroup, TreeNode
from wfctl.values.status import Status
from wfctl.values.times import rfc3339

if TYPE_CHECKING:
    from wfctl.protocol.streams import RunChange

_BAD = (Status.FAILED, Status.TIMED_OUT, Status.STUCK)


def tree_document(tree: Tree, *, one: bool, named: bool = False) -> dict[str, Any]:
    """`root` when one run was asked for, `roots` for several, which were `named`, and for the forest."""
    roots = [_node(node) for node in tree.roots]
    head: dict[str, Any] = {"schema": "wfctl.tree/1", "rev": tree.rev, "now": rfc3339(tree.now)}
    head |= {"root": roots[0]} if one and roots else {"roots": roots}
    if not one and not named:
        head |= {"open_roots": tree.open_roots, "failed_roots": tree.failed_roots}
    return {**head, "complete": tree.complete}


def _node(node: TreeNode) -> dict[str, Any]:
    return {
        **_run(node),
        "steps": as_data(node.steps),
        "children": [_node(child) for child in node.children],
        "groups": [_group(group) for group in node.groups],
        "steps_elided": node.steps_elided,
        "children_elided": node.children_elided,
        "seq": node.seq,
        "tries": as_data(node.tries),
    }


def _run(node: TreeNode) -> dict[str, Any]:
    run = node.run
    data: dict[str, Any] = as_data(run)
    counts = {name: data.pop(name) for name in ("children", "open_children", "queued_events")}
    counts |= {"failed_below": node.failed_below, "stuck_below": node.stuck_below}
    return {
        "id": data.pop("run_id"),
        "workflow_id": data.pop("workflow_id"),
        "type": data.pop("workflow_type"),
        **{key: value for key, value in data.items() if key not in ("parent", "root_id", "rev")},
        "counts": counts,
    }


def _group(group: TreeGroup) -> dict[str, Any]:
    return {
        "name": group.workflow_type,
        "kind": "child",
        "total": group.total,
        "by_status": group.by_status,
        "by_error": group.by_error,
        "by_error_of": group.errors_of or sum(group.by_status.get(status, 0) for status in _BAD),
        "took": {"p50_ms": group.p50_ms, "p99_ms": group.p99_ms, "of": group.timed},
        "seq": group.seq,
        "troubled": group.troubled,
        "sample": [_node(member) for member in group.sample],
        "sample_ids": [member.run.run_id for member in group.sample],
        "elided": group.total - len(group.sample),
    }


def node_lines(tree: Tree) -> Iterator[dict[str, Any]]:
    """One dict a node, parents before children."""
    for root in tree.roots:
        yield from _pre_order(root, None, 0)


def _pre_order(node: TreeNode, parent: str | None, depth: int) -> Iterator[dict[str, Any]]:
    yield {
        "kind": "node",
        **_run(node),
        "parent": parent,
        "depth": depth,
        "seq": node.seq,
        "steps": as_data(node.steps),
        "steps_elided": node.steps_elided,
        "children_elided": node.children_elided,
        "tries": as_data(node.tries),
    }
    for child in node.children:
        yield from _pre_order(child, node.run.run_id, depth + 1)
    for group in node.groups:
        data = _group(group)
        del data["sample"]
        yield {**data, "kind": "group", "of": "child", "parent": node.run.run_id, "depth": depth + 1}
        for member in group.sample:
            yield from _pre_order(member, node.run.run_id, depth + 1)


def end_line(tree: Tree) -> dict[str, Any]:
    nodes, elided = _count(tree.roots)
    return {"kind": "end", "nodes": nodes, "elided": elided, "rev": tree.rev}


def _count(nodes: list[TreeNode]) -> tuple[int, int]:
    shown, elided = len(nodes), 0
    for node in nodes:
        elided += node.children_elided + sum(group.total - len(group.sample) for group in node.groups)
        for part in (node.children, *(group.sample for group in node.groups)):
            inner = _count(part)
            shown, elided = shown + inner[0], elided + inner[1]
    return shown, elided


def run_ids(tree: Tree) -> list[str]:
    return [line["id"] for line in node_lines(tree) if line["kind"] == "node"]


def change_line(change: RunChange) -> dict[str, Any]:
    return {
        "kind": "change",
        "rev": change.rev,
        "at": rfc3339(change.at),
        "id": change.run_id,
        "type": change.workflow_type,
        "path": "/".join(change.path),
        "from": change.was,
        "to": change.now,
        "why": change.why or None,
    }


def change_text(change: RunChange) -> str:
    """`2026-11-23T03:00:01.204Z order-8f2c/ShipItem#0041 running -> failed CardDeclined: limit exceeded`."""
    return _told(change.at, "/".join(change.path), change.was, change.now, change.why)


def standing_text(run: RunView, at_ms: int) -> str:
    """How a run stands when one begins to follow it."""
    from wfctl.cli.render.runs import problem

    return _told(at_ms, run.workflow_id, None, run.status, problem(run))


def _told(at_ms: int, name: str, was: str | None, now: str, why: str) -> str:
    arrow = f"{was} -> {now}" if was is not None else f"-> {now}"
    # A name or an error on several lines must not look like several changes.
    return clean(f"{absolute(at_ms)} {name} {arrow}{f' {why}' if why else ''}")


class Merger:
    """Changes as lines, each as it comes, but no more than `PER_SECOND` in a second: of what comes beyond, those of one kind
    (parent, type, from, to) are one line with their number, when the second is over.
    """

    PER_SECOND = 50

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._said = 0
        self._held: dict[tuple[tuple[str, ...], str, str | None, str], tuple[int, RunChange]] = {}

    @property
    def due_s(self) -> float | None:
        """Seconds until what is held is to be said; None where nothing is."""
        return max(self._began + 1.0 - self._clock(), 0.0) if self._held else None

    def feed(self, changes: Iterable[RunChange], *, last: bool = False) -> list[str]:
        """The lines to say now. `last`: nothing more comes, so nothing is held back."""
        lines: list[str] = []
        if self._clock() - self._began >= 1.0:
            lines += self._let_go()
            self._began, self._said = self._clock(), 0
        for change in changes:
            if self._said < self.PER_SECOND:
                self._said += 1
                lines.append(change_text(change))
            else:
                key = tuple(change.path[:-1]), change.workflow_type, change.was, change.now
                self._held[key] = self._held.get(key, (0, change))[0] + 1, change
        return lines + self._let_go() if last else lines

    def _let_go(self) -> list[str]:
        held, self._held = self._held, {}
        return [
            change_text(change)
            if number == 1
            else _told(change.at, "/".join((*above, f"{kind} x{number}")), was, now, "")
            for (above, kind, was, now), (number, change) in held.items()
        ]
