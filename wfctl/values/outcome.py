"""How a child ended, as its parent hears of it."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from wfctl.errors import RunCancelledError, RunFailedError, RunOutcomeError, RunTerminatedError, RunTimedOutError
from wfctl.values.failure import Failure
from wfctl.values.status import Status

T = TypeVar("T")

_ERRORS: dict[Status, type[RunOutcomeError]] = {
    Status.FAILED: RunFailedError,
    Status.CANCELLED: RunCancelledError,
    Status.TERMINATED: RunTerminatedError,
    Status.TIMED_OUT: RunTimedOutError,
}


class ChildOutcome(msgspec.Struct, Generic[T], frozen=True, omit_defaults=True, kw_only=True):
    """What an `on_completed_step` receives: how the child's run closed.

    `status` is a closed status; `result` what it completed with (None otherwise), converted to T where the parameter is
    annotated `ChildOutcome[T]`; `error` why it failed or timed out, `reason` why it was cancelled or terminated.
    """

    run_id: str
    workflow_id: str
    workflow_type: str
    status: Status
    result: T | None = None
    error: Failure | None = None
    reason: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the child completed."""
        return self.status is Status.COMPLETED

    def unwrap(self) -> T:
        """The result of a child that completed; otherwise RunFailedError, RunCancelledError, RunTerminatedError or
        RunTimedOutError, as a caller waiting for its result would get."""
        if self.ok:
            return self.result  # type: ignore[return-value]
        why = str(self.error) if self.error is not None else self.reason
        raise _ERRORS[self.status](
            f"{self.workflow_type} {self.workflow_id} {_SAID[self.status]}{f': {why}' if why else ''}",
            run_id=self.run_id,
            workflow_id=self.workflow_id,
            status=str(self.status),
        )


_SAID = {
    Status.FAILED: "failed",
    Status.CANCELLED: "was cancelled",
    Status.TERMINATED: "was terminated",
    Status.TIMED_OUT: "timed out",
}
