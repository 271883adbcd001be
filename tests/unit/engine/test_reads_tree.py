"""The tree: what is shown of a run and all below it, and what is only counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.rows import T0, Ledger, commit, run_id
from wfctl.errors import InvalidArgumentError, RunNotFoundError
from wfctl.protocol import calls
from wfctl.protocol.views import Tree, TreeGroup, TreeNode, TriesView
from wfctl.values.failure import Failure
from wfctl.values.status import Status
from wfd.engine import samples, trees
from wfd.engine.reads import Reads
from wfd.engine.samples import signature
from wfd.store.reader import Snapshot
from wfd.store.rows import Unit
from wfd.store.store import Store


async def _tree(reads: Reads, id: str | None = "root", **words: Any) -> Tree:
    return await reads.tree(calls.GetTree(id=id, **words))


async def _group(reads: Reads, **words: Any) -> TreeGroup:
    (group,) = (await _tree(reads, **words)).roots[0].groups
    return group


def _ids(nodes: list[TreeNode]) -> list[str]:
    return [node.run.workflow_id for node in nodes]


async def test_a_run_has_its_steps_and_its_children_in_the_order_they_began(
    store: Store, ledger: Ledger, reads: Reads
) -> None:
    await commit(
        store.writer,
        ledger.start("root"),
        ledger.start("a", parent=1),
        ledger.wait(1, ["go"]),
        ledger.start("b", parent=1),
        ledger.start("aa", parent=2),
        ledger.close(3),
    )
    tree = await _tree(reads)
    (root,) = tree.roots
    assert [(step.name, step.seq) for step in root.steps] == [("begin", 2), ("go", 5)]
    assert [(child.run.workflow_id, child.seq) for child in root.children] == [("a", 3), ("b", 6)]
    assert _ids(root.children[0].children) == ["aa"]
    assert [step.status for step in root.children[1].steps] == ["completed"]
    assert (tree.rev, tree.now, tree.complete) == (ledger.rev, T0 + 60_000, True)
    assert root.seq == 0


async def test_a_tree_may_begin_below_the_root(store: Store, ledger: Ledger, reads: Reads) -> None:
    await commit(
        store.writer,
        ledger.start("root"),
        ledger.start("a", parent=1),
        ledger.start("b", parent=1),
        ledger.start("aa", parent=2),
    )
    tree = await _tree(reads, "a")
    assert _ids(tree.roots) == ["a"]
    assert _ids(tree.roots[0].children) == ["aa"]


async def test_without_an_id_the_newest_open_roots_are_shown(store: Store, ledger: Ledger, reads: Reads) -> None:
    units = [ledger.start(f"r-{number}") for number in range(6)]
    units += [ledger.start("child", parent=6), ledger.close(2), ledger.close(5)]
    await commit(store.writer, *units)
    assert _ids((await _tree(reads, None)).roots) == ["r-5", "r-3", "r-2", "r-0"]
    assert _ids((await _tree(reads, None, limit=2)).roots) == ["r-5", "r-3"]
    assert (await _tree(reads, None, limit=0)).roots == []


async def test_an_empty_database_is_an_empty_forest(reads: Reads) -> None:
    tree = await _tree(reads, None)
    assert (tree.rev, tree.roots, tree.complete) == (0, [], True)


async def test_depth_cuts_and_says_how_many_it_hides(store: Store, ledger: Ledger, reads: Reads) -> None:
    await commit(
        store.writer,
        ledger.start("root"),
        ledger.start("a", parent=1),
        ledger.start("b", parent=2),
        ledger.start("c", parent=3),
        ledger.start("d", parent=3),
    )
    tree = await _tree(reads, depth=2)
    b = tree.roots[0].children[0].children[0]
    assert (b.children, b.children_elided, tree.complete) == ([], 2, False)
    alone = (await _tree(reads, depth=0)).roots[0]
    assert (alone.children, alone.children_elided, _names(alone)) == ([], 1, ["begin"])
    assert (await _tree(reads, depth=3)).complete


def _names(node: TreeNode) -> list[str]:
    return [step.name for step in node.steps]


@pytest.mark.parametrize("word", ["group_at", "sample", "depth", "limit"])
async def test_a_negative_number_is_refused(reads: Reads, word: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"{word} must not be negative"):
        await _tree(reads, None, **{word: -1})


# -- groups ----------------------------------------------------------------------------------------


class Family:
    """A root whose children come into being one by one."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.units: list[Unit] = [ledger.start("root")]

    def child(self, status: str = "running", kind: str = "ShipItem", parent: int = 1, **fields: Any) -> int:
        key = len(self.ledger.runs) + 1
        self.units.append(self.ledger.start(f"{kind}#{key}", kind, parent=parent, **fields))
        if status == "waiting":
            self.units.append(self.ledger.wait(key))
        elif status == "sleeping":
            self.units.append(self.ledger.change(key, ("x", {}), status="sleeping", wake_at=T0))
        elif status in ("cancelling", "stuck"):
            self.units.append(self.ledger.change(key, ("x", {}), status=status, reason="no code"))
        elif status != "running":
            self.units.append(self.ledger.close(key, status))
        return key

    def failed(self, kind: str, message: str, status: str = "failed") -> int:
        key = self.child()
        self.units.append(self.ledger.close(key, status, (kind, message)))
        return key


