"""Which steps may begin here: others may have those that have not, also while the loop is blocked.

Asked by the loop on one side, and on the other by the thread that hears what is to be given back. A step is known by its
number: how many the worker has been given with it, as a token may come back. Whoever first enters the number has the step:
`dict.setdefault` is one step of the interpreter for both, so the loop, which asks for every step, needs no lock.
"""

from __future__ import annotations

# How many that are settled are kept: they are dropped by the lot, at the price of a few compared with a call for each.
_SETTLED = 64
_BEGUN: object = "begun"
_OVER: object = "given back, and the loop knows"


class Fence:
    """What was given back never begins here, and what has begun, or was answered, is not given back."""

    def __init__(self) -> None:
        self._received = 0
        # Who has which step: `_BEGUN`, or an object of whoever gave it back, which becomes `_OVER` once the loop has asked.
        self._owners: dict[int, object] = {}
        # The loop has asked for all up to this one, and dropped them.
        self._settled = 0

    def receives(self) -> int:
        """The number of the step that has just been read. The loop's alone, as `begins` is."""
        self._received += 1
        return self._received

    def begins(self, number: int) -> bool:
        """Whether it may begin, or be answered without that; to be asked once for each."""
        owners = self._owners
        begun = owners.setdefault(number, _BEGUN) is _BEGUN
        if not begun:
            owners[number] = _OVER
        if len(owners) > _SETTLED:
            self._drop_settled()
        return begun

    def _drop_settled(self) -> None:
        owners, number = self._owners, self._settled + 1
        while (owner := owners.get(number)) is _BEGUN or owner is _OVER:
            # In this order: `give_back` has to see that it came too late for what is dropped.
            self._settled = number
            del owners[number]
            number += 1

    def give_back(self, number: int) -> bool:
        """Whether it will certainly not begin here; True once for each. For one thread."""
        mine = object()
        owners = self._owners
        if owners.setdefault(number, mine) is not mine:
            return False
        # It was there for nobody else; or not any more, and then nobody but this thread looks at it.
        if number <= self._settled and owners.get(number) is mine:
            del owners[number]
            return False
        return True
