"""Which steps may begin here: others may have those that have not, also while the loop is blocked.

Asked by the loop on one side, and on the other by the thread that hears what is to be given back. A step is known by its
number: how many the worker has been given with it, as a token may come back. Whoever first enters the number has the step:
`dict.setdefault` is one step of the interpreter for both, so the loop, which asks for every step, needs no lock.
"""

from __future__ import annotations

# So many are kept, and dropped together once the loop has asked for all of them: that costs a fraction of one by one.
_MOST_KEPT = 64
_ASKED = object()


class Fence:
    """What was given back never begins here, and what has begun, or was answered, is not given back."""

    def __init__(self) -> None:
        # Who has which step: an object of whoever gave it back, until the loop has asked.
        self._owners: dict[int, object] = {}
        # How many have been read, and of how many of these the loop has asked whether they may begin.
        self.received = self._asked = 0
        # It has asked for all up to this one, and dropped them.
        self._settled = 0

    def begins(self, number: int) -> bool:
        """Whether it may begin, or be answered without that; for the loop, once for each."""
        owners = self._owners
        begins = owners.setdefault(number, _ASKED) is _ASKED
        if not begins:
            owners[number] = _ASKED
        self._asked += 1
        if len(owners) > _MOST_KEPT and self._asked == self.received:
            self._drop(self._asked)
        return begins

    def _drop(self, last: int) -> None:
        # Said before it is done: `give_back` has to see that it came too late.
        first, self._settled = self._settled + 1, last
        for number in range(first, last + 1):
            del self._owners[number]

    def give_back(self, number: int) -> bool:
        """Whether it will certainly not begin here; True once for each. For one thread."""
        owners, mine = self._owners, object()
        if owners.setdefault(number, mine) is not mine:
            return False
        # In this order. Where the loop has dropped it already, nobody else looks at this entry any more.
        if number <= self._settled and owners.get(number) is mine:
            del owners[number]
            return False
        return True
