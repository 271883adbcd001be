"""`schedule_remove`: take a schedule away."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import command


@command(calls.RemoveSchedule)
async def handle(backend: Backend, call: calls.RemoveSchedule) -> calls.ScheduleChanged:
    return await backend.schedule_remove(call)
