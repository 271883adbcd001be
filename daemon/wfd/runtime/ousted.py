"""Notices that the lock was taken away from under the daemon: whoever is started next would serve the project beside it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from wfd.runtime.clock import Clock
from wfd.runtime.lock import StateLock
from wfd.runtime.periodic import Periodic

log = logging.getLogger("wfd.daemon")

LOOK_MS = 1_000
# So many looks in a row have to agree: a file system that was away for a moment is no reason to stop.
LOOKS = 2


class Ousted(Periodic):
    """Calls `stop`, once, when the lock is not the file at its path any more."""

    def __init__(self, lock: StateLock, clock: Clock, stop: Callable[[], None]) -> None:
        super().__init__(clock)
        self._lock = lock
        self._stop_daemon = stop
        self._looks = 0

    async def _start(self) -> None:
        self.arm(LOOK_MS)

    async def _look(self) -> int | None:
        self._looks = self._looks + 1 if self._lock.displaced else 0
        if self._looks < LOOKS:
            return LOOK_MS
        log.error(
            "the lock is not at %s any more: the state folder was moved or deleted, and another daemon could be started there. "
            "This one stops",
            self._lock.path,
        )
        self._stop_daemon()
        return None