@pytest.fixture
def family(ledger: Ledger) -> Family:
    return Family(ledger)


async def test_children_of_one_type_are_a_group_from_one_more_than_the_limit(
    store: Store, family: Family, reads: Reads
) -> None:
    for kind, number in (("Few", 8), ("Many", 9)):
        for _ in range(number):
            family.child(kind=kind)
    await commit(store.writer, *family.units)
    tree = await _tree(reads)
    (root,) = tree.roots
    assert [child.run.workflow_type for child in root.children] == ["Few"] * 8
    assert [(group.workflow_type, group.total) for group in root.groups] == [("Many", 9)]
    assert not tree.complete
    everything = await _tree(reads, group_at=9)
    assert len(everything.roots[0].children) == 17
    assert everything.complete


async def test_a_group_counts_every_status(store: Store, family: Family, reads: Reads) -> None:
    statuses = [status for index, status in enumerate(Status) for _ in range(index + 1)]
    for status in statuses:
        family.child(status)
    await commit(store.writer, *family.units)
    group = await _group(reads)
    assert group.by_status == {str(status): index + 1 for index, status in enumerate(Status)}
    assert group.total == len(statuses) == sum(group.by_status.values())


async def test_a_sample_has_two_failures_of_different_causes_and_one_of_each_that_is_well(
    store: Store, family: Family, reads: Reads
) -> None:
    for _ in range(5):
        family.child("completed")
    first = family.failed("CardDeclined", "limit exceeded")
    family.failed("CardDeclined", "limit exceeded")
    second = family.failed("CarrierTimeout", "no reply in 30s")
    family.failed("KeyError", "'weight'")
    running = family.child()
    retried = family.child(attempt=3)
    waiting = family.child("waiting")
    family.child()
    family.child("waiting")
    await commit(store.writer, *family.units)
    group = await _group(reads)
    assert [node.run.run_id for node in group.sample] == [
        run_id(key) for key in (first, second, retried, running, waiting)
    ]
    assert group.by_error == {
        "CardDeclined: limit exceeded": 2,
        "CarrierTimeout: no reply in #s": 1,
        "KeyError: 'weight'": 1,
    }
    assert group.sample[0].run.error == Failure("CardDeclined", "limit exceeded")
    assert [node.seq for node in group.sample] == sorted(node.seq for node in group.sample[:2]) + [
        node.seq for node in group.sample[2:]
    ]
    assert all(node.seq for node in group.sample)


