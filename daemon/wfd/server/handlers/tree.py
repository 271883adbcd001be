"""`tree`: a run with its steps and children."""

from __future__ import annotations

from wfctl.protocol import calls, views
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.GetTree)
async def handle(backend: Backend, call: calls.GetTree) -> views.Tree:
    return await backend.tree(call)
