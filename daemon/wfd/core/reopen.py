"""Going on with a run that failed, timed out or is stuck: the record that re-opens it. Where, its history says (`course`)."""

from __future__ import annotations

import msgspec

from wfd.core import records as r, stimuli as s
from wfd.core.actions import Action
from wfd.core.apply import refold
from wfd.core.decision import Decision
from wfd.core.state import Stepping, Waiting

replace = msgspec.structs.replace


def reopen(draft: Decision, point: s.Point, reason: str) -> None:
    """Go on at `point`: what is left of its time counts anew, and a cancellation that was asked for is forgotten."""
    run = draft.run
    if point.seq != run.seq:
        draft.ignored = "the run has changed meanwhile"
        return
    phase = point.phase
    if isinstance(phase, Stepping):
        begun = run.seq + 1 if point.from_step is not None else phase.since
        phase = replace(phase, since=begun, reopened=run.seq + 1)
    elif isinstance(phase, Waiting):
        left = None if phase.deadline is None else draft.now + phase.deadline - phase.since_at
        phase = replace(phase, since_at=draft.now, deadline=left)
    timeout = run.timeout_ms
    draft.record(
        r.RunResumed(
            phase.attempt if isinstance(phase, Stepping) else 1, str(run.status), reason, phase, point.from_step,
            point.put, point.deleted, point.requeued, None if timeout is None else draft.now + timeout,
        )
    )  # fmt: skip
    if isinstance(phase, Stepping):
        draft.run = refold(draft.run, [*point.records, draft.records[-1]])
        draft.do(Action.DISPATCH)