async def test_slots_that_are_left_go_to_further_causes_and_then_to_further_failures(
    store: Store, family: Family, reads: Reads
) -> None:
    first = family.failed("A", "x")
    again = family.failed("A", "x")
    second = family.failed("B", "x", "timed_out")
    third = family.failed("C", "x")
    stuck = family.child("stuck")
    for _ in range(6):
        family.child("completed")
    await commit(store.writer, *family.units)
    sampled = [node.run.run_id for node in (await _group(reads, sample=5)).sample]
    assert sampled == [run_id(key) for key in sorted((first, second, third, stuck, again))]
    sampled = [node.run.run_id for node in (await _group(reads, sample=4)).sample]
    assert sampled == [run_id(key) for key in (first, second, third, stuck)]


async def test_one_that_is_being_cancelled_comes_before_one_that_was_begun_again(
    store: Store, family: Family, reads: Reads
) -> None:
    family.child(attempt=2)
    cancelling = family.child("cancelling")
    for _ in range(8):
        family.child("sleeping")
    await commit(store.writer, *family.units)
    group = await _group(reads)
    assert [node.run.status for node in group.sample] == ["cancelling", "running", "sleeping"]
    assert group.sample[0].run.run_id == run_id(cancelling)


async def test_the_one_that_runs_longest_is_not_shown_twice(store: Store, family: Family, reads: Reads) -> None:
    retried = family.child(attempt=2)
    longest = family.child()
    for _ in range(8):
        family.child()
    await commit(store.writer, *family.units)
    assert [node.run.run_id for node in (await _group(reads)).sample] == [run_id(retried), run_id(longest)]


async def test_completed_ones_are_counted_and_never_sampled(store: Store, family: Family, reads: Reads) -> None:
    for _ in range(9):
        family.child("completed")
    await commit(store.writer, *family.units)
    group = await _group(reads)
    assert (group.sample, group.by_status, group.by_error) == ([], {"completed": 9}, {})


@pytest.mark.parametrize("sample", [0, 1, 2, 3])
async def test_a_sample_is_never_larger_than_asked_for(store: Store, family: Family, reads: Reads, sample: int) -> None:
    for status in ("failed", "timed_out", "stuck", "cancelling", "running", "waiting", "sleeping", "completed") * 3:
        family.child(status)
    await commit(store.writer, *family.units)
    found = (await _group(reads, sample=sample)).sample
    assert [node.run.status for node in found] == ["failed", "stuck", "cancelling"][:sample]


async def test_children_of_a_group_member_are_not_loaded(store: Store, family: Family, reads: Reads) -> None:
    first = family.child()
    for _ in range(8):
        family.child()
    family.child(kind="Label", parent=first)
    await commit(store.writer, *family.units)
    (member,) = (await _group(reads)).sample
    assert (member.children, member.steps, member.run.children) == ([], [], 1)


async def test_groups_stand_at_every_depth(store: Store, family: Family, reads: Reads) -> None:
    below = family.child(kind="Batch")
    for _ in range(20):
        family.child("completed", parent=below)
    await commit(store.writer, *family.units)
    (batch,) = (await _tree(reads)).roots[0].children
    assert [(group.workflow_type, group.total) for group in batch.groups] == [("ShipItem", 20)]


def test_errors_of_one_cause_have_one_signature() -> None:
    for message in (
        "order 17 has 3 items", "order 4 has 12 items", "order 1 has 1 items\nsecond line 7"
    ):  # fmt: skip
        assert signature("ValueError", message) == "ValueError: order # has # items"
    assert signature("E", "at 0x7f3a in 01JF0000000000000000000001") == "E: at # in #"
    assert signature("E", "job 123e4567-e89b-12d3-a456-426614174000 died") == "E: job # died"
    assert signature("KeyError", "'weight'") == "KeyError: 'weight'"
    assert signature("E", "") == signature("E", None) == "E"
    assert signature(None, "x") == "Error: x"
    assert len(signature("E", "x" * 10_000)) < 200


