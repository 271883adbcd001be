"""The verbs of the socket: for each, the struct of its parameters and the type of its answer.

A verb is declared here once; the server's router, the clients and the docs are derived from `CALLS`. A verb with
`stream` set answers with any number of `stream` notifications before its result.
"""

from __future__ import annotations

import msgspec

from wfctl.protocol import schedules as schedules, views
from wfctl.protocol.backup import BackedUp as BackedUp, Backup as Backup, Copied as Copied
from wfctl.protocol.call import CALLS as CALLS, Call as Call
from wfctl.protocol.code import (
    CheckCode as CheckCode,
    CheckedCounts as CheckedCounts,
    CodeCheck as CodeCheck,
    Reload as Reload,
    Reloaded as Reloaded,
    ReloadedType as ReloadedType,
    WorkflowList as WorkflowList,
    Workflows as Workflows,
)
from wfctl.protocol.lists import Count as Count, Counted as Counted, List as List, RunPage as RunPage
from wfctl.protocol.purge import (
    Purge as Purge,
    Purged as Purged,
    PurgedSoFar as PurgedSoFar,
    PurgedTree as PurgedTree,
)
from wfctl.values.runinfo import RunInfo
from wfctl.values.status import Status

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1


class Ok(msgspec.Struct, frozen=True):
    ok: bool = True


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """The server's half of the handshake. `schema` is the database's version; `limit` the largest line it reads, in bytes."""

    protocol: int
    protocol_min: int
    protocol_max: int
    version: str
    schema: int
    project: str
    pid: int
    limit_bytes: int


class Hello(Call, frozen=True):
    """Must be a connection's first call. Out of range: error `incompatible`, and the connection ends."""

    method = "hello"
    answer = Welcome
    protocol_min: int = PROTOCOL_MIN
    protocol_max: int = PROTOCOL_MAX
    version: str = ""


class GetStatus(Call, frozen=True):
    method = "status"
    answer = views.StatusView


