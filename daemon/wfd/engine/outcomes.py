"""How a run stands, for whoever waits: clients, and the handlers of its parent."""

from __future__ import annotations

import msgspec

from wfctl.protocol.views import Outcome
from wfctl.values.outcome import ChildOutcome
from wfctl.values.status import Status
from wfd.core import state
from wfd.core.state import Raw

_COMPLETED = Status.COMPLETED


def outcome_of(run: state.Run) -> Outcome:
    """How a run in memory stands."""
    phase = run.phase
    if type(phase) is state.Closed:
        result = phase.result if phase.status is _COMPLETED else state.NULL
        return Outcome(run.run_id, run.workflow_id, run.workflow_type, phase.status, result, phase.error, phase.reason)
    base = Outcome(run_id=run.run_id, workflow_id=run.workflow_id, workflow_type=run.workflow_type, status=run.status)
    if isinstance(phase, state.Stuck):
        return msgspec.structs.replace(base, stuck_reason=phase.reason)
    return base


def child_outcome(run: state.Run) -> ChildOutcome[Raw]:
    """What the parent of a closed run gets to hear."""
    return as_child(outcome_of(run))


def as_child(outcome: Outcome) -> ChildOutcome[Raw]:
    return ChildOutcome(
        run_id=outcome.run_id,
        workflow_id=outcome.workflow_id,
        workflow_type=outcome.workflow_type,
        status=outcome.status,
        result=outcome.result,
        error=outcome.error,
        reason=outcome.reason,
    )
