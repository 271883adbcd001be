"""What a tree shows: the nodes of a snapshot as items, in causal order, with what is folded counted.

Knows rules (what is expanded, sampled, merged), not columns; `render.tree` lays the items out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from wfctl.cli.render.runs import position, problem
from wfctl.cli.render.text import SHORT_ID, clean, counted, cut_middle
from wfctl.cli.render.times import absolute, clock_seconds, short
from wfctl.protocol.views import TreeGroup, TreeNode, TreeStep
from wfctl.values.status import Status
from wfctl.values.times import format_duration

_BAD = (Status.FAILED, Status.TIMED_OUT, Status.STUCK)


class Fold(NamedTuple):
    """How much is left out: finished steps merged, samples shortened, subtrees closed below `depth`."""

    merge: bool = False
    sample: int = 5
    depth: int = 1_000


@dataclass
class Item:
    """One line and what hangs below it. Without `status` it is a remainder line; with `group`, a group's line.

    `text` follows the name (`loud`: in the status' colour), `note` stands right of it, `took` at the edge.
    """

    name: str
    status: str | None = None
    text: str = ""
    note: str = ""
    took: str = ""
    short_name: str = ""
    style: str = ""
    loud: bool = False
    started_at: int = 0
    run_id: str = ""
    group: TreeGroup | None = None
    children: list[Item] = field(default_factory=list)


class Moment(NamedTuple):
    now_ms: int
    relative: bool  # on a terminal; elsewhere times are absolute


def root_items(root: TreeNode, fold: Fold, now_ms: int, *, relative: bool) -> list[Item]:
    """What hangs below a root's header."""
    return _inside(root, fold, Moment(now_ms, relative), 1)


def _inside(node: TreeNode, fold: Fold, moment: Moment, depth: int) -> list[Item]:
    """Steps, children and groups of a run, each where it began."""
    placed = [(step.seq, 0, _step(step, moment)) for step in node.steps]
    placed += [(child.seq, 1, _child(child, fold, moment, depth)) for child in node.children]
    placed += [(_first_seq(group), 2, _group(group, fold, moment)) for group in node.groups]
    placed.sort(key=lambda entry: entry[:2])
    items = [item for _, _, item in placed]
    if fold.merge:
        items = _merged(items)
    if node.steps_elided:
        items.insert(0, Item(f"+ {counted(node.steps_elided, 'earlier step')}", style="dim"))
    if node.children_elided:
        items.append(Item(f"+ {counted(node.children_elided, 'more child', plural='more children')}", style="dim"))
    return items


def _first_seq(group: TreeGroup) -> int:
    """A group stands where the first of it that is known was started."""
    return min((member.seq for member in group.sample), default=1 << 60)


def _step(step: TreeStep, moment: Moment) -> Item:
    took = format_duration((step.ended_at or moment.now_ms) - step.started_at)
    if step.ended_at is None:
        took = short(moment.now_ms - step.started_at)
    item = Item(clean(step.name), step.status, took=took, started_at=step.started_at)
    if step.kind == "wait":
        item.name = clean(f"wait event {', '.join(step.waiting_for)}") if step.waiting_for else "wait any event"
        if step.ended_at is None:
            item.note = _wait_note(step, moment)
    elif step.kind == "sleep":
        if step.wake_at is not None:
            item.name = f"sleep {format_duration(step.wake_at - step.started_at)}"
        if step.name and step.name != "sleep":
            item.text = f"then {clean(step.name)}"
        if step.ended_at is None and step.wake_at is not None:
            item.note = _sleep_note(step.wake_at, moment)
    if step.attempts > 1:
        item.note = counted(step.attempts, "attempt")
    if step.error:
        item.text, item.loud = clean(step.error), True
    return item


def _wait_note(step: TreeStep, moment: Moment) -> str:
    if moment.relative:
        words = f"since {short(moment.now_ms - step.started_at)}"
        return words + (f", times out in {short(step.wake_at - moment.now_ms)}" if step.wake_at else "")
    return f"since {absolute(step.started_at)}" + (f", times out {absolute(step.wake_at)}" if step.wake_at else "")


def _sleep_note(wake_at: int, moment: Moment) -> str:
    if moment.relative:
        return f"wakes {clock_seconds(wake_at, moment.now_ms)} (in {short(wake_at - moment.now_ms)})"
    return f"wakes {absolute(wake_at)}"


def _child(node: TreeNode, fold: Fold, moment: Moment, depth: int) -> Item:
    """A child, with what is in it where somebody may have to look: a path to something open or gone wrong."""
    item = _run_item(node, moment)
    id = clean(node.run.workflow_id)
    kind = clean(node.run.workflow_type)
    item.name, item.short_name = f"{kind}({id})", f"{kind}({cut_middle(id, SHORT_ID)})"
    if _worth_opening(node) and (depth < fold.depth or _gone_wrong(node)):
        item.children = _inside(node, fold, moment, depth + 1)
        if item.children:
            # The rows below say where it is; the row itself says only what went wrong.
            item.text = clean(problem(node.run))
            return item
    if not item.text or node.run.status.closed:
        item.text = "  ".join(part for part in (item.text, _size(node)) if part)
    return item


def _run_item(node: TreeNode, moment: Moment) -> Item:
    run = node.run
    wrong = problem(run)
    took = format_duration(run.closed_at - run.started_at) if run.closed_at else short(moment.now_ms - run.started_at)
    note = counted(run.attempt, "attempt") if run.attempt > 1 else ""
    if run.status is Status.SLEEPING and run.wake_at is not None:
        note = _sleep_note(run.wake_at, moment)
    return Item(
        clean(run.workflow_id),
        run.status,
        text=clean(wrong or (position(run) if run.status.open else "")),
        note=note,
        took=took,
        loud=bool(wrong),
        started_at=run.started_at,
        run_id=run.run_id,
    )


def _size(node: TreeNode) -> str:
    """`(3 steps, 2 children)` of a subtree that is shown as one row."""
    parts = []
    if steps := len(node.steps) + node.steps_elided:
        parts.append(counted(steps, "step"))
    if node.run.children:
        parts.append(counted(node.run.children, "child", plural="children"))
    return f"({', '.join(parts)})" if parts else ""


def _worth_opening(node: TreeNode) -> bool:
    if node.run.status.open or node.run.status in _BAD or node.run.open_children:
        return True
    return any(_worth_opening(child) for child in node.children) or any(
        group.by_status.get(word) for group in node.groups for word in _BAD
    )


def _gone_wrong(node: TreeNode) -> bool:
    if node.run.status in _BAD:
        return True
    return any(_gone_wrong(child) for child in node.children) or any(
        group.by_status.get(word) for group in node.groups for word in _BAD
    )


def _group(group: TreeGroup, fold: Fold, moment: Moment) -> Item:
    item = Item(clean(group.workflow_type), group=group)
    sample = group.sample[: fold.sample]
    left = dict(group.by_status)
    errors = dict(group.by_error)
    for member in sample:
        left[member.run.status] = left.get(member.run.status, 0) - 1
        _take_error(errors, member)
        item.children.append(_run_item(member, moment))
    wrong = [(str(word), left[word]) for word in _BAD if left.get(word, 0) > 0]
    if wrong:
        item.children.append(Item(_remainder(wrong) + _histogram(errors), style="bold red"))
    others = [(word, number) for word, number in left.items() if number > 0 and word not in _BAD]
    # What goes on before what has ended, as in the sample above.
    others.sort(key=lambda entry: (entry[0] == Status.COMPLETED, entry[0]))
    if others:
        item.children.append(Item(_remainder(others, more=bool(sample)), style="dim"))
    return item


def _remainder(counts: list[tuple[str, int]], *, more: bool = True) -> str:
    first, *rest = counts
    words = [f"{first[1]:,} {'more ' if more else ''}{first[0]}", *(f"{number:,} {word}" for word, number in rest)]
    return f"+ {' · '.join(words)}"


def _take_error(errors: dict[str, int], member: TreeNode) -> None:
    """The histogram is of what is hidden: a member that is shown leaves it."""
    if member.run.error is None:
        return
    for key in (str(member.run.error), member.run.error.type):
        if errors.get(key, 0) > 0:
            errors[key] -= 1
            return
    same = next((key for key, number in errors.items() if number > 0 and _kind(key) == member.run.error.type), None)
    if same is not None:
        errors[same] -= 1


def _kind(signature: str) -> str:
    return signature.partition(":")[0].strip()


def _histogram(errors: dict[str, int]) -> str:
    by_kind: dict[str, int] = {}
    for signature, number in errors.items():
        if number > 0:
            by_kind[_kind(signature)] = by_kind.get(_kind(signature), 0) + number
    top = sorted(by_kind.items(), key=lambda entry: -entry[1])[:3]
    return "   " + " · ".join(f"{clean(kind)} {number:,}" for kind, number in top) if top else ""


def _merged(items: list[Item]) -> list[Item]:
    """Runs of two and more finished steps that say nothing but their names, as one line."""
    out: list[Item] = []
    finished: list[Item] = []

    def flush() -> None:
        if len(finished) > 1:
            out.append(Item(counted(len(finished), "step"), Status.COMPLETED, started_at=finished[0].started_at))
        else:
            out.extend(finished)
        finished.clear()

    for item in items:
        quiet = item.status == Status.COMPLETED and not (item.run_id or item.text or item.note or item.children)
        if quiet:
            finished.append(item)
        else:
            flush()
            out.append(item)
    flush()
    return out
