"""`reload`: load the code and the configuration again."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.Reload)
async def handle(backend: Backend, call: calls.Reload) -> calls.Reloaded:
    return await backend.reload(call)
