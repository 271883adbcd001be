"""`count`: how many runs match a filter, by status or type."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.Count)
async def handle(backend: Backend, call: calls.Count) -> calls.Counted:
    return await backend.count(call)
