"""`history`: one run's records, a page at a time."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.History)
async def handle(backend: Backend, call: calls.History) -> calls.HistoryPage:
    return await backend.history(call)
