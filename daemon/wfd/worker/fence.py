"""Which steps may begin here: others may have those that have not, also while the loop is blocked.

Asked by the loop on one side, and on the other by the thread that hears what is to be given back. A step is known by its
number: how many the worker has been given with it, as a token may come back. Each side first says what it is about to do and then
looks at what the other one has said, so at least one of them sees both. Where both do, the loop has the step; that is found out
under a lock, which the loop, as it asks for every step, needs only where something is given back.
"""

from __future__ import annotations

import threading


class Fence:
    """What was given back never begins here, and what has begun, or was answered, is not given back."""

    def __init__(self) -> None:
        # How many have been read.
        self.received = 0
        # The loop has asked for all before this one, as nearly always in their order, and for those ahead of it.
        self._next = 1
        self._ahead: set[int] = set()
        # What was given back, until the loop has asked for it.
        self._given: set[int] = set()
        self._lock = threading.Lock()

    def begins(self, number: int) -> bool:
        """Whether it may begin, or be answered without that; for the loop, once for each."""
        if number == self._next:
            self._next = number + 1
            if self._ahead:
                self._catch_up()
        else:
            self._ahead.add(number)
        return not self._given or self._keeps(number)

    def _catch_up(self) -> None:
        while (number := self._next) in self._ahead:
            # In this order: `give_back` must not miss it in both places.
            self._next = number + 1
            self._ahead.discard(number)

    def _keeps(self, number: int) -> bool:
        with self._lock:
            if number not in self._given:
                return True
            self._given.discard(number)
            return False

    def give_back(self, number: int) -> bool:
        """Whether it will certainly not begin here; True once for each. For one thread."""
        with self._lock:
            if number in self._given:
                return False
            self._given.add(number)
            if number in self._ahead or number < self._next:
                self._given.discard(number)
                return False
            return True
