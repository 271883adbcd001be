"""Suspects: steps that have lost their workers. Each gets one to itself, so that it is clear whether it was that step's doing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

from wfd.runtime.clock import Clock, TimerHandle
from wfd.supervisor.contract import Runner, StepOrder

# How long a step that has lost its workers waits for one to itself, and then keeps it so: what ends its worker mostly does
# it at once, and a step that only waits for something must not hold up all others.
ALONE_MS = 1_000


class Alone:
    """Those that are `waiting`, by token, and the `worker` that is kept free of anything else as long as there are any.

    `taking(workflow_type)` lists the workers that take steps of a type, `may_begin(order)` is whether there is a turn for one,
    `give(order, worker)` begins it. `lapsed(worker)` is called when a worker has been kept free for long enough.
    """

    def __init__(
        self,
        clock: Clock,
        taking: Callable[[str], Sequence[Runner]],
        may_begin: Callable[[StepOrder], bool],
        give: Callable[[StepOrder, Runner], None],
        lapsed: Callable[[Runner], None],
    ) -> None:
        self._clock = clock
        self._taking = taking
        self._may_begin = may_begin
        self._give = give
        self._lapsed = lapsed
        self.waiting: OrderedDict[int, StepOrder] = OrderedDict()
        self.worker: Runner | None = None
        # The type of the suspect that it is kept for.
        self._kept_for = ""
        self._lapse: TimerHandle | None = None

    def share_out(self) -> None:
        """Begin the next, where its worker is free by now."""
        if self.worker is not None:
            if self.worker not in self._taking(self._kept_for):
                self._keep(None)
            elif self.worker.steps:
                return  # with a suspect, or with others that it is to be rid of: until it lapses
        suspect = self._next()
        if suspect is None:
            self._keep(None)
            return
        worker, workers = self.worker, self._taking(suspect.workflow_type)
        if worker is None or worker not in workers:
            worker = min(workers, key=lambda worker: len(worker.steps))
            self._keep(worker, suspect.workflow_type)
        if not worker.steps:
            self._begin(suspect, worker)
            self._keep(worker, suspect.workflow_type)

    def begin_beside(self, worker: Runner) -> None:
        """Begin the next that `worker` takes, whatever else that has."""
        suspect = self._next(worker)
        if suspect is not None:
            self._begin(suspect, worker)

    def _begin(self, suspect: StepOrder, worker: Runner) -> None:
        del self.waiting[suspect.token]
        self._give(suspect, worker)

    def _next(self, worker: Runner | None = None) -> StepOrder | None:
        """The first one that may begin now, on `worker` where that is given."""
        for suspect in self.waiting.values():
            taking = self._taking(suspect.workflow_type)
            if taking and (worker is None or worker in taking) and self._may_begin(suspect):
                return suspect
        return None

    def _keep(self, worker: Runner | None, workflow_type: str = "") -> None:
        """Keep `worker` free of anything else, for `ALONE_MS` from now at most."""
        if self._lapse is not None:
            self._lapse.cancel()
        self.worker, self._kept_for = worker, workflow_type
        self._lapse = None if worker is None else self._clock.call_later(ALONE_MS, partial(self._kept_long, worker))

    def _kept_long(self, worker: Runner) -> None:
        self._keep(None)
        self._lapsed(worker)

    def clear(self) -> None:
        self.waiting.clear()
        self._keep(None)
