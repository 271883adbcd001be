"""`schedule_next`: the next times of a schedule or a timetable."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.ScheduleNext)
async def handle(backend: Backend, call: calls.ScheduleNext) -> calls.NextTimes:
    return await backend.schedule_next(call)
