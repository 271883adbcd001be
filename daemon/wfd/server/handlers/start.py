"""`start`: start a run; answered when it is committed."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import command


@command(calls.Start, promise=lambda backend, call: backend.starting(call))
async def handle(backend: Backend, call: calls.Start) -> calls.Started:
    return await backend.start(call)
