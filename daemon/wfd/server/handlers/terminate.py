"""`terminate`: end a run now."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import command


@command(calls.Terminate)
async def handle(backend: Backend, call: calls.Terminate) -> calls.Changed:
    return await backend.terminate(call)
