"""`result`: how a run ended, waiting for it where asked to."""

from __future__ import annotations

from wfctl.protocol import calls, views
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.Result, promise=lambda backend, call: backend.closing(call))
async def handle(backend: Backend, call: calls.Result) -> views.Outcome:
    return await backend.result(call)
