"""`ids`: the runs whose IDs begin with what somebody has typed."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.Ids)
async def handle(backend: Backend, call: calls.Ids) -> calls.IdsFound:
    return await backend.ids(call)
