"""One run as it is shown, and the verbs that look at one: its details, its history, its outcome, an answer of its own.

Times are UTC epoch milliseconds, durations `*_ms`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from wfctl.protocol.call import RunCall
from wfctl.values.failure import Failure
from wfctl.values.numbers import Number
from wfctl.values.runinfo import ParentInfo, ScheduleInfo
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
    `waiting_for` the event names of a waiting run (None: any event); `wake_at` when its wait or delay ends (in lists and trees also
    a sleep of its running step); `deadline` when the whole run times out; `children` and `open_children` count direct children;
    `queued_events` its inbox. `limit` is set while its step waits for its turn: so many of its type may execute at once;
    `no_worker` while it waits in line for a worker: why none takes it, empty where one is about to. `retry` is
    a task of a running run that waits for its next attempt (in lists only). `progress` is what the running step says of itself, if
    it does.
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
    limit: Number | None = None
    no_worker: str | None = None
    retry: RetryView | None = None
    progress: ProgressView | None = None


class RunDetail(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`wfctl show`: the run, its input and result, its store and its inbox; the schedule that started it, where one did.

    `reason` is what was recorded of who cancelled or terminated it, or why.
    """

    run: RunView
    input: msgspec.Raw = msgspec.Raw(b"null")
    result: msgspec.Raw = msgspec.Raw(b"null")
    store: dict[str, msgspec.Raw] = {}
    inbox: list[InboxView] = []
    history_entries: int = 0
    schedule: ScheduleInfo | None = None
    reason: str | None = None


class InboxView(msgspec.Struct, frozen=True, omit_defaults=True):
    seq: int
    event: str
    payload: msgspec.Raw
    received_at: int


class Get(RunCall, frozen=True):
    method = "get"
    answer = RunDetail


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


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """`items` are oldest first whatever was asked for. `next` is the number of the last record that was reached, where there are
    further ones in that direction; `total` counts the run's records."""

    run: RunView
    items: list[HistoryEntry]
    next: int | None = None
    total: int = 0


class History(RunCall, frozen=True):
    """Records of one run with seq > `after_seq` and < `before_seq`: the first `limit` of them, or the last with `newest`; fewer
    where they are large. `logs` adds its log lines in their place."""

    method = "history"
    answer = HistoryPage
    after_seq: Number = 0
    limit: Number = 1000
    logs: bool = False
    before_seq: Number | None = None
    newest: bool = False


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a run stands: `status` closed with a result or an error, or still open (then `stuck_reason` may say why)."""

    run_id: str
    workflow_id: str
    workflow_type: str
    status: Status
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: Failure | None = None
    reason: str | None = None
    stuck_reason: str | None = None


class Result(RunCall, frozen=True):
    """The outcome of a run. With `wait` it is answered when the run closes, at the latest after `timeout_ms`
    (then with the open status). `stuck` answers early too when the run is, or becomes, stuck; `until` when its status is, or
    becomes, one of these. A status that it only passes through between two commits may go by."""

    method = "result"
    answer = Outcome
    wait: bool = True
    timeout_ms: Number | None = None
    stuck: bool = False
    until: list[Status] = []

    def ends_with(self, status: Status) -> bool:
        """Whether the wait is over when the run stands so."""
        return status.closed or status in self.until or (self.stuck and status is Status.STUCK)


class QueryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str
    workflow_id: str
    value: msgspec.Raw


class Query(RunCall, frozen=True):
    """Ask a run's query handler, which reads its committed store and changes nothing; closed runs answer too.

    `input`, `text` and `positional` are as in `start`.
    """

    method = "query"
    answer = QueryAnswer
    name: str
    input: msgspec.Raw = msgspec.Raw(b"null")
    text: dict[str, str] = {}
    positional: bool = False
