"""What the sessions of one server share."""

from __future__ import annotations

from typing import Generic, TypeVar

from wfctl.protocol import rpc
from wfctl.protocol.calls import Welcome
from wfd.runtime.pressure import Pressure
from wfd.runtime.promise import Promised
from wfd.server.backend import Backend
from wfd.server.backlog import Misread
from wfd.server.connections import Connections
from wfd.server.route import Route

SessionT = TypeVar("SessionT")


class Host(Generic[SessionT]):
    """`finishing` are commands that go on when their caller has left."""

    def __init__(
        self,
        backend: Backend,
        routes: dict[str, Route],
        welcome: Welcome,
        pressure: Pressure,
        connections: Connections,
        *,
        uid: int,
        handshake_s: float,
    ) -> None:
        self.backend = backend
        self.routes = routes
        self.welcome = welcome
        self.uid = uid
        self.handshake_s = handshake_s
        self.pressure = pressure
        self.connections = connections
        self.sessions: set[SessionT] = set()
        self.finishing: set[Promised] = set()

    def asks_for_start(self, message: rpc.Envelope | Misread) -> bool:
        """Whether it asks for a run to begin."""
        if isinstance(message, Misread) or message.method is None or message.id is None:
            return False
        route = self.routes.get(message.method)
        return route is not None and route.starts
