"""`schedule_next`: the next times of a schedule or a timetable."""

from __future__ import annotations

from wfctl.protocol import schedules
from wfd.server.backend import Backend
from wfd.server.route import question


@question(schedules.ScheduleNext)
async def handle(backend: Backend, call: schedules.ScheduleNext) -> schedules.NextTimes:
    return await backend.schedule_next(call)
