"""What a tree shows: the nodes of a snapshot as items, in causal order, with what is folded counted.

Knows rules (what is expanded, sampled, merged), not columns; `render.tree` lays the items out.
"""

from __future__ import annotations

from wfctl.cli.render.runs import position, problem
from wfctl.cli.render.text import SHORT_ID, clean, counted, cut, cut_middle
from wfctl.cli.render.times import short
from wfctl.cli.render.treeline import (
    BAD,
    BAD_STYLE,
    Fold,
    Item,
    Moment,
    due,
    percentiles,
    show_progress,
    show_sleep,
    show_tries,
    sleep_note,
    wait_notes,
)
from wfctl.protocol.trees import TreeGroup, TreeNode, TreeStep
from wfctl.values.status import Status
from wfctl.values.times import format_duration

_HEAD = "+ "
MOST_CAUSE = 40  # cells: one of the causes that a line counts


def root_items(root: TreeNode, fold: Fold, now_ms: int, *, relative: bool) -> list[Item]:
    """What hangs below a root's header."""
    if root.cut and root.run.children:
        return [Item(f"{_HEAD}{_size(root, steps=False)}", style="dim")]
    return _inside(root, fold, Moment(now_ms, relative), 1)


def _inside(node: TreeNode, fold: Fold, moment: Moment, depth: int) -> list[Item]:
    """Steps, children and groups of a run, each where it began."""
    placed = [(seq, 0, item) for seq, item in _steps(node, fold, moment)]
    placed += [(child.seq, 1, _child(child, fold, moment, depth)) for child in node.children]
    placed += [(_first_seq(group), 2, _group(group, fold, moment, depth)) for group in node.groups]
    placed.sort(key=lambda entry: entry[:2])
    items = [item for _, _, item in placed]
    if fold.merge:
        items = _merged(items)
    if node.steps_elided and not fold.only_failed:
        items.insert(0, Item(f"{_HEAD}{counted(node.steps_elided, 'earlier step')}", style="dim"))
    if node.children_elided and not fold.only_failed:
        items.append(Item(f"{_HEAD}{counted(node.children_elided, 'more child', plural='more children')}", style="dim"))
    return items


def _first_seq(group: TreeGroup) -> int:
    """A group stands where the first of it was started."""
    return group.seq or min((member.seq for member in group.sample), default=1 << 60)


def _steps(node: TreeNode, fold: Fold, moment: Moment) -> list[tuple[int, Item]]:
    """The steps of a run; those of one name as one line where they are too many."""
    if fold.only_failed:
        return [(step.seq, _step(step, node, moment)) for step in node.steps if step.status in BAD]
    alike: dict[tuple[str, str], list[TreeStep]] = {}
    for step in node.steps:
        alike.setdefault((step.kind, step.name), []).append(step)
    placed = []
    for steps in alike.values():
        if len(steps) > fold.group_at and not fold.whole:
            placed.append((steps[0].seq, _many(steps, node, fold, moment)))
        else:
            placed += [(step.seq, _step(step, node, moment)) for step in steps]
    return placed


