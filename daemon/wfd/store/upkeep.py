"""Keeps the write-ahead log short. The writer copies the log into the database as it commits, but begins the log anew only when at
that very moment nobody reads from it. Where reads always overlap it never would: so when the log is long, ours are held back for
as long as that takes. A reader that is not ours (a backup, a sqlite3 shell) is waited for, commits go on, and the log is cut once
it has gone.
"""

from __future__ import annotations

import logging

from wfctl.errors import WfctlError
from wfd.runtime.clock import Clock
from wfd.runtime.periodic import Periodic
from wfd.store.connect import LOG_BYTES
from wfd.store.store import Store

log = logging.getLogger("wfd.store")

LOOK_MS = 1_000
# After a try in vain: somebody reads for long.
AGAIN_MS = 5_000


class Upkeep(Periodic):
    """Looks at the log of `store` every now and then; `limit` is the size that is let be."""

    def __init__(self, store: Store, clock: Clock, limit: int = LOG_BYTES) -> None:
        super().__init__(clock)
        self._store = store
        self._limit = limit

    async def _start(self) -> None:
        self.arm(LOOK_MS)

    async def _look(self) -> int:
        try:
            done = self._store.log_bytes() <= self._limit or await self.cut()
        except (WfctlError, OSError) as error:  # a TimeoutError is one of these
            log.info("the log of the database is not cut yet: %s", error)
            done = False
        return LOOK_MS if done else AGAIN_MS

    async def cut(self) -> bool:
        """Cut the log to nothing, while nothing of ours reads; false where somebody else does."""
        async with self._store.reader.stillness():
            return await self._store.writer.empty_log()
