"""The rows of the database as plain structs, and `Unit`, what commits together.

These are carriers, not behaviour: the core decides what they hold, the writer writes them as they are. Field
order is the order of the columns in the named queries: a fetched tuple becomes a struct in one call, and a struct the tuple
that a statement takes. `array_like`, because units go to the writer as msgpack.
Structs are mutable because that is cheaper to make, yet a row handed over in a unit is never changed again.
"""

from __future__ import annotations

import operator
from typing import Any

import msgspec


class RunRow(msgspec.Struct, gc=False, array_like=True):
    """One run. Everything up to `on_parent_close` is written once and never changes; most new ones have nothing from `deadline` on.

    `key` is the integer other tables refer to; `parent` and `root` are keys. `seq` is the number of the run's newest
    history record; every change of a run writes a record, so `seq` is also its version for compare-and-set.
    `state` is the core's own encoding. `step`, `attempt`, `waiting_for` (JSON list of event names, None: any), `reason`
    (why stuck, cancelled or terminated), `children`, `open_children` and `queued` repeat parts of it for display.
    """

    key: int
    run_id: str
    workflow_id: str
    type: str
    parent: int | None
    root: int
    depth: int
    input: str
    started_at: int
    on_parent_close: str = "abandon"
    status: str = "running"
    seq: int = 0
    step: str | None = None
    attempt: int = 1
    state: str = "{}"
    children: int = 0
    open_children: int = 0
    queued: int = 0
    deadline: int | None = None
    wake_at: int | None = None
    closed_at: int | None = None
    waiting_for: str | None = None
    result: str | None = None
    error: str | None = None
    reason: str | None = None


class HistoryRow(msgspec.Struct, gc=False, array_like=True):
    """One history record. `rev` numbers records and log lines of the whole database in commit order; `seq` counts the
    run's records from 1. `source` is the source hash of the code that a step begins or goes on, or has ended on."""

    rev: int
    run: int
    seq: int
    at: int
    kind: str
    data: str = "{}"
    source: str | None = None


# What changes of a run, in the order in which `run_changed` takes it: the run's key, the `seq` that it had before, these columns.
# Statements that write less take the beginning: first comes what always changes, last what rarely does. Plain tuples, because a
# busy daemon makes, packs and binds thousands of them a second; so with new history records.
CHANGES = (
    "seq", "step", "attempt", "state", "children", "open_children", "queued", "waiting_for", "status",
    "closed_at", "result", "error", "reason", "deadline", "wake_at",
)  # fmt: skip
Changed = tuple[Any, ...]
# What a run is counted as: its type, its status, whether it is open and at the top of a tree, and what it needs of the code.
Counted = tuple[str, str, bool, str]
# The fields of a `HistoryRow`.
Recorded = tuple[int, int, int, int, str, str, str | None]

_changes = operator.attrgetter(*CHANGES)


def changed(row: RunRow, before: int) -> Changed:
    """The change to what `row` is, of a run that was at seq `before`."""
    return row.key, before, *_changes(row)


class LogRow(msgspec.Struct, gc=False, array_like=True):
    """A line a handler logged. Its `rev` is drawn from the same numbers as history's."""

    rev: int
    run: int
    at: int
    level: str
    message: str
    step: str | None = None


class InboxRow(msgspec.Struct, gc=False, array_like=True):
    """An event that waits to be handed over. `seq` is that of its `event.received` record, or with `step`, the
    `on_completed_step` that gets the outcome of a child, of its `child.closed`."""

    run: int
    seq: int
    at: int
    name: str
    payload: str = "null"
    step: str | None = None


class ScheduleRow(msgspec.Struct, gc=False, array_like=True):
    """A schedule. `version` counts its changes, for compare-and-set; `state` is the core's own encoding. `type`, `paused` and
    `next_at` (when the clock has to look at it again) repeat parts of it."""

    id: str
    version: int
    type: str
    paused: bool
    next_at: int | None
    state: str


