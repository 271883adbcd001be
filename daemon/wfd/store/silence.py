"""Notices that nothing that is asked of the database is answered, though nothing failed: a disk that hangs, a stopped process."""

from __future__ import annotations

import logging

from wfctl.values.times import format_duration
from wfd.runtime.clock import Clock
from wfd.runtime.periodic import Periodic
from wfd.store.store import Store

log = logging.getLogger("wfd.store")

LOOK_MS = 1_000
# Longer than anything takes that is asked for, on a disk that works.
SILENT_MS = 5_000


class Silence(Periodic):
    """Tells the log, and has the writer say it in `silent`. Looks are counted, for the clock may be set meanwhile. Also says, once,
    that the file has been taken away from under the daemon."""

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(clock)
        self._store = store
        self._writer = store.writer
        self._displaced = ""
        self._answers = 0
        self._silent_ms = 0

    async def _start(self) -> None:
        self.arm(LOOK_MS)

    async def _look(self) -> int:
        writer = self._writer
        if writer.under_way and writer.failure is None and writer.answers == self._answers:
            self._silent_ms += LOOK_MS
            if self._silent_ms >= SILENT_MS:
                self._tell(format_duration(self._silent_ms))
        else:
            if writer.silent:
                log.warning("the database is written again, after %s", format_duration(self._silent_ms))
            self._silent_ms, self._answers, writer.silent = 0, writer.answers, ""
        displaced = self._store.displaced
        if displaced and not self._displaced:
            log.error("%s", displaced)
        self._displaced = displaced
        return LOOK_MS

    def _tell(self, lasted: str) -> None:
        pid, said = self._writer.pid, self._writer.silent
        who = "" if pid is None else f", or process {pid}, which writes it, is stopped"
        self._writer.silent = f"the database has not been written for {lasted}: its disk hardly answers{who}"
        if not said:
            log.error("%s; whoever asked for something waits", self._writer.silent)
