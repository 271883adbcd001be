"""The verbs about many runs: list them, count them."""

from __future__ import annotations

import msgspec

from wfctl.protocol.call import Call
from wfctl.protocol.runs import RunView
from wfctl.values.numbers import Number
from wfctl.values.status import Status


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """`next` is the cursor of the following page, None at the end; `total` counts all that match the filters."""

    items: list[RunView]
    next: str | None = None
    total: int | None = None


class List(Call, frozen=True):
    """Runs, newest first. Empty filters take all; `parent` and `since_ms` (started at or after) narrow. With `exact`
    `parent` is a run ID and nothing else."""

    method = "list"
    answer = RunPage
    statuses: list[Status] = []
    types: list[str] = []
    parent: str | None = None
    since_ms: Number | None = None
    limit: Number = 100
    after: str | None = None
    exact: bool = False


class IdView(msgspec.Struct, frozen=True, kw_only=True):
    """A run by both of its IDs, and what it is."""

    run_id: str
    workflow_id: str
    workflow_type: str
    status: Status


class IdsFound(msgspec.Struct, frozen=True, kw_only=True):
    items: list[IdView]


class Ids(Call, frozen=True):
    """What an ID that somebody types may become: the runs whose workflow ID begins with `prefix` (of each ID the open run, or its
    newest), and those whose run ID does, by ID. Of many more than `limit` the first, and the last, so that what all of them begin
    with can be told. With `open` no closed ones."""

    method = "ids"
    answer = IdsFound
    prefix: str
    open: bool = False
    limit: Number = 100


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """How many runs there are of each status or type, none of those that have no run; `total` is their sum."""

    by: str
    counts: dict[str, int]
    total: int


class Count(Call, frozen=True):
    """How many runs match, `by` "status" or "type". Filters as in `list`."""

    method = "count"
    answer = Counted
    by: str = "status"
    statuses: list[Status] = []
    types: list[str] = []
    parent: str | None = None
    since_ms: Number | None = None
    exact: bool = False
