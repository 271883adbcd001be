"""The service at the socket: listens, keeps the sessions, and ends them so that nothing acknowledged is unsaid."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from pathlib import Path

from wfctl.protocol.calls import PROTOCOL_MAX, PROTOCOL_MIN, Welcome
from wfctl.protocol.rpc import MAX_LINE_BYTES
from wfd.runtime.lifecycle import Service
from wfd.runtime.lock import StateLock
from wfd.runtime.pressure import Pressure
from wfd.runtime.promise import future_of
from wfd.server.backend import Backend
from wfd.server.connections import Connections
from wfd.server.endpoint import BACKLOG, listen
from wfd.server.host import Host
from wfd.server.router import routes
from wfd.server.session import Session

log = logging.getLogger("wfd.server")

HANDSHAKE_S = 10.0
_FINISH_S = 5.0
_SETTLE_S = 0.05


class Server(Service):
    """`lock` is the one on the state directory; the server starts only while it is held.

    `version`, `schema` and `project` are what the handshake tells. The limits are arguments for tests. `pressure` is told of
    connections that have to wait; `files` is how many the daemon may have open.
    """

    def __init__(
        self,
        path: Path,
        backend: Backend,
        lock: StateLock,
        *,
        version: str,
        schema: int,
        project: str,
        handshake_s: float = HANDSHAKE_S,
        limit_bytes: int = MAX_LINE_BYTES,
        uid: int | None = None,
        pressure: Pressure | None = None,
        connections: Connections | None = None,
        files: int | None = None,
    ) -> None:
        super().__init__()
        self._path = path
        self._lock = lock
        welcome = Welcome(
            protocol=PROTOCOL_MAX,
            protocol_min=PROTOCOL_MIN,
            protocol_max=PROTOCOL_MAX,
            version=version,
            schema=schema,
            project=project,
            pid=os.getpid(),
            limit_bytes=limit_bytes,
            state=str(lock.path.parent),
        )
        uid = os.getuid() if uid is None else uid
        self._host: Host[Session] = Host(
            backend,
            routes(),
            welcome,
            pressure or Pressure(),
            connections or Connections(),
            uid=uid,
            handshake_s=handshake_s,
        )
        if files is not None:
            self._host.connections.limit(files)
        self._listener: asyncio.Server | None = None
        self._identity = (0, 0)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def connections(self) -> int:
        return len(self._host.sessions)

    async def _start(self) -> None:
        if not self._lock.held:
            raise RuntimeError("the server needs the lock on the state directory")
        await self._listen(listen(self._path))
        log.info("listening on %s", self._path)

    async def _listen(self, sock: socket.socket) -> None:
        facts = self._path.stat()
        self._identity = (facts.st_dev, facts.st_ino)
        self._listener = await asyncio.get_running_loop().create_unix_server(
            lambda: Session(self._host), sock=sock, backlog=BACKLOG
        )

    async def listen_again(self) -> bool:
        """Listen at a new socket where the one of before was removed, and nothing is in its place; who is connected stays so.

        Not where the lock is not in its place any more: another daemon may listen there next. Raises what keeps it from listening.
        """
        if self._listener is None or self._lock.displaced or os.path.lexists(self._path):
            return False
        # The folder is made again, as it is the daemon's; what it is in, as a login's own, is not.
        sock, before = listen(self._path, parents=False), self._listener
        try:
            await self._listen(sock)
        except OSError:
            sock.close()
            self._remove_socket()  # or it would be taken for one that is served
            raise
        before.close()
        return True

    async def _stop(self) -> None:
        assert self._listener is not None
        # The name goes first: who comes now finds no daemon, instead of one that hangs up.
        self._remove_socket()
        self._listener.close()
        open_calls = [task for session in self._host.sessions for task in session.open_calls()]
        if open_calls:
            # What was decided a moment ago still gets to those who wait for it.
            await asyncio.wait(open_calls, timeout=_SETTLE_S)
        for session in list(self._host.sessions):
            session.abandon_calls()
        if self._host.finishing:
            # Commands under way commit and are answered; the engine is still there, it stops after the server.
            await asyncio.wait({future_of(call) for call in self._host.finishing}, timeout=_FINISH_S)
        sessions = list(self._host.sessions)
        for session in sessions:
            session.close()
        await self._gone(sessions, _FINISH_S)
        for session in sessions:
            session.abort()
        await self._gone(sessions, _FINISH_S)
        await self._listener.wait_closed()
        self._listener = None

    async def _gone(self, sessions: list[Session], timeout_s: float) -> None:
        waits = [asyncio.ensure_future(session.lost.wait()) for session in sessions if not session.lost.is_set()]
        if waits:
            _, late = await asyncio.wait(waits, timeout=timeout_s)
            for wait in late:
                wait.cancel()

    def _remove_socket(self) -> None:
        try:
            facts = self._path.lstat()
            if (facts.st_dev, facts.st_ino) == self._identity:
                self._path.unlink()
        except FileNotFoundError:
            pass
