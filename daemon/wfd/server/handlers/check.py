"""`check`: what open runs would meet in code that is not deployed yet."""

from __future__ import annotations

from wfctl.protocol import calls
from wfd.server.backend import Backend
from wfd.server.route import question


@question(calls.CheckCode)
async def handle(backend: Backend, call: calls.CheckCode) -> calls.CodeCheck:
    return await backend.check(call)
