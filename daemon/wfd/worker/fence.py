"""Which steps may begin here: others may have those that have not, also while the loop is blocked.

Asked by the loop on one side, and on the other by the thread that hears what is to be given back. A step is known by its
number: how many the worker has been given with it, as a token may come back.
"""

from __future__ import annotations

import threading


class Fence:
    """What was given back never begins here, and what has begun, or was answered, is not given back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = 0
        self._waiting: set[int] = set()
        # Given back before they had been read.
        self._gone: set[int] = set()

    def receives(self) -> int:
        """The number of the step that has just been read; 0 where it was given back already."""
        with self._lock:
            self._received += 1
            if self._received not in self._gone:
                return self._received
            self._gone.remove(self._received)
            return 0

    def waits(self, number: int) -> None:
        """It is to begin in some later turn of the loop."""
        self._waiting.add(number)

    def begins(self, number: int) -> bool:
        """Whether it may begin, or be answered without that; asked once, where it has not begun."""
        with self._lock:
            if number not in self._waiting:
                return False
            self._waiting.remove(number)
            return True

    def give_back(self, number: int) -> bool:
        """Whether it will certainly not begin here; True once for each."""
        with self._lock:
            if number > self._received:
                if number in self._gone:
                    return False
                self._gone.add(number)
                return True
            if number not in self._waiting:
                return False
            self._waiting.remove(number)
            return True
