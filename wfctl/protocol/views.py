"""What the daemon shows: runs, history, trees, status. Times are UTC epoch milliseconds, durations `*_ms`."""

from __future__ import annotations

from typing import Any

import msgspec

from wfctl.values.failure import Failure
from wfctl.values.runinfo import ParentInfo, ScheduleInfo
from wfctl.values.signature import TypeSpec
from wfctl.values.status import Status


class RetryView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A task that waits for its next attempt at `retry_at`, after `attempt` of at most `max_attempts` failed with `error` (None:
    recorded before that was kept)."""

    task: str
    attempt: int
    retry_at: int
    error: Failure | None = None
    max_attempts: int | None = None


class TriesView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How often a task was tried: `attempt` is the newest that began. The next one begins at `retry_at`, where it waits for that;
    `failed`: no other follows, and its step failed of it. `max_attempts` as in RetryView."""

    task: str
    attempt: int
    max_attempts: int | None = None
    retry_at: int | None = None
    failed: bool = False


class ProgressView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How far a running step says it has got: `done` of `total` (None: it does not know how much there is). It is on no disk: it
    ends with the step, and with the daemon."""

    done: int | float
    total: int | float | None = None
    note: str = ""
    at: int = 0


class RunView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One run as every listing shows it.

    `step` is the handler that runs or is next (running, cancelling, sleeping, stuck) or the last one that ran;
    `waiting_for` the event names of a waiting run (None: any event); `wake_at` when its wait or delay ends; `deadline` when
    the whole run times out; `children` and `open_children` count direct children; `queued_events` its inbox. `limit` is set
    while its step waits for its turn: so many of its type may execute at once. `retry` is a task of a running run that waits for
    its next attempt (in lists only). `progress` is what the running step says of itself, if it does.
    """

    run_id: str
    workflow_id: str
    workflow_type: str
    status: Status
    started_at: int
    closed_at: int | None = None
    parent: ParentInfo | None = None
    root_id: str = ""
    depth: int = 0
    step: str | None = None
    attempt: int = 1
    waiting_for: list[str] | None = None
    wake_at: int | None = None
    deadline: int | None = None
    stuck_reason: str | None = None
    error: Failure | None = None
    children: int = 0
    open_children: int = 0
    queued_events: int = 0
    rev: int = 0
    limit: int | None = None
    retry: RetryView | None = None
    progress: ProgressView | None = None


