"""`list`: runs by filter, a page at a time."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.List)
async def handle(backend: Backend, call: calls.List) -> calls.RunPage:
    return await backend.list(call)
