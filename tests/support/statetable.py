"""The state diagram of a run, printed from `wfd.core.decide`: what the manual page shows, and a test compares.

PYTHONPATH=tests python -m support.statetable
"""

from __future__ import annotations

from typing import Any

from support.walks import Walk
from wfctl.values.failure import Failure
from wfd.core import records as r, state, stimuli as s
from wfd.core.decide import TABLE, Ignored, decide
from wfd.core.state import Raw

PHASES = {
    state.Stepping: "running",
    state.Waiting: "waiting",
    state.Sleeping: "sleeping",
    state.Stuck: "stuck",
    state.Closed: "closed",
}
LETTERS = {"running": "R", "waiting": "W", "sleeping": "S", "stuck": "#", "closed": "C"}
FAILURE = Failure("E", "m")


def _examples(run: state.Run) -> dict[str, list[s.Stimulus]]:
    """For each row, stimuli that show where it can lead."""
    phase = run.phase
    at = (phase.step, phase.attempt) if isinstance(phase, state.Stepping) else (run.steps, 1)
    return {
        "directive": [
            s.StepReturned(*at, "step", "next"),
            s.StepReturned(*at, "step", "next", after_ms=5),
            s.StepReturned(*at, "wait"),
            s.StepReturned(*at, "complete"),
        ],
        "exception": [s.StepRaised(*at, FAILURE)],
        "step timeout": [s.StepTimedOut(*at, 5)],
        "worker lost": [s.StepLost(*at, "gone"), s.StepLost(*at, "gone", crash=True, limit=1)],
        "code missing": [s.StepUnfit(*at, "no handler")],
        "operation": [s.OperationAsked(*at, r.RandomRecorded("k", Raw(b"1")))],
        "event": [s.EventArrived("a", Raw(b"{}"), "kid")],
        "deadline": [s.TimeReached()],
        "cancel": [s.CancelAsked("")],
        "terminate": [s.TerminateAsked("")],
        "child reopened": [s.ChildReopened("R2", "child")],
        "child closed": [
            s.ChildClosed("R2", "child", "completed"),
            s.ChildClosed("R2", "child", "completed", "after", Raw(b"{}")),
        ],
        "code changed": [s.CodeChanged()],
        "retry": [
            s.RetryAsked(s.Point(run.seq, point))
            for point in (
                state.Stepping(run.steps, "step", "again", 1, attempt=2),
                state.Waiting(run.steps, 1),
                state.Sleeping(run.steps, "next", 5),
            )
            # A run gets stuck in a step, and that is where it goes on.
            if not isinstance(phase, state.Stuck) or isinstance(point, state.Stepping)
        ],
    }


def _runs() -> dict[str, list[state.Run]]:
    """Runs in each phase, with a child, and with what a deadline can end or begin."""

    def after(*stimuli: Any) -> state.Run:
        walk = Walk(timeout_ms=None)
        walk.go((0, lambda run: s.OperationAsked(1, 1, r.ChildStarted("c", "R2", "child", "C"))))
        for stimulus in stimuli:
            walk.go((0, lambda run, one=stimulus: one))
        return walk.run

    timed = Walk(timeout_ms=5)
    timed.go((0, lambda run: s.OperationAsked(1, 1, r.ChildStarted("c", "R2", "child", "C"))))
    return {
        "running": [timed.run],
        "waiting": [
            after(s.StepReturned(1, 1, "wait", "late", after_ms=5)),
            after(s.StepReturned(1, 1, "wait", after_ms=5)),
        ],
        "sleeping": [after(s.StepReturned(1, 1, "step", "next", after_ms=5))],
        "stuck": [after(s.StepUnfit(1, 1, "no handler"))],
        "closed": [after(s.StepReturned(1, 1, "complete")), after(s.StepRaised(1, 1, FAILURE))],
    }


def printed() -> str:
    """One row for what can happen, one column for what the run is doing: the letters say what it may do then."""
    runs = _runs()
    lines = [f"{'':<14}" + "".join(f"{f'{word} ({LETTERS[word]})':>14}" for word in PHASES.values())]
    for row in _examples(runs["running"][0]):
        cells = []
        for word in PHASES.values():
            to = set()
            for run in runs[word]:
                for stimulus in _examples(run)[row]:
                    if not isinstance(TABLE[type(run.phase), type(stimulus)], Ignored):
                        to.add(LETTERS[PHASES[type(decide(run, stimulus, 2_000_000).run.phase)]])
            cells.append("".join(letter for letter in LETTERS.values() if letter in to) or ".")
        lines.append(f"{row:<14}" + "".join(f"{cell:>14}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    print(printed())
