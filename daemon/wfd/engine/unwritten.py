"""Decisions on their way to the disk: so many that whoever can wait does."""

from __future__ import annotations

from collections.abc import Callable

from wfd.runtime.pressure import Pressure

# At so many whatever needs no answer waits, and workers are not heard; at half of it they are again.
MOST_UNWRITTEN = 2_000
# So many, with the steps that workers have said nothing of yet, keep everything busy; more make commits longer and memory larger,
# and nothing faster: whoever asks for many things at once gets them by and by.
ENOUGH = 400
# Of which so many may be such steps: handlers that say nothing for long leave room for others all the same.
ENOUGH_SILENT = 300
_BEHIND = f"{MOST_UNWRITTEN:,} decisions on their way to the disk: workers are not heard until it has caught up"


class Unwritten:
    """`hear(on)` is called when workers are to be heard no more for now, and when they are again."""

    def __init__(self, hear: Callable[[bool], None], pressure: Pressure) -> None:
        self.count = 0
        self._hear = hear
        self._pressure = pressure
        self._heard = True

    def too_many(self, more: int) -> bool:
        """Whether there would be with so many more."""
        return self.count + more >= MOST_UNWRITTEN

    def left(self, more: int, silent: int) -> int:
        """How many are missing, beside so many more and so many silent steps, until there are enough; at most nothing where there
        are."""
        return ENOUGH - self.count - more - min(silent, ENOUGH_SILENT)

    def begin(self, number: int) -> None:
        self.count += number
        if self.count >= MOST_UNWRITTEN and self._heard:
            self._heard = False
            self._pressure.begin(_BEHIND)
            self._hear(False)

    def end(self, number: int) -> None:
        """They are on disk, or never will be."""
        self.count -= number
        if not self._heard and self.count <= MOST_UNWRITTEN // 2:
            self._heard = True
            self._pressure.end(_BEHIND)
            self._hear(True)