class Started(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`existing` is true when `if_running="use"` found an open run of that workflow ID. `begins_at`: it sleeps until then."""

    run: RunInfo
    status: Status
    existing: bool = False
    begins_at: int | None = None


class Start(Call, frozen=True):
    """Start a run. `input` is JSON of any shape, `text` command-line arguments still to be converted to the parameters' types.

    `if_running`: "fail" (already_running names the open run) or "use" (its run is returned, input unread).
    `workflow_id` None makes a readable one. Its start handler begins at `begins_at` or after `delay_ms`, and its timeout
    counts from there; the run is there, and sleeps, from now on. A time that has passed is now.
    """

    method = "start"
    answer = Started
    workflow_type: str
    workflow_id: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"null")
    text: dict[str, str] = {}
    timeout_ms: int | None = None
    if_running: str = "fail"
    dry_run: bool = False
    begins_at: int | None = None
    delay_ms: int | None = None


class Sent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`dispatched`: the run was waiting and handles the event now; otherwise it is number `position` of the inbox. `duplicate`: an
    event of that ID had been accepted before, and nothing was done. `started`: the run was begun for it."""

    run_id: str
    workflow_id: str
    dispatched: bool
    position: int = 0
    duplicate: bool = False
    started: bool = False


class StartFirst(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The run to begin where there is none to send to; fields as in `start`."""

    workflow_type: str
    input: msgspec.Raw = msgspec.Raw(b"null")
    text: dict[str, str] = {}
    timeout_ms: int | None = None


class Send(Call, frozen=True):
    """An event to a run. Of several with the same `event_id`, one run accepts one; the others are answered as duplicates.

    With `start`, `id` is a workflow ID: where it has no open run, one is begun in the same commit as the event. `any_event`
    accepts a name that the run's type has no handler for, with its payload as it is: it stays in the inbox until there is one.
    """

    method = "send"
    answer = Sent
    id: str
    event: str
    payload: msgspec.Raw = msgspec.Raw(b"null")
    text: dict[str, str] = {}
    event_id: str | None = None
    start: StartFirst | None = None
    any_event: bool = False


class Get(Call, frozen=True):
    method = "get"
    answer = views.RunDetail
    id: str


class HistoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """`items` are oldest first whatever was asked for. `next` is the number of the last record that was reached, where there are
    further ones in that direction; `total` counts the run's records."""

    run: views.RunView
    items: list[views.HistoryEntry]
    next: int | None = None
    total: int = 0


class History(Call, frozen=True):
    """Records of one run with seq > `after_seq` and < `before_seq`: the first `limit` of them, or the last with `newest`. `logs`
    adds its log lines in their place."""

    method = "history"
    answer = HistoryPage
    id: str
    after_seq: int = 0
    limit: int = 1000
    logs: bool = False
    before_seq: int | None = None
    newest: bool = False


class Result(Call, frozen=True):
    """The outcome of a run. With `wait` it is answered when the run closes, at the latest after `timeout_ms`
    (then with the open status). `stuck` answers early too when the run is, or becomes, stuck; `until` when its status is, or
    becomes, one of these. A status that it only passes through between two commits may go by."""

    method = "result"
    answer = views.Outcome
    id: str
    wait: bool = True
    timeout_ms: int | None = None
    stuck: bool = False
    until: list[Status] = []


class Changed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a cancel or terminate did. `changed` is false when the run was closed already (or already cancelling).

    `descendants` counts the open runs below it that were ended too. With `dry_run` all of it is what would have been.
    """

    run_id: str
    workflow_id: str
    status: Status
    changed: bool
    descendants: int = 0
    dry_run: bool = False


class Cancel(Call, frozen=True):
    """Ask a run to end: a running handler gets `asyncio.CancelledError`, a waiting run is cancelled at once.

    `children` asks every open run below it as well. With `dry_run` nothing is changed.
    """

    method = "cancel"
    answer = Changed
    id: str
    reason: str | None = None
    children: bool = False
    dry_run: bool = False


class Terminate(Call, frozen=True):
    """End a run now; its handler is not asked. `children` and `dry_run` as with `Cancel`."""

    method = "terminate"
    answer = Changed
    id: str
    reason: str | None = None
    children: bool = False
    dry_run: bool = False


class Retried(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a run goes on, or with `dry_run` would; `old_run_id` is the run that was named, another one only with `new`.

    `was` is the status it had, `handler`, `step` and `attempt` the step it goes on with (none: it waits or sleeps again),
    `from_step` the one it went back to. Of the operations that step had recorded, `kept` are reused and `dropped` are done anew,
    in words. `stored` and `unstored` are the store's keys that get an earlier value, or none; `requeued` the events that are back
    in the inbox.
    """

    run_id: str
    workflow_id: str
    old_run_id: str
    was: Status
    status: Status
    new: bool = False
    dry_run: bool = False
    handler: str | None = None
    step: int | None = None
    attempt: int = 1
    from_step: int | None = None
    kept: list[str] = []
    dropped: list[str] = []
    stored: list[str] = []
    unstored: list[str] = []
    requeued: list[str] = []


class Retry(Call, frozen=True):
    """Re-open a failed, timed-out or stuck run at the step that failed, keeping what its operations have recorded.

    `from_step` (a handler or a step's number) goes back to an earlier step, with the store as it was then and the events
    after it in the inbox again. `new` starts another run of the same type and input instead, under `workflow_id` or the same one;
    of any closed run. With `dry_run` nothing is changed.
    """

    method = "retry"
    answer = Retried
    id: str
    from_step: str | None = None
    new: bool = False
    workflow_id: str | None = None
    reason: str | None = None
    dry_run: bool = False


class QueryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str
    workflow_id: str
    value: msgspec.Raw


class Query(Call, frozen=True):
    """Ask a run's query handler, which reads its committed store and changes nothing; closed runs answer too.

    `input` and `text` are as in `start`.
    """

    method = "query"
    answer = QueryAnswer
    id: str
    name: str
    input: msgspec.Raw = msgspec.Raw(b"null")
    text: dict[str, str] = {}


class GetTree(Call, frozen=True):
    """The tree of one run (the whole subtree below it), those of several (`ids`), or without any the forest of the newest open
    roots.

    Siblings of one type beyond `group_at` become a group with at most `sample` members; `depth` cuts. `only_failed` leaves only
    the paths to runs that failed, timed out or are stuck; the forest is then that of the newest roots, open or closed, which have
    such. What `expand` names (a workflow type, a status, an ID) is neither grouped
    nor left out of a sample. `keep` are run IDs that stay in the samples of their groups whatever has become of them, so that
    a live picture is quiet.
    """

    method = "tree"
    answer = views.Tree
    id: str | None = None
    group_at: int = 8
    sample: int = 5
    depth: int = 60
    limit: int = 20
    only_failed: bool = False
    expand: list[str] = []
    keep: list[str] = []
    ids: list[str] = []


class Tail(Call, frozen=True):
    """History of the runs `ids` (all runs where empty), oldest first, log lines in their place.

    `children` adds all descendants, those started later too. `since_rev` resumes after that revision, `since_ms` begins at that
    time, `last` with the newest so many entries (of those since then). `kinds` narrows: a kind each (`task.failed`), or the first
    part of several (`task`). With `follow` the stream ends when every named run is closed; runs are followed across
    steps as they commit. The result tells the last revision and, per named run, how it ended. With `follow`, `code` adds an
    entry of kind `code` whenever other code serves, or something else is wrong with it, and `progress` one of kind `progress`
    whenever a running step reports it.
    """

    method = "tail"
    item = views.HistoryEntry
    ids: list[str] = []
    children: bool = False
    follow: bool = False
    since_rev: int | None = None
    last: int | None = None
    logs: bool = True
    code: bool = False
    progress: bool = False
    kinds: list[str] = []
    since_ms: int | None = None


class TailEnd(msgspec.Struct, frozen=True, kw_only=True):
    rev: int
    outcomes: list[views.Outcome]


Tail.answer = TailEnd


class WatchItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`problems` is what is wrong with the user's code at that moment; `changes` all since the item before, up to `rev`."""

    rev: int
    problems: list[views.ProblemView] = []
    changes: list[views.RunChange] = []


class Watch(Call, frozen=True):
    """Tells that something changed in the subtree of `id` (all runs where None) since the last notice, at most every
    `every_ms`; the stream ends when that run closes. The first notice comes at once.

    With `changes` each notice says which runs have another status, each change once, beginning after `since_rev` (by default: from
    now on). With `progress` it also tells that a running step there reports progress, or no longer does.
    """

    method = "watch"
    answer = views.Outcome | None
    item = WatchItem
    id: str | None = None
    every_ms: int = 250
    changes: bool = False
    since_rev: int | None = None
    progress: bool = False


class Down(Call, frozen=True):
    """Drain and stop: new steps are not begun, running ones get `drain_ms`, then the daemon ends. Open runs survive."""

    method = "down"
    answer = Ok
    drain_ms: int = 10_000
