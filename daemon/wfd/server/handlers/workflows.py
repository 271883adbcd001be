"""`workflows`: the workflow types on offer."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.Workflows)
async def handle(backend: Backend, call: calls.Workflows) -> calls.WorkflowList:
    return await backend.workflows(call)
