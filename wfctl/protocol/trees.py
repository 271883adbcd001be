"""Runs with what is below them, as of one moment."""

from __future__ import annotations

import msgspec

from wfctl.protocol.call import Call
from wfctl.protocol.runs import RunView, TriesView
from wfctl.values.numbers import Number


class TreeGroup(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Many children of one type under one parent, as counts and a sample (CLI contract, section 1).

    `seq` is where in the parent's history the first of them was started. `by_error` is of all that went wrong, or of the oldest
    `errors_of` where they are too many; `p50_ms` and `p99_ms` say how long the newest `timed` of the completed ones took.
    `troubled` counts those in whose subtree something went wrong, but not in themselves.
    """

    workflow_type: str
    total: int
    by_status: dict[str, int]
    by_error: dict[str, int] = {}
    sample: list[TreeNode] = []
    seq: int = 0
    errors_of: int = 0
    p50_ms: int | None = None
    p99_ms: int | None = None
    timed: int = 0
    troubled: int = 0


class TreeStep(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One step, wait or sleep of a run, as a line of its tree. `status` is a status word; of a running step that sleeps, `wake_at`
    says until when. `attempts` counts executions of the step;
    `tries` is of the one task in it that matters most: waits to be tried again, is tried again, failed it, or was tried most."""

    name: str
    kind: str  # start, step, event, wait, sleep
    status: str
    started_at: int
    ended_at: int | None = None
    attempts: int = 1
    error: str | None = None
    wake_at: int | None = None
    waiting_for: list[str] | None = None
    seq: int = 0
    tries: TriesView | None = None


class TreeNode(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A run with what happened in it. `seq` is where in its parent's history it was started. Of all the runs below it,
    `failed_below` failed or timed out, and `stuck_below` are stuck. `cut` is set where the depth that was asked for ends above its
    children. `tries` is that of the newest step, of a run that is running or failed, also where its steps are not shown."""

    run: RunView
    steps: list[TreeStep] = []
    children: list[TreeNode] = []
    groups: list[TreeGroup] = []
    steps_elided: int = 0
    children_elided: int = 0
    seq: int = 0
    failed_below: int = 0
    stuck_below: int = 0
    cut: bool = False
    tries: TriesView | None = None


class Tree(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A snapshot taken in one read transaction; `rev` is exact. `complete` is false whenever something was elided. Of a forest,
    `open_roots` says how many open roots there are in all; where only failures are shown, `failed_roots` how many roots have such,
    counted up to a thousand."""

    rev: int
    now: int
    roots: list[TreeNode]
    complete: bool = True
    open_roots: int = 0
    failed_roots: int = 0


class GetTree(Call, frozen=True):
    """The tree of one run (the whole subtree below it), those of several (`ids`), or without any the forest of the newest open
    roots.

    Siblings of one type beyond `group_at` become a group with at most `sample` members; `depth` cuts. `only_failed` leaves only
    the paths to runs that failed, timed out or are stuck; the forest is then that of the newest roots, open or closed, which have
    such. What `expand` names (a workflow type, a status, an ID) is neither grouped
    nor left out of a sample. `keep` are run IDs that stay in the samples of their groups whatever has become of them, so that
    a live picture is quiet. With `exact` the `id` and `ids` are run IDs and nothing else.
    """

    method = "tree"
    answer = Tree
    id: str | None = None
    group_at: Number = 8
    sample: Number = 5
    depth: Number = 60
    limit: Number = 20
    only_failed: bool = False
    expand: list[str] = []
    keep: list[str] = []
    ids: list[str] = []
    exact: bool = False
