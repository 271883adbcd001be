"""`down`: drain and stop the daemon."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import command


@command(calls.Down)
async def handle(backend: Backend, call: calls.Down) -> calls.Ok:
    return await backend.down(call)