class RunDetail(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`wfctl show`: the run, its input and result, its store and its inbox; the schedule that started it, where one did."""

    run: RunView
    input: msgspec.Raw = msgspec.Raw(b"null")
    result: msgspec.Raw = msgspec.Raw(b"null")
    store: dict[str, msgspec.Raw] = {}
    inbox: list[InboxView] = []
    history_entries: int = 0
    schedule: ScheduleInfo | None = None


class InboxView(msgspec.Struct, frozen=True, omit_defaults=True):
    seq: int
    event: str
    payload: msgspec.Raw
    received_at: int


class HistoryEntry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line of a run's past: a history record, or (kind `log`) a line its handler logged.

    `rev` orders everything in the database; `seq` counts the records of one run from 1 (0 for a log line). `data` is the
    record's own fields; for `log`: level, message, step. `source` is the hash of the code that ran, where that was noted. Kind
    `code`, which a tail may ask for, is of no run and tells that the code has changed: its data is a CodeView. Kind `progress`,
    which a follower may ask for, is recorded nowhere and has no `rev`: its data is a ProgressView.
    """

    rev: int = 0
    run_id: str
    workflow_id: str
    seq: int
    at: int
    kind: str
    data: dict[str, Any] = {}
    source: str | None = None


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
    """One step, wait or sleep of a run, as a line of its tree. `status` is a status word. `attempts` counts executions of the step;
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


class RunChange(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A run's status is another since record `rev`: `was` before (None: it was started), `now` after, `why` where it went wrong.

    `path` are the workflow IDs from the watched run (or the root) down to this one.
    """

    rev: int
    at: int
    run_id: str
    workflow_type: str
    path: list[str]
    now: Status
    was: Status | None = None
    why: str = ""


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


class ProblemView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Something wrong with the user's code or configuration that does not stop the daemon."""

    module: str
    message: str
    file: str = ""
    line: int = 0
    hint: str = ""
    traceback: str = ""


class CodeView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How it stands with the user's code: the newest generation that serves, and what is wrong with what was loaded last."""

    at: int
    generation: int
    source_hash: str
    problems: list[ProblemView] = []


class WorkerView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One worker process. `blocked_ms` is how long its event loop has not answered (0: it does), `handlers` what it runs,
    longest first: a blocked one is among them."""

    pid: int
    generation: int
    steps: int
    started_at: int
    blocked_ms: int = 0
    handlers: list[str] = []


class SchedulesView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How many schedules there are; of those, the paused and the `blocked`, by ID with the reason. `next_at` is when the clock next
    starts a run."""

    total: int = 0
    paused: int = 0
    blocked: dict[str, str] = {}
    next_at: int | None = None


class StatusView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`database_bytes` counts the write-ahead log, `wal_bytes` alone is that. `oldest_queued_at`: since when the step waits for a
    worker that has waited longest. `loading_ms` is how long new code has been importing; 0 when none is. `full` says what makes
    others wait just now; `unreadable` which runs are set aside, as nobody understands their rows, and why."""

    pid: int
    version: str
    project: str
    config: str
    socket: str
    database: str
    database_bytes: int
    log: str
    started_at: int
    now: int
    generation: int
    source_hash: str
    python: str
    counts: dict[str, int]
    workers: list[WorkerView]
    queued_steps: int
    oldest_queued_at: int | None = None
    loading_ms: int = 0
    problems: list[ProblemView] = []
    settings: dict[str, str] = {}
    draining: bool = False
    storage_error: str | None = None
    rev: int = 0
    full: list[str] = []
    wal_bytes: int = 0
    unreadable: list[str] = []
    schedules: SchedulesView = SchedulesView()


class MissingView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A handler that the loaded code does not have and that `runs` open runs need: they run it, sleep or wait for it, have
    events for it, or have children that call it when they close."""

    kind: str
    name: str
    runs: int


class UnloadedView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A workflow type that has open runs and is in no module that is loaded."""

    workflow_type: str
    open_runs: int


class WorkflowView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A workflow type that is served: by which code, and what its open runs miss in it.

    `executing` counts its steps that execute, `waiting` those that wait for a worker or for their turn; `limit` is how many may
    execute at once (None: any number).
    """

    spec: TypeSpec
    generation: int
    source_hash: str = ""
    loaded_at: int = 0
    open_runs: int = 0
    missing: list[MissingView] = []
    limit: int | None = None
    executing: int = 0
    waiting: int = 0


class FindingView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What open runs would meet in candidate code: a group of `runs` of one type for one reason; `stuck` of them are so already.

    `kind` of a finding: missing (a handler, or the type, is not there), arguments (what the handler is given does not fit its
    parameters), replay (it would not repeat what was recorded), crash (it ends or blocks its process). Of what is good to know:
    goes_on (stuck now, and would go on), stopped (followed up to where it would touch the world), waits (for something that is not
    recorded), raises (it repeats what was recorded, then raises), skipped (not rehearsed, as others of its handler took too long).
    `ids` and `workflow_ids` are the first of the runs. A type that is missing has no `handler`.
    """

    kind: str
    workflow_type: str
    handler_kind: str = ""
    handler: str = ""
    reason: str = ""
    runs: int
    stuck: int = 0
    ids: list[str] = []
    workflow_ids: list[str] = []


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How a run stands: `status` closed with a result or an error, or still open (then `stuck_reason` may say why)."""

    run_id: str
    workflow_id: str
    workflow_type: str
    status: Status
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: Failure | None = None
    reason: str | None = None
    stuck_reason: str | None = None
