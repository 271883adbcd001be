"""`get`: everything about one run."""

from __future__ import annotations

from wfctl.protocol import calls, views
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.Get)
async def handle(backend: Backend, call: calls.Get) -> views.RunDetail:
    return await backend.get(call)
