"""`schedule_add`: make a schedule, or change it."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import command


@command(calls.ScheduleAdd)
async def handle(backend: Backend, call: calls.ScheduleAdd) -> calls.ScheduleAdded:
    return await backend.schedule_add(call)