async def test_only_the_most_frequent_signatures_are_told(store: Store, family: Family, reads: Reads) -> None:
    for letter in range(26):
        for _ in range(1 + (letter == 25)):
            family.failed("E", chr(ord("a") + letter))
    await commit(store.writer, *family.units)
    errors = (await _group(reads)).by_error
    assert len(errors) == samples.MAX_SIGNATURES
    assert next(iter(errors.items())) == ("E: z", 2)


# -- size ------------------------------------------------------------------------------------------


class Meter:
    """Counts the queries that a snapshot is asked and the rows that come back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.queries = self.rows = 0
        ask = Snapshot.all

        async def all(snapshot: Snapshot, sql: str, parameters: Any = ()) -> list[Any]:
            rows = await ask(snapshot, sql, parameters)
            self.queries += 1
            self.rows += len(rows)
            return rows

        monkeypatch.setattr(Snapshot, "all", all)


async def test_ten_thousand_children_cost_what_is_shown_of_them(
    store: Store, family: Family, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10_000):
        if number % 270 == 0:
            family.failed(("CardDeclined", "CarrierTimeout", "KeyError")[number % 3], f"item {number}")
        else:
            family.child("completed" if number < 9_400 else "running")
    await commit(store.writer, *family.units)
    meter = Meter(monkeypatch)
    tree = await _tree(reads)
    (root,) = tree.roots
    (group,) = root.groups
    assert root.run.children == group.total == 10_000
    assert group.by_status == {"completed": 9_365, "failed": 38, "running": 597}
    assert sum(group.by_error.values()) == root.failed_below == 38
    assert len(group.sample) == 5
    assert (group.timed, group.errors_of) == (samples.MAX_TIMED, 0)
    assert not root.children
    assert meter.queries < 40
    # A thousand of them are durations, numbers alone.
    assert meter.rows < samples.MAX_TIMED + 200


async def test_a_tree_without_groups_has_everything(store: Store, family: Family, reads: Reads) -> None:
    for number in range(300):
        key = family.child("completed")
        if number % 3 == 0:
            family.child("completed", "Label", parent=key)
    await commit(store.writer, *family.units)
    tree = await _tree(reads, group_at=1_000_000)
    assert tree.complete
    assert len(list(_walk(tree.roots))) == 401
    assert all(node.steps for node in _walk(tree.roots))


def _walk(nodes: list[TreeNode]) -> Iterator[TreeNode]:
    for node in nodes:
        yield node
        yield from _walk(node.children)


async def test_a_tree_that_is_too_large_is_cut_and_says_by_how_much(
    store: Store, family: Family, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MAX_NODES", 20)
    for kind in "ABCDEF":
        for _ in range(6):
            family.child(kind=kind)
    await commit(store.writer, *family.units)
    tree = await _tree(reads)
    (root,) = tree.roots
    assert len(root.children) == 18
    assert root.children_elided == 18
    assert not tree.complete


async def test_a_run_of_many_steps_shows_its_newest_and_counts_the_others(
    store: Store, ledger: Ledger, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [ledger.start("root")]
    for number in range(2, 902):
        done = ("step.completed", {"step": number - 1, "next": "step", "handler": "again", "wake_at": 5})
        units.append(
            ledger.change(1, done, ("step.started", {"step": number, "kind": "step", "handler": f"s-{number}"}))
        )
    await commit(store.writer, *units)
    short = (await _tree(reads)).roots[0]
    monkeypatch.setattr(trees, "_LONG_HISTORY", 100)
    tree = await _tree(reads)
    (root,) = tree.roots
    # A line for each of the 901 steps, and one for each of the 900 delays between them.
    assert len(root.steps) == trees.MAX_STEPS
    assert root.steps[-1].name == "s-901"
    assert root.steps_elided == 1_801 - trees.MAX_STEPS
    assert not tree.complete
    assert (short.steps, short.steps_elided) == (root.steps, root.steps_elided)


async def test_steps_among_ten_thousand_other_records_are_found(
    store: Store, ledger: Ledger, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "_LONG_HISTORY", 100)
    units = [ledger.start("root")]
    units += [ledger.change(1, ("timestamp.recorded", {"key": "x", "value": number})) for number in range(2_000)]
    units.append(ledger.wait(1))
    await commit(store.writer, *units)
    (root,) = (await _tree(reads)).roots
    assert _names(root) == ["begin", "any event"]
    assert root.steps_elided == 0


# -- ways to what went wrong -----------------------------------------------------------------------


async def test_a_failure_below_a_member_of_a_group_is_shown_with_the_way_to_it(
    store: Store, family: Family, reads: Reads
) -> None:
    members = [family.child("running") for _ in range(12)]
    troubled = members[7]
    inner = family.child(kind="Label", parent=troubled)
    family.units.append(family.ledger.close(inner, "failed", ("E", "no label")))
    await commit(store.writer, *family.units)
    group = await _group(reads)
    assert group.troubled == 1
    assert group.sample[0].run.run_id == run_id(troubled)
    assert (group.sample[0].failed_below, _names(group.sample[0])) == (1, ["begin"])
    assert _ids(group.sample[0].children) == [f"Label#{inner}"]
    assert [bool(member.steps) for member in group.sample[1:]] == [False]
    assert (await _tree(reads)).roots[0].failed_below == 1


async def test_a_failure_is_shown_where_its_siblings_are_cut_for_their_number(
    store: Store, family: Family, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MAX_NODES", 6)
    for kind in "AB":
        for _ in range(6):
            family.child(kind=kind)
    stuck = family.child("stuck", kind="B")
    await commit(store.writer, *family.units)
    (root,) = (await _tree(reads)).roots
    assert [child.run.workflow_type for child in root.children] == ["A"] * 6 + ["B"]
    assert (root.children[-1].run.run_id, root.children_elided, root.stuck_below) == (run_id(stuck), 6, 1)


async def test_only_the_ways_to_failures_are_left(store: Store, family: Family, reads: Reads) -> None:
    below = family.child("running", kind="Batch")
    family.child("running", kind="Batch")
    for _ in range(20):
        family.child("completed", parent=below)
    failed = [family.child("failed", parent=below) for _ in range(3)]
    await commit(store.writer, *family.units)
    (root,) = (await _tree(reads, only_failed=True)).roots
    assert _ids(root.children) == [f"Batch#{below}"]
    assert _ids(root.children[0].children) == [f"ShipItem#{key}" for key in failed]
    (root,) = (await _tree(reads, only_failed=True, group_at=2)).roots
    (group,) = root.children[0].groups
    assert (group.total, [member.run.status for member in group.sample]) == (23, ["failed"] * 3)


async def test_ways_begin_at_the_run_that_is_asked_for(store: Store, family: Family, reads: Reads) -> None:
    one, other = family.child(kind="Batch"), family.child(kind="Batch")
    family.child("failed", parent=one)
    family.child("stuck", parent=other)
    await commit(store.writer, *family.units)
    (batch,) = (await _tree(reads, f"Batch#{other}")).roots
    assert (batch.failed_below, batch.stuck_below) == (0, 1)
    (root,) = (await _tree(reads)).roots
    assert (root.failed_below, root.stuck_below) == (1, 1)


async def test_failures_beyond_those_whose_way_is_shown_are_counted(
    store: Store, family: Family, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "MAX_WAYS", 3)
    for status in ("failed", "timed_out", "stuck", "failed", "failed"):
        family.child(status)
    await commit(store.writer, *family.units)
    (root,) = (await _tree(reads)).roots
    assert (root.failed_below, root.stuck_below) == (4, 1)


# -- groups as they are asked for ------------------------------------------------------------------


async def test_a_group_stands_where_its_first_member_was_started(store: Store, family: Family, reads: Reads) -> None:
    family.child("completed", kind="Before")
    first = family.child("completed")
    family.child("completed", kind="After")
    for _ in range(8):
        family.child("completed")
    await commit(store.writer, *family.units)
    (root,) = (await _tree(reads)).roots
    seqs = {child.run.workflow_type: child.seq for child in root.children}
    assert seqs["Before"] < root.groups[0].seq < seqs["After"]
    assert root.groups[0].sample == []
    assert (await _tree(reads, f"ShipItem#{first}")).roots[0].seq == root.groups[0].seq


async def test_a_group_says_how_long_its_completed_members_took(store: Store, family: Family, reads: Reads) -> None:
    for took in [*range(100, 1_090, 10), 60_000]:
        key = family.child()
        family.units.append(family.ledger.close(key, closed_at=T0 + took))
    family.child("failed")
    await commit(store.writer, *family.units)
    group = await _group(reads)
    assert (group.p50_ms, group.p99_ms, group.timed) == (590, 1_080, 100)


async def test_a_member_that_was_shown_stays_in_the_sample_when_it_is_to_be_kept(
    store: Store, family: Family, reads: Reads
) -> None:
    running = [family.child() for _ in range(10)]
    await commit(store.writer, *family.units)
    (member,) = (await _group(reads)).sample
    kept = [member.run.run_id, "no such run"]
    await commit(store.writer, family.ledger.close(running[0]), family.ledger.close(running[9], "failed"))
    sample = (await _group(reads, keep=kept)).sample
    assert [(one.run.run_id, str(one.run.status)) for one in sample] == [
        (run_id(running[9]), "failed"), (run_id(running[0]), "completed"), (run_id(running[1]), "running"),
    ]  # fmt: skip


async def test_what_is_expanded_is_neither_grouped_nor_left_out(store: Store, family: Family, reads: Reads) -> None:
    members = [family.child("completed") for _ in range(12)]
    waiting = [family.child("waiting") for _ in range(3)]
    await commit(store.writer, *family.units)
    assert len((await _tree(reads, expand=["ShipItem"])).roots[0].children) == 15
    sample = (await _group(reads, expand=["waiting"])).sample
    assert [member.run.run_id for member in sample] == [run_id(key) for key in waiting]
    assert all(member.steps for member in sample)
    sample = (await _group(reads, expand=[f"ShipItem#{members[5]}"])).sample
    assert [member.run.run_id for member in sample] == [run_id(waiting[0]), run_id(members[5])]
    assert sample[1].steps
    with pytest.raises(RunNotFoundError, match=r"'ShipItm' is no status, .* \(did you mean 'ShipItem'\?\)"):
        await _tree(reads, expand=["ShipItm"])


async def test_a_forest_says_how_many_open_roots_there_are(store: Store, ledger: Ledger, reads: Reads) -> None:
    await commit(store.writer, *(ledger.start(f"r-{number}") for number in range(5)))
    tree = await _tree(reads, None, limit=2)
    assert (len(tree.roots), tree.open_roots, tree.complete) == (2, 5, False)
    assert (await _tree(reads, None)).complete


async def test_a_snapshot_is_of_one_commit(store: Store, family: Family, reads: Reads) -> None:
    await commit(store.writer, *family.units)
    tree = await _tree(reads)
    await commit(store.writer, family.ledger.start("a", parent=1))
    later = await _tree(reads)
    assert (tree.rev, tree.roots[0].run.children) == (2, 0)
    assert (later.rev, later.roots[0].run.children, len(later.roots[0].children)) == (5, 1, 1)


# -- tries -------------------------------------------------------------------------------------------


def _waits(ledger: Ledger, key: int, attempt: int, retry_at: int) -> Unit:
    told = {"key": "k", "name": "book", "attempt": attempt, "max_attempts": 5, "retry_at": retry_at, "error": {"type": "E",
            "message": "busy", "traceback": "long"}}  # fmt: skip
    return ledger.change(key, ("task.attempt_failed", told))


NOW = T0 + 60_000


async def test_a_sample_has_the_one_whose_task_is_tried_again_soonest(
    store: Store, family: Family, reads: Reads
) -> None:
    keys = [family.child() for _ in range(12)]
    family.child("cancelling")
    family.units += [
        _waits(family.ledger, keys[3], 1, NOW + 9_000), _waits(family.ledger, keys[5], 2, NOW + 4_000),
        _waits(family.ledger, keys[7], 1, NOW - 1),
    ]  # fmt: skip
    await commit(store.writer, *family.units)
    group = await _group(reads)
    assert _ids(group.sample) == [f"ShipItem#{keys[5]}", f"ShipItem#{keys[0]}"]
    assert group.sample[0].tries == TriesView(task="book", attempt=2, max_attempts=5, retry_at=NOW + 4_000)
    assert group.sample[0].steps == []
    page = await reads.list(calls.List(types=["ShipItem"]))
    assert {run.workflow_id: run.retry.max_attempts for run in page.items if run.retry} == {
        f"ShipItem#{keys[3]}": 5, f"ShipItem#{keys[5]}": 5,
    }  # fmt: skip


async def test_a_member_that_failed_tells_after_how_many_tries(store: Store, family: Family, reads: Reads) -> None:
    for _ in range(9):
        key = family.child()
        gave_up = {
            "key": "k",
            "name": "book",
            "attempt": 3,
            "max_attempts": 3,
            "error": {"type": "E", "message": "busy"},
        }
        family.units += [
            _waits(family.ledger, key, 2, T0),
            family.ledger.change(key, ("task.failed", gave_up)),
            family.ledger.close(key, "failed", ("E", "busy")),
        ]
    await commit(store.writer, *family.units)
    group = await _group(reads)
    assert [member.tries for member in group.sample] == [
        TriesView(task="book", attempt=3, max_attempts=3, failed=True)
    ] * 5


async def test_tries_are_found_in_a_history_of_any_length(store: Store, ledger: Ledger, reads: Reads) -> None:
    units = [ledger.start("root")]
    units.append(ledger.change(1, *[("timestamp.recorded", {"key": f"now#{n}"}) for n in range(trees._LONG_HISTORY)]))
    units += [_waits(ledger, 1, 1, T0), ledger.change(1, ("task.started", {"key": "k", "name": "book", "attempt": 2}))]
    await commit(store.writer, *units)
    (root,) = (await _tree(reads)).roots
    assert root.steps[-1].tries == TriesView(task="book", attempt=2, max_attempts=5)
    assert root.tries == root.steps[-1].tries


# -- several roots -----------------------------------------------------------------------------------


async def test_several_runs_are_shown_whole_though_one_is_below_another(
    store: Store, family: Family, reads: Reads
) -> None:
    below = family.child(kind="Batch")
    family.child(parent=below)
    family.units.append(family.ledger.start("other"))
    await commit(store.writer, *family.units)
    tree = await _tree(reads, "root", ids=["other", f"Batch#{below}", "root"])
    assert _ids(tree.roots) == ["root", "other", f"Batch#{below}"]
    assert _ids(tree.roots[0].children[0].children) == _ids(tree.roots[2].children) == [f"ShipItem#{below + 1}"]
    assert (tree.open_roots, tree.complete) == (0, True)
    with pytest.raises(RunNotFoundError):
        await _tree(reads, "root", ids=["nobody"])


async def test_trees_with_failures_are_found_whatever_their_age(store: Store, ledger: Ledger, reads: Reads) -> None:
    units = [ledger.start("old"), ledger.start("old-kid", parent=1), ledger.close(2, "failed", ("E", "x"))]
    units += [ledger.start("failed"), ledger.close(3, "timed_out", ("E", "x"))]
    units += [ledger.start("stuck", status="stuck", reason="no code")]
    units += [ledger.start(f"fine-{number}") for number in range(30)]
    await commit(store.writer, *units)
    tree = await _tree(reads, None, only_failed=True)
    assert _ids(tree.roots) == ["stuck", "failed", "old"]
    assert (tree.failed_roots, tree.open_roots, tree.complete) == (3, 0, True)
    assert _ids(tree.roots[2].children) == ["old-kid"]
    one = await _tree(reads, None, only_failed=True, limit=1)
    assert (_ids(one.roots), one.failed_roots, one.complete) == (["stuck"], 3, False)
