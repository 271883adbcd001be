"""Why steps wait in line for a worker: there is none, none answers, or each has as many as it may have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wfd.supervisor.contract import Shortage
from wfd.supervisor.steps import STEPS_PER_WORKER, Steps
from wfd.supervisor.worker import Worker


def shortages(steps: Steps, serving: Callable[[str], Sequence[Worker]], unstarted: str) -> dict[str, Shortage]:
    """By type, for what waits in line and no worker is about to take. `serving(workflow_type)` lists the workers that answer, or
    all where none does; `unstarted` says why others could not be started."""
    found = {name: _shortage(steps, name, serving(name), unstarted) for name in steps.in_line()}
    return {name: short for name, short in found.items() if short is not None}


def _shortage(steps: Steps, workflow_type: str, workers: Sequence[Worker], unstarted: str) -> Shortage | None:
    if not workers:
        return Shortage(unstarted) if unstarted else None
    number = len(workers)
    if all(worker.blocked_at is not None for worker in workers):
        return Shortage("the only worker is blocked" if number == 1 else f"all {number} workers are blocked")
    if steps.least_busy(workflow_type, False) is None and any(len(one.steps) >= STEPS_PER_WORKER for one in workers):
        whose = "the only worker has" if number == 1 else f"each of {number} workers has"
        return Shortage(f"steps: {whose} {STEPS_PER_WORKER}, and may not have more", full=True)
    return None
