"""Steps that have no worker yet, in the order in which they get one.

What has been cancelled comes first, then the steps of runs that have begun, then the first steps of children, then those of new
runs: so a flood of starts waits behind what is under way, and never the other way round. Within each, and among the types, first
come, first served.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TypeVar

from wfd.supervisor.contract import StepOrder

Place = TypeVar("Place")

_CANCELLED, _BEGUN, _CHILD, _NEW = range(4)
# One step in so many is of a new run even while others want to go on, so that runs that never rest keep no new one out.
_NEW_AMONG = 4


class Queues:
    """One queue a type and rank, as each type may be served by other workers, or have no turn to give; none of them is empty."""

    def __init__(self) -> None:
        self.queues: dict[tuple[str, int], OrderedDict[int, tuple[int, StepOrder]]] = {}
        self._arrived = 0
        self._taken = 0

    def __len__(self) -> int:
        return sum(map(len, self.queues.values()))

    def oldest_at(self, others: Iterable[StepOrder]) -> int | None:
        """Since when the one waits that has waited longest, with these `others`."""
        first = (next(iter(queue.values()))[1] for queue in self.queues.values())
        return min((order.queued_at for order in (*first, *others)), default=None)

    def types(self, others: Iterable[StepOrder]) -> set[str]:
        """Whose steps there are, with these `others`."""
        return {name for name, _ in self.queues} | {order.workflow_type for order in others}

    def length(self, workflow_type: str) -> int:
        """How many steps of a type there are."""
        return sum(len(queue) for (name, _), queue in self.queues.items() if name == workflow_type)

    def lined_up(self, workflow_type: str, begins: bool) -> int:
        if not self.queues:
            return 0
        return sum(
            len(self.queues.get((workflow_type, rank), ())) for rank in ((_NEW,) if begins else (_BEGUN, _CHILD))
        )

    def get(self, token: int) -> StepOrder | None:
        for queue in self.queues.values():
            if token in queue:
                return queue[token][1]
        return None

    def add(self, order: StepOrder) -> bool:
        """True where it is the first of its queue: the others have been looked at already."""
        if order.message.cancel:
            return self._add(order, _CANCELLED)
        return self._add(order, _NEW if order.begins() else _CHILD if order.first else _BEGUN)

    def _add(self, order: StepOrder, rank: int) -> bool:
        queue = self.queues.setdefault((order.workflow_type, rank), OrderedDict())
        self._arrived += 1
        queue[order.token] = self._arrived, order
        return len(queue) == 1

    def hasten(self, token: int) -> None:
        """The step was cancelled: it is only to clean up, for which it waits for no turn."""
        order = self.remove(token)
        if order is not None:
            self._add(order, _CANCELLED)

    def remove(self, token: int) -> StepOrder | None:
        for place, queue in self.queues.items():
            if token in queue:
                _, order = queue.pop(token)
                if not queue:
                    del self.queues[place]
                return order
        return None

    def take(
        self,
        place_for: Callable[[str, bool], Place | None],
        turn: Callable[[str], bool],
        ordered: Callable[[str], bool],
    ) -> tuple[StepOrder, Place] | None:
        """The next step, and the place it gets: `place_for(type, new)`, where `new` is whether it begins a run that is nobody's
        child. `turn(type)` says whether another of a type may execute, `ordered(type)` whether new runs of it never go before
        children, nor these before those that have begun."""
        new_first = self._taken % _NEW_AMONG == _NEW_AMONG - 1
        for workflow_type, rank in sorted(self.queues, key=lambda place: self._urgency(place, new_first)):
            if rank != _CANCELLED and not turn(workflow_type):
                continue
            if ordered(workflow_type) and any((workflow_type, before) in self.queues for before in range(_BEGUN, rank)):
                continue
            place = place_for(workflow_type, rank == _NEW)
            if place is None:
                continue
            queue = self.queues[workflow_type, rank]
            _, (_, order) = queue.popitem(last=False)
            if not queue:
                del self.queues[workflow_type, rank]
            self._taken += 1
            return order, place
        return None

    def _urgency(self, place: tuple[str, int], new_first: bool) -> tuple[int, int]:
        rank = place[1]
        if new_first and rank in (_BEGUN, _NEW):
            rank = _BEGUN + _NEW - rank
        return rank, next(iter(self.queues[place].values()))[0]

    def clear(self) -> None:
        self.queues.clear()
