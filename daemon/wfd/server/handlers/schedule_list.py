"""`schedule_list`: all schedules."""

from __future__ import annotations

from wfctl.protocol import schedules
from wfd.server.backend import Backend
from wfd.server.route import question


@question(schedules.ListSchedules)
async def handle(backend: Backend, call: schedules.ListSchedules) -> schedules.ScheduleList:
    return await backend.schedule_list(call)
