"""`schedule_show`: one schedule."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.ShowSchedule)
async def handle(backend: Backend, call: calls.ShowSchedule) -> calls.ScheduleDetail:
    return await backend.schedule_show(call)
