"""What programs are told of a run: who it is, how it stands, and how it ended where it did not complete."""

from __future__ import annotations

from typing import Any

import msgspec

from wfctl.errors import (
    RunCancelledError,
    RunFailedError,
    RunOutcomeError,
    RunStuckError,
    RunTerminatedError,
    RunTimedOutError,
)
from wfctl.protocol import views
from wfctl.values import codec
from wfctl.values.commands import command
from wfctl.values.failure import Failure
from wfctl.values.runinfo import RunInfo, ScheduleInfo
from wfctl.values.status import Status

_OUTCOMES: dict[Status, tuple[type[RunOutcomeError], str]] = {
    Status.FAILED: (RunFailedError, "failed"),
    Status.CANCELLED: (RunCancelledError, "was cancelled"),
    Status.TERMINATED: (RunTerminatedError, "was terminated"),
    Status.TIMED_OUT: (RunTimedOutError, "timed out"),
}


class QueuedEvent(msgspec.Struct, frozen=True):
    """An event in a run's inbox. `received_at` is UTC epoch milliseconds."""

    event: str
    payload: Any
    received_at: int


class RunDescription(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a run. `input` is the start handler's keyword arguments, `result` None unless it has completed. `schedule`
    started it, where one did; `reason` is what was recorded of who cancelled or terminated it, or why."""

    run: views.RunView
    input: Any
    result: Any
    store: dict[str, Any]
    inbox: list[QueuedEvent]
    history_entries: int
    schedule: ScheduleInfo | None = None
    reason: str | None = None


def described(detail: views.RunDetail) -> RunDescription:
    return RunDescription(
        run=detail.run,
        input=codec.decode(detail.input),
        result=codec.decode(detail.result),
        store={key: codec.decode(value) for key, value in detail.store.items()},
        inbox=[QueuedEvent(item.event, codec.decode(item.payload), item.received_at) for item in detail.inbox],
        history_entries=detail.history_entries,
        schedule=detail.schedule,
        reason=detail.reason,
    )


def info_of(run: views.RunView, schedule: ScheduleInfo | None = None) -> RunInfo:
    return RunInfo(
        run.run_id, run.workflow_id, run.workflow_type, run.parent, run.root_id, started_at_ms=run.started_at, schedule=schedule
    )  # fmt: skip


def outcome_error(outcome: views.Outcome) -> RunOutcomeError:
    """How a run that closed without completing is raised to who waited for it."""
    cls, verb = _OUTCOMES[outcome.status]
    why = _told(outcome.error) if outcome.error is not None else outcome.reason
    return cls(
        f"run {outcome.workflow_id!r} {verb}{f': {why}' if why else ''}",
        hint=command("show", outcome.workflow_id),
        error=msgspec.to_builtins(outcome.error),
        **_which(outcome),
    )


def _told(failure: Failure) -> str:
    return f"{failure} ({failure.frame})" if failure.frame else str(failure)


def stuck_error(outcome: views.Outcome) -> RunStuckError:
    """How a run that is stuck is raised to who does not wait for a cure."""
    return RunStuckError(
        f"run {outcome.workflow_id!r} is stuck: {outcome.stuck_reason or 'it needs code or a person'}",
        hint=command("show", outcome.workflow_id),
        **_which(outcome),
    )


def _which(outcome: views.Outcome) -> dict[str, str]:
    return {"run_id": outcome.run_id, "workflow_id": outcome.workflow_id, "status": outcome.status.value}
