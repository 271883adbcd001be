"""Who a run is: the facts about it that never change, plus its parent."""

from __future__ import annotations

import msgspec


class ParentInfo(msgspec.Struct, frozen=True):
    id: str
    workflow_id: str
    workflow_type: str


class RunInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """`ctx.run` and `handle.run_info`.

    `id` is the run ID (a ULID), `workflow_id` the caller's stable name. `attempt` counts the executions
    of the current step, from 1; outside a handler it is 1. `started_at_ms` is UTC epoch milliseconds.
    """

    id: str
    workflow_id: str
    workflow_type: str
    parent: ParentInfo | None = None
    root_id: str = ""
    attempt: int = 1
    started_at_ms: int = 0
