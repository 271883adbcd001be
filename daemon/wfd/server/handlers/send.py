"""`send`: hand an event to an open run; answered when it is committed."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import command


@command(calls.Send)
async def handle(backend: Backend, call: calls.Send) -> calls.Sent:
    return await backend.send(call)
