"""Notices that the socket was taken away from under the daemon, which nobody would find any more, and has it listen again."""

from __future__ import annotations

import logging

from wfctl.errors import WfctlError, reason
from wfd.runtime.clock import Clock
from wfd.runtime.periodic import Periodic
from wfd.server.server import Server

log = logging.getLogger("wfd.server")

LOOK_MS = 1_000


class Reachable(Periodic):
    """Started after the server, and stopped before it. The folder of a login's sockets goes with its last session, and a cleaner of
    /tmp takes what is old: the socket is made again as soon as there is a place for it."""

    def __init__(self, server: Server, clock: Clock) -> None:
        super().__init__(clock)
        self._server = server
        # What was told last, so that it is told once.
        self._told = ""

    async def _start(self) -> None:
        self.arm(LOOK_MS)

    async def _look(self) -> int | None:
        try:
            again = await self._server.listen_again()
        except (WfctlError, OSError) as error:  # also without a free file, or where the folder goes in this very moment
            if (why := reason(error)) != self._told:
                self._told = why
                log.error(
                    "the socket %s was removed, and nobody can reach this daemon until it can be made again: %s",
                    self._server.path, why,
                )  # fmt: skip
            return LOOK_MS
        if again:
            self._told = ""
            log.warning("the socket %s was removed; the daemon listens there again", self._server.path)
        return LOOK_MS
