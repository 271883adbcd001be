"""The verbs that change how a run stands: cancel, terminate, retry."""

from __future__ import annotations

import msgspec

from wfctl.protocol.call import RunCall
from wfctl.values.status import Status


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


class Cancel(RunCall, frozen=True):
    """Ask a run to end: a running handler gets `asyncio.CancelledError`, a waiting run is cancelled at once.

    `children` asks every open run below it as well. With `dry_run` nothing is changed.
    """

    method = "cancel"
    answer = Changed
    reason: str | None = None
    children: bool = False
    dry_run: bool = False


class Terminate(RunCall, frozen=True):
    """End a run now; its handler is not asked. `children` and `dry_run` as with `Cancel`."""

    method = "terminate"
    answer = Changed
    reason: str | None = None
    children: bool = False
    dry_run: bool = False


class Retried(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a run goes on, or with `dry_run` would; `old_run_id` is the run that was named, another one only with `new`.

    `was` is the status it had, `handler`, `step` and `attempt` the step it goes on with (none: it waits or sleeps again),
    `from_step` the one it went back to. Of the operations that step had recorded, `kept` are reused and `dropped` are done anew,
    in words. `stored` and `unstored` are the store's keys that get an earlier value, or none; `requeued` the events that are back
    in the inbox. `stuck_reason`: the code has no handler for that step, so the run is stuck again at once; None where it has.
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
    stuck_reason: str | None = None


class Retry(RunCall, frozen=True):
    """Re-open a failed, timed-out or stuck run at the step that failed, keeping what its operations have recorded.

    `from_step` (a handler or a step's number) goes back to an earlier step, with the store as it was then and the events
    after it in the inbox again. `new` starts another run of the same type and input instead, under `workflow_id` or the same one;
    of any closed run. With `dry_run` nothing is changed.
    """

    method = "retry"
    answer = Retried
    from_step: str | None = None
    new: bool = False
    workflow_id: str | None = None
    reason: str | None = None
    dry_run: bool = False
