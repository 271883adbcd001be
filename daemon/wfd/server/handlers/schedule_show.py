"""`schedule_show`: one schedule."""

from __future__ import annotations

from wfctl.protocol import schedules
from wfd.server.backend import Backend
from wfd.server.route import question


@question(schedules.ShowSchedule)
async def handle(backend: Backend, call: schedules.ShowSchedule) -> schedules.ScheduleDetail:
    return await backend.schedule_show(call)
