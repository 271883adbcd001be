"""`query`: what a run's query handler makes of its store."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.Query)
async def handle(backend: Backend, call: calls.Query) -> calls.QueryAnswer:
    return await backend.query(call)
