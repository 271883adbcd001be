"""What is full, and makes others wait: told in the log once it begins, and in `wfctl status` as long as it lasts."""

from __future__ import annotations

import logging
from collections import Counter

log = logging.getLogger("wfd.pressure")


class Pressure:
    """Names what is full by a sentence without its subject; several may wait for the same. Shared by all of a daemon."""

    def __init__(self) -> None:
        self._waiting: Counter[str] = Counter()
        self._told: set[str] = set()

    def begin(self, what: str) -> None:
        """Somebody waits because of `what`. The log has that once in the daemon's life; the rest is for `lines`."""
        self._waiting[what] += 1
        if what not in self._told:
            self._told.add(what)
            log.warning("full: %s; nothing is lost, but it has to wait (this is said once)", what)

    def end(self, what: str) -> None:
        """One of those who waited goes on."""
        self._waiting[what] -= 1
        if self._waiting[what] <= 0:
            del self._waiting[what]

    def lines(self) -> list[str]:
        """What is full now, and how many wait for it."""
        return [f"{what} ({count} waiting)" for what, count in sorted(self._waiting.items())]
