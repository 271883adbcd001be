"""`schedule_list`: all schedules."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.ListSchedules)
async def handle(backend: Backend, call: calls.ListSchedules) -> calls.ScheduleList:
    return await backend.schedule_list(call)
