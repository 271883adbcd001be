"""Retention: closed runs whose time is over are purged by and by, as wfctl.toml says for each status."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from wfctl.errors import StorageError
from wfctl.values.status import Status
from wfd.engine.passes import Tally
from wfd.engine.purges import Purges
from wfd.runtime.clock import Clock
from wfd.runtime.periodic import Periodic
from wfd.store.purge import Rule

log = logging.getLogger("wfd.engine")

# How often is looked: a share of the shortest time that runs are kept for, between a minute and an hour.
SHARE = 20
OFTEN_MS = 60_000
SELDOM_MS = 3_600_000
# Of the pages of the database file so many stay, although free: new runs take as many as old ones leave.
KEEP = 0.1


class Retention(Periodic):
    """`ages` is after how many ms a closed run of a status goes; a status that is not in it stays. A tree goes when each of its
    runs may."""

    def __init__(self, purges: Purges, clock: Clock, ages: Mapping[Status, int]) -> None:
        super().__init__(clock)
        self._purges = purges
        self._ages = dict(ages)

    def configured(self, ages: Mapping[Status, int]) -> None:
        """Other ages count from now on."""
        if ages != self._ages:
            self._ages = dict(ages)
            if self.running:
                self.arm(0)

    async def _start(self) -> None:
        self.arm(OFTEN_MS)

    async def _look(self) -> int | None:
        if not self._ages:
            return None
        began, every = self._clock.now_ms(), min(max(min(self._ages.values()) // SHARE, OFTEN_MS), SELDOM_MS)
        try:
            tally = await self.purge_now()
        except StorageError as error:
            log.warning("old runs could not be purged: %s; this is tried again", error.message)
        except Exception:
            log.exception("old runs could not be purged; this is tried again")
        else:
            if tally.trees:
                log.info("purged %d runs in %d trees, as [retention] says", tally.runs, tally.trees)
                # As often as that, however long a pass takes: after a longer one the next follows at once, as more is due already.
                return min(max(began + every - self._clock.now_ms(), 0), every)
        return every

    async def purge_now(self) -> Tally:
        """Purge what may go now."""
        now = self._clock.now_ms()
        # First: what is free now nobody has needed since the last pass. What this one frees is for the runs that are started until
        # the next; to move pages about for that, and to make the file longer again, would cost more than to take the runs away.
        await self._purges.give_back(Tally(), KEEP)
        going = await self._purges.find(Rule({status: now - age for status, age in self._ages.items()}))
        while page := going.next():
            await self._purges.take(going, page, lambda: True)
        return going.tally
