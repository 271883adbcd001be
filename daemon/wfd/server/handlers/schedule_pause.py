"""`schedule_pause`: pause a schedule, or let it go on."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import command


@command(calls.PauseSchedule)
async def handle(backend: Backend, call: calls.PauseSchedule) -> calls.ScheduleChanged:
    return await backend.schedule_pause(call)
