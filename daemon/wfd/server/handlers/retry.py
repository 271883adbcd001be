"""`retry`: re-open a run that failed, or begin another like it."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import command


@command(calls.Retry)
async def handle(backend: Backend, call: calls.Retry) -> calls.Retried:
    return await backend.retry(call)