def _many(steps: list[TreeStep], node: TreeNode, fold: Fold, moment: Moment) -> Item:
    """`poll ×120   110 completed, 10 failed`, and below it those that went wrong, one that is not ended, and what is left."""
    wrong = [step for step in steps if step.status in BAD]
    going = [step for step in steps if step.ended_at is None and step not in wrong]
    room = (5 if fold.sample is None else fold.sample) - len(going)
    shown = [*wrong[: max(room, 0)], *going]
    first = _step(steps[0], node, moment)
    item = Item(f"{first.name if steps[0].kind != 'sleep' else f'sleep  {first.text}'.rstrip()} ×{len(steps):,}")
    item.status = going[-1].status if going else wrong[-1].status if wrong else Status.COMPLETED
    item.started_at = steps[0].started_at
    item.children = [_step(step, node, moment) for step in shown]
    left: dict[str, int] = {}
    for step in steps:
        if step not in shown:
            left[step.status] = left.get(step.status, 0) + 1
    took = sorted(
        step.ended_at - step.started_at for step in steps if step.ended_at and step.status == Status.COMPLETED
    )
    times = percentiles(took[(len(took) - 1) // 2], took[-(len(took) // 100) - 1]) if took else ""
    if not shown:
        item.note = times
        return item
    for bad in (True, False):
        part = [(word, number) for word, number in left.items() if (word in BAD) is bad]
        if part:
            item.children.append(Item(_remainder(part, times), style=BAD_STYLE if bad else "dim"))
    return item


def _step(step: TreeStep, node: TreeNode, moment: Moment) -> Item:
    took = format_duration((step.ended_at or moment.now_ms) - step.started_at)
    if step.ended_at is None:
        took = short(moment.now_ms - step.started_at)
    item = Item(clean(step.name), step.status, took=took, started_at=step.started_at)
    if step.kind == "wait":
        item.name = clean(f"wait event {', '.join(step.waiting_for)}") if step.waiting_for else "wait any event"
        if step.ended_at is None:
            since, until = wait_notes(step, moment)
            item.note = ", ".join(part for part in (since, until) if part)
            item.short_notes = (until,)
    elif step.kind == "sleep":
        if step.wake_at is not None:
            item.name = f"sleep {format_duration(step.wake_at - step.started_at)}"
        if step.name and step.name != "sleep":
            item.text = f"then {clean(step.name)}"
        if step.ended_at is None and step.wake_at is not None:
            item.note = sleep_note(step.wake_at, moment)
    elif step.ended_at is None:
        show_progress(item, node.run, moment)
    if step.attempts > 1 and not item.short_notes:
        item.note = counted(step.attempts, "attempt")
    if step.tries is not None and not (item.note and step.status == Status.COMPLETED):
        show_tries(item, step.tries, moment)
    if step.kind not in ("wait", "sleep"):
        show_sleep(item, step.wake_at, moment)
    if step.error:
        item.text, item.loud = clean(step.error), True
    return item


def _child(node: TreeNode, fold: Fold, moment: Moment, depth: int) -> Item:
    """A child, with what is in it where somebody may have to look: a path to something open or gone wrong."""
    item = _run_item(node, moment)
    id = clean(node.run.workflow_id)
    kind = clean(node.run.workflow_type)
    item.name, item.short_name = f"{kind}({id})", f"{kind}({cut_middle(id, SHORT_ID)})"
    if _opened(node, fold, depth):
        item.children = _inside(node, fold, moment, depth + 1)
        if item.children:
            # The rows below say where it is; the row itself says only what went wrong.
            item.text = clean(problem(node.run))
            if item.status == Status.WAITING or item.status != node.run.status:
                item.status, item.note, item.short_notes = node.run.status, "", ()
            return item
    if not item.text or node.run.status.closed or node.cut:
        item.text = "  ".join(part for part in (item.text, _in_brackets(node)) if part)
    return item


def _opened(node: TreeNode, fold: Fold, depth: int) -> bool:
    run = node.run
    if node.cut:
        return False
    if fold.whole or fold.expanded & {run.workflow_type, run.status, run.workflow_id, run.run_id}:
        return True
    if run.status in fold.folded:
        return False
    if not _worth_opening(node):
        return False
    return depth < fold.depth or _gone_wrong(node)


def _run_item(node: TreeNode, moment: Moment) -> Item:
    run = node.run
    wrong = problem(run)
    took = format_duration(run.closed_at - run.started_at) if run.closed_at else short(moment.now_ms - run.started_at)
    item = Item(
        clean(run.workflow_id),
        run.status,
        text=clean(wrong or (position(run) if run.status.open else "")),
        note=counted(run.attempt, "attempt") if run.attempt > 1 else "",
        took=took,
        loud=bool(wrong),
        started_at=run.started_at,
        run_id=run.run_id,
    )
    if run.status is Status.SLEEPING and run.wake_at is not None:
        item.note = sleep_note(run.wake_at, moment)
    elif run.status is Status.WAITING and run.wake_at is not None:
        item.note = f"times out {due(run.wake_at, moment)}"
    elif run.status is Status.RUNNING:
        show_progress(item, run, moment)
    if node.tries is not None and (run.status is Status.RUNNING or not item.note):
        show_tries(item, node.tries, moment)
    show_sleep(item, run.wake_at, moment)
    return item


def _in_brackets(node: TreeNode) -> str:
    size = _size(node)
    return f"({size})" if size else ""


def _size(node: TreeNode, *, steps: bool = True) -> str:
    """`3 steps, 2 children, 1 failed below` of a subtree that is shown as one row."""
    parts = []
    number = len(node.steps) + node.steps_elided
    if number and steps:
        parts.append(counted(number, "step"))
    if node.run.children:
        parts.append(counted(node.run.children, "child", plural="children"))
    parts += [f"{number:,} {word} below" for number, word in _trouble(node) if number]
    return ", ".join(parts)


def _trouble(node: TreeNode) -> tuple[tuple[int, str], ...]:
    return (node.failed_below, "failed"), (node.stuck_below, "stuck")


def _worth_opening(node: TreeNode) -> bool:
    if node.run.status.open or node.run.open_children or _gone_wrong(node):
        return True
    return any(_worth_opening(child) for child in node.children)


def _gone_wrong(node: TreeNode) -> bool:
    return node.run.status in BAD or _wrong_below(node)


def _wrong_below(node: TreeNode) -> bool:
    return node.failed_below + node.stuck_below > 0


def _group(group: TreeGroup, fold: Fold, moment: Moment, depth: int) -> Item:
    item = Item(clean(group.workflow_type), group=group)
    sample = group.sample[: fold.sample]
    left = dict(group.by_status)
    errors = dict(group.by_error)
    oldest = next((member for member in sample if member.run.status is Status.RUNNING), None)
    for member in sample:
        left[member.run.status] = left.get(member.run.status, 0) - 1
        _take_error(errors, member)
        item.children.append(_member(member, fold, moment, depth))
        if member is oldest and group.by_status.get(Status.RUNNING, 0) > 1 and not item.children[-1].note:
            item.children[-1].note = "oldest"
    _add_left(item, group, {word: number for word, number in left.items() if number > 0}, errors, fold)
    below = group.troubled - sum(_wrong_below(member) and member.run.status not in BAD for member in sample)
    if below > 0:
        item.children.append(Item(f"{_HEAD}{below:,} more with failures below", style=BAD_STYLE))
    return item


def _add_left(item: Item, group: TreeGroup, left: dict[str, int], errors: dict[str, int], fold: Fold) -> None:
    """What is not shown of a group: how many there are of each status, why they failed, how long they took."""
    wrong = [(str(word), left[word]) for word in BAD if word in left]
    if wrong:
        of = f" of the oldest {group.errors_of:,}" if group.errors_of else ""
        item.children.append(Item(_remainder(wrong) + _histogram(errors) + of, style=BAD_STYLE))
    others = [(word, number) for word, number in left.items() if word not in BAD]
    # What goes on before what has ended, as in the sample above.
    others.sort(key=lambda entry: (entry[0] == Status.COMPLETED, entry[0]))
    if others and not fold.only_failed:
        times = ""
        if group.p50_ms is not None and group.p99_ms is not None:
            of = f" of the newest {group.timed:,}" if group.timed < group.by_status.get(Status.COMPLETED, 0) else ""
            times = percentiles(group.p50_ms, group.p99_ms) + of
        item.children.append(Item(_remainder(others, times, more=bool(group.sample)), style="dim"))


def _member(member: TreeNode, fold: Fold, moment: Moment, depth: int) -> Item:
    """A member of a sample: with what is in it where the daemon sent that, because something went wrong there or was asked for."""
    item = _run_item(member, moment)
    inside = member.steps or member.children or member.groups
    if inside and (_gone_wrong(member) or fold.expanded or fold.whole) and not member.cut:
        item.children = _inside(member, fold, moment, depth + 2)
    elif _wrong_below(member):
        item.text = "  ".join(part for part in (item.text, _in_brackets(member)) if part)
    return item


def _remainder(counts: list[tuple[str, int]], times: str = "", *, more: bool = True) -> str:
    """`+ 410 more running · 9,400 completed (p50 1.2s, p99 8.4s)`."""
    first, *rest = counts
    words = [f"{first[1]:,} {'more ' if more else ''}{first[0]}", *(f"{number:,} {word}" for word, number in rest)]
    if times and counts[-1][0] == Status.COMPLETED:
        words[-1] += f" ({times})"
    return f"{_HEAD}{' · '.join(words)}"


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
    """The three most frequent kinds of errors; where all are of one kind, its causes, which then tell more."""
    by_kind: dict[str, int] = {}
    for signature, number in errors.items():
        if number > 0:
            by_kind[_kind(signature)] = by_kind.get(_kind(signature), 0) + number
    if len(by_kind) == 1:
        by_kind = {signature: number for signature, number in errors.items() if number > 0}
    top = sorted(by_kind.items(), key=lambda entry: -entry[1])[:3]
    return "   " + " · ".join(f"{cut(clean(kind), MOST_CAUSE)} {number:,}" for kind, number in top) if top else ""


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
