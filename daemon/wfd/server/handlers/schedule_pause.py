"""`schedule_pause`: pause a schedule, or let it go on."""

from __future__ import annotations

from wfctl.protocol import schedules
from wfd.server.backend import Backend
from wfd.server.route import command


@command(schedules.PauseSchedule)
async def handle(backend: Backend, call: schedules.PauseSchedule) -> schedules.ScheduleChanged:
    return await backend.schedule_pause(call)
