"""`schedule_run`: start a run of a schedule now."""

from __future__ import annotations

from wfctl.protocol import schedules
from wfd.server.backend import Backend
from wfd.server.route import command


@command(schedules.RunSchedule)
async def handle(backend: Backend, call: schedules.RunSchedule) -> schedules.ScheduleRan:
    return await backend.schedule_run(call)
