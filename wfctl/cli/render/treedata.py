"""The tree for programs: one JSON document, one line a node, and the changes between two snapshots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from wfctl.cli.render.document import as_data
from wfctl.cli.render.runs import problem
from wfctl.cli.render.times import absolute
from wfctl.protocol.views import Tree, TreeGroup, TreeNode
from wfctl.values.times import rfc3339

GROUP_EVERY_MS = 1_000


def tree_document(tree: Tree, *, one: bool) -> dict[str, Any]:
    """`root` when one run was asked for, `roots` for the forest."""
    roots = [_node(node) for node in tree.roots]
    head: dict[str, Any] = {"schema": "wfctl.tree/1", "rev": tree.rev, "now": rfc3339(tree.now)}
    head |= {"root": roots[0]} if one and roots else {"roots": roots}
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
    }


def _run(node: TreeNode) -> dict[str, Any]:
    run = node.run
    data: dict[str, Any] = as_data(run)
    counts = {name: data.pop(name) for name in ("children", "open_children", "queued_events")}
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


class Change(NamedTuple):
    """A node whose status is another than in the snapshot before; `was` None when it is new. Groups change by counts."""

    at_ms: int
    path: str
    run_id: str | None
    was: str | None
    now: str
    why: str = ""

    def text(self) -> str:
        arrow = f"{self.was} -> {self.now}" if self.was is not None else f"-> {self.now}"
        return f"{absolute(self.at_ms)} {self.path} {arrow}{f' {self.why}' if self.why else ''}"

    def data(self, rev: int) -> dict[str, Any]:
        line = {"kind": "change", "rev": rev, "at": rfc3339(self.at_ms), "id": self.run_id, "path": self.path}
        return {**line, "from": self.was, "to": self.now, "why": self.why or None}


class Differ:
    """Remembers what was shown, and says what is different in the next snapshot: each change once, frames never."""

    def __init__(self) -> None:
        self._runs: dict[str, str] = {}
        self._groups: dict[tuple[str, str], str] = {}
        self._grouped_at: dict[tuple[str, str], int] = {}

    def feed(self, tree: Tree, *, last: bool = False) -> list[Change]:
        """`last` is the final snapshot: counts that were held back are said now."""
        changes: list[Change] = []
        for root in tree.roots:
            self._node(root, "", tree.now, last, changes)
        return sorted(changes, key=lambda change: change.at_ms)

    def _node(self, node: TreeNode, above: str, now: int, last: bool, out: list[Change]) -> None:
        run = node.run
        path = f"{above}{run.workflow_id}"
        was = self._runs.get(run.run_id)
        if was != run.status:
            self._runs[run.run_id] = run.status
            at = run.closed_at or (run.started_at if was is None else now)
            out.append(Change(at, path, run.run_id, was, run.status, problem(run)))
        for child in node.children:
            self._node(child, f"{path}/", now, last, out)
        for group in node.groups:
            self._group(group, run.run_id, path, now, last, out)
            for member in group.sample:
                self._node(member, f"{path}/", now, last, out)

    def _group(self, group: TreeGroup, parent: str, path: str, now: int, last: bool, out: list[Change]) -> None:
        key = (parent, group.workflow_type)
        counts = ", ".join(f"{number} {word}" for word, number in sorted(group.by_status.items()) if number)
        due = now - self._grouped_at.get(key, 0) >= GROUP_EVERY_MS
        if self._groups.get(key) != counts and (due or last):
            was = self._groups.get(key)
            self._groups[key], self._grouped_at[key] = counts, now
            out.append(
                Change(now, f"{path}/{group.workflow_type} x{group.total}", None, was and f"({was})", f"({counts})")
            )
