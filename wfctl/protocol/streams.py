"""The verbs that go on: what happens in runs, and that something has changed."""

from __future__ import annotations

import msgspec

from wfctl.protocol.call import Call
from wfctl.protocol.daemon import ProblemView
from wfctl.protocol.runs import HistoryEntry, Outcome
from wfctl.values.numbers import Number, Quantity
from wfctl.values.status import Status


class Tail(Call, frozen=True):
    """History of the runs `ids` (all runs where empty), oldest first, log lines in their place.

    `children` adds all descendants, those started later too. `since_rev` resumes after that revision, `since_ms` begins at that
    time, `last` with the newest so many entries (of those since then). `kinds` narrows: a kind each (`task.failed`), or the first
    part of several (`task`). With `follow` the stream ends when every named run is closed; runs are followed across
    steps as they commit. The result tells the last revision and, per named run, how it ended. With `follow`, `code` adds an
    entry of kind `code` whenever other code serves, or something else is wrong with it, and `progress` one of kind `progress`
    whenever a running step reports it. With `exact` the `ids` are run IDs and nothing else.
    """

    method = "tail"
    item = HistoryEntry
    ids: list[str] = []
    children: bool = False
    follow: bool = False
    since_rev: Number | None = None
    last: Quantity | None = None
    logs: bool = True
    code: bool = False
    progress: bool = False
    kinds: list[str] = []
    since_ms: Number | None = None
    exact: bool = False


class TailEnd(msgspec.Struct, frozen=True, kw_only=True):
    rev: int
    outcomes: list[Outcome]


Tail.answer = TailEnd


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


class WatchItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`problems` is what is wrong with the user's code at that moment; `changes` all since the item before, up to `rev`."""

    rev: int
    problems: list[ProblemView] = []
    changes: list[RunChange] = []


class Watch(Call, frozen=True):
    """Tells that something changed in the subtree of `id` (all runs where None), or of another of `ids`, since the last notice,
    at most every `every_ms`. The first notice comes at once. The stream ends when those runs have closed, with the outcome of
    one of them; it is that of an open one where the stream ended before.

    With `changes` each notice says which runs have another status, each change once, beginning after `since_rev` (by default:
    from now on). With `progress` it also tells that a running step there reports progress, or no longer does. With `exact` the
    IDs are run IDs and nothing else.
    """

    method = "watch"
    answer = Outcome | None
    item = WatchItem
    id: str | None = None
    every_ms: Number = 250
    changes: bool = False
    since_rev: Number | None = None
    progress: bool = False
    ids: list[str] = []
    exact: bool = False
