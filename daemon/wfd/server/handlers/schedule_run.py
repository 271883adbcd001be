"""`schedule_run`: start a run of a schedule now."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import command


@command(calls.RunSchedule)
async def handle(backend: Backend, call: calls.RunSchedule) -> calls.ScheduleRan:
    return await backend.schedule_run(call)
