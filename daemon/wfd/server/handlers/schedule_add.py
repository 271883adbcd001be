"""`schedule_add`: make a schedule, or change it."""

from __future__ import annotations

from wfctl.protocol import schedules
from wfd.server.backend import Backend
from wfd.server.route import command


@command(schedules.ScheduleAdd)
async def handle(backend: Backend, call: schedules.ScheduleAdd) -> schedules.ScheduleAdded:
    return await backend.schedule_add(call)
