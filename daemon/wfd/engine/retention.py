"""Retention: closed runs whose time is over are purged by and by, as wfctl.toml says for each status."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping

from wfctl.errors import StorageError
from wfctl.values.status import Status
from wfd.engine.purges import TREES, Purges, Tally
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
        try:
            tally = await self.purge_now()
        except StorageError as error:
            log.warning("old runs could not be purged: %s; this is tried again", error.message)
        except Exception:
            log.exception("old runs could not be purged; this is tried again")
        else:
            if tally.trees:
                log.info("purged %d runs in %d trees, as [retention] says", tally.runs, tally.trees)
        return min(max(min(self._ages.values(), default=0) // SHARE, OFTEN_MS), SELDOM_MS)

    async def purge_now(self) -> Tally:
        """Purge what may go now."""
        now, tally = self._clock.now_ms(), Tally()
        rule = Rule({status: now - age for status, age in self._ages.items()})
        found = await self._purges.find(rule, tally)
        while page := list(itertools.islice(found, TREES)):
            await self._purges.take(rule, page, tally, lambda: True)
        if tally.trees:
            await self._purges.give_back(tally, KEEP)
        return tally
