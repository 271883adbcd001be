"""Reading histories in tests."""

from __future__ import annotations

from typing import Any

from wfctl import ClientHandle


async def kinds(handle: ClientHandle) -> list[str]:
    """The kinds of a run's history records, in order."""
    return [entry.kind for entry in await handle.history()]


async def records(handle: ClientHandle, kind: str) -> list[dict[str, Any]]:
    """The data of all records of one kind."""
    return [entry.data for entry in await handle.history() if entry.kind == kind]