class Unit(msgspec.Struct, gc=False, array_like=True):
    """What commits together, or not at all.

    `runs_reopened` are changes of runs that were closed and are open now: those that give up a workflow ID are written before
    those that take one. `runs_passed` is (key, seq, seq before) of runs of which nothing but their history has grown. `store`
    maps (run, key) to JSON, None deletes. `inbox_del` names (run, seq). `totals` is by how much the numbers of runs change.
    `schedules` pairs a schedule's row, None where it is removed, with the version it had before this unit, 0 for none.
    """

    runs_new: list[RunRow] = []
    runs_changed: list[Changed] = []
    runs_reopened: list[Changed] = []
    runs_passed: list[tuple[int, int, int]] = []
    history: list[Recorded] = []
    logs: list[LogRow] = []
    store: dict[tuple[int, str], str | None] = {}
    inbox_add: list[InboxRow] = []
    inbox_del: list[tuple[int, int]] = []
    totals: dict[Counted, int] = {}
    schedules: dict[str, tuple[ScheduleRow | None, int]] = {}

    def count(self, before: Counted | None, now: Counted) -> None:
        """A run is counted as `now`; it was as `before`, which is something else, or None if it is new."""
        totals = self.totals
        totals[now] = totals.get(now, 0) + 1
        if before is not None:
            totals[before] = totals.get(before, 0) - 1

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write: it only waits its turn."""
        return not (self.history or self.logs or self.runs_new or self.runs_changed or self.runs_reopened
                    or self.runs_passed or self.store or self.inbox_add or self.inbox_del or self.schedules)  # fmt: skip


class RunRef(msgspec.Struct, frozen=True):
    """Which run: its key inside, its names outside."""

    key: int
    run_id: str
    workflow_id: str
    type: str


class Loaded(msgspec.Struct):
    """A run as the engine takes it back into memory: one snapshot. `inbox` is oldest first."""

    run: RunRow
    store: dict[str, str]
    inbox: list[InboxRow]
    parent: RunRef | None
    root_id: str


class Match(msgspec.Struct, frozen=True):
    """One run that an ID, or the start of one, may mean."""

    key: int
    run_id: str
    workflow_id: str
    closed: bool


class Summary(msgspec.Struct, frozen=True, gc=False):
    """A run as listings show it: without its state, input and result. `seq` is the number of its newest record, `rev` that
    record's revision."""

    key: int
    run_id: str
    workflow_id: str
    type: str
    status: str
    started_at: int
    closed_at: int | None
    parent: int | None
    parent_id: str | None
    parent_workflow_id: str | None
    parent_type: str | None
    root_id: str
    depth: int
    step: str | None
    attempt: int
    waiting_for: str | None
    wake_at: int | None
    deadline: int | None
    reason: str | None
    error: str | None
    children: int
    open_children: int
    queued: int
    seq: int
    rev: int


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A history record or a log line (`kind` "log", `seq` 0), with the names of its run. `data` is JSON, `source` the hash of the
    code that the record is of, where it was noted."""

    rev: int
    run_id: str
    workflow_id: str
    seq: int
    at: int
    kind: str
    data: str
    source: str | None


class Filter(msgspec.Struct, frozen=True):
    """Which runs a listing takes; empty takes all. `since_ms`: started at or after (UTC epoch ms); `parent` is a key."""

    statuses: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    parent: int | None = None
    since_ms: int | None = None


class Retry(msgspec.Struct, frozen=True, gc=False):
    """A task of a running run that waits for its next attempt, after `attempt` failed with `error` (JSON)."""

    run: int
    task: str
    attempt: int
    retry_at: int
    error: str
    max_attempts: int | None


class Scope(msgspec.Struct, frozen=True):
    """Whose entries: of the runs `keys`, or of all runs in the trees of `roots`; of all runs where both are None."""

    keys: tuple[int, ...] | None = None
    roots: tuple[int, ...] | None = None


class StatusRecord(msgspec.Struct, frozen=True, gc=False):
    """A record that may have given its run another status, with the names of that run. `data` is without what may be long."""

    rev: int
    run: int
    seq: int
    at: int
    kind: str
    data: str
    run_id: str
    type: str


class Ancestor(msgspec.Struct, frozen=True, gc=False):
    """A run on the way from another to its root."""

    parent: int | None
    workflow_id: str
    type: str


class Sibling(msgspec.Struct, frozen=True, gc=False):
    """How many children of one parent and type are in one status, and the oldest of them."""

    parent: int
    type: str
    status: str
    count: int
    oldest: int


class Trouble(msgspec.Struct, frozen=True, gc=False):
    """Children of a group that went wrong the same way: how many, and the oldest. `reason` is that of stuck ones."""

    status: str
    error_type: str | None
    error_message: str | None
    reason: str | None
    count: int
    oldest: int


class StepRecord(msgspec.Struct, frozen=True, gc=False):
    """A record that tells of a run's steps and waits; `data` without what may be long."""

    run: int
    seq: int
    at: int
    kind: str
    data: str
