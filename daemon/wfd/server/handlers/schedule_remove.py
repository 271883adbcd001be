"""`schedule_remove`: take a schedule away."""

from __future__ import annotations

from wfctl.protocol import schedules
from wfd.server.backend import Backend
from wfd.server.route import command


@command(schedules.RemoveSchedule)
async def handle(backend: Backend, call: schedules.RemoveSchedule) -> schedules.ScheduleChanged:
    return await backend.schedule_remove(call)
