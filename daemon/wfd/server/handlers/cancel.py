"""`cancel`: ask a run to end."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import command


@command(calls.Cancel)
async def handle(backend: Backend, call: calls.Cancel) -> calls.Changed:
    return await backend.cancel(call)
