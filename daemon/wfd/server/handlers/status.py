"""`status`: how the daemon is."""

from __future__ import annotations

from wfctl.protocol import calls, views
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.GetStatus)
async def handle(backend: Backend, call: calls.GetStatus) -> views.StatusView:
    return await backend.status(call)
