"""What is true of every run at every moment. Tests and the simulator ask after each decision."""

from __future__ import annotations

from wfd.core.state import Closed, Run, Sleeping, Stepping, Stuck, Waiting


def violations(run: Run) -> list[str]:
    """The broken invariants of `run`, in words; empty where all hold."""
    found: list[str] = []

    def check(holds: bool, what: str) -> None:
        if not holds:
            found.append(f"{run.run_id}: {what}")

    phase = run.phase
    seqs = [event.seq for event in run.inbox]
    check(seqs == sorted(set(seqs)), "the inbox is in the order of arrival, each event once")
    check(all(seq <= run.seq for seq in seqs), "an event in the inbox is in the history")
    check(0 <= run.open_children <= run.children, "no more children are open than were started")
    check(run.closed == run.status.closed, "phase and status agree")
    match phase:
        case Stepping():
            check(phase.step == run.steps, "the step that runs is the last that was begun")
            check(phase.attempt >= 1, "attempts count from 1")
            check(phase.since <= run.seq, "the step's beginning is in the history")
            check(phase.kind != "event" or phase.event is not None, "an event handler has its event")
            check(all(key == op.key for key, op in phase.ops.items()), "operations are found by their keys")
        case Waiting():
            check(not any(phase.takes(event) for event in run.inbox), "a waiting run has no event it would take")
            check(run.cancel is None, "a cancelled run does not begin to wait")
        case Sleeping():
            check(run.cancel is None, "a cancelled run does not sleep")
        case Stuck():
            check(bool(phase.reason), "a stuck run says why")
        case Closed():
            check(run.wake_at is None, "nothing is due for a closed run")
            check(phase.at >= run.started_at, "a run ends after it began")
    return found
