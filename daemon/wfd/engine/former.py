"""The event handlers that the project's types have ever had: what tells code that was taken out from a slip of the pen.

An event that a type has never known is its sender's mistake. One that it has known, and that its present code has lost, is
nobody's: it is delivered, and its receiver waits for the code to be put back.
"""

from __future__ import annotations

import msgspec

from wfd.store.store import Store
from wfd.supervisor import Catalog

_KEY = "events"


class Former:
    """Kept in the database, so that it outlives the daemon that saw the code."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._events: dict[str, set[str]] = {}

    async def load(self) -> None:
        """What earlier daemons have seen."""
        text = await self._store.reader.meta(_KEY)
        if text is not None:
            for workflow_type, names in msgspec.json.decode(text, type=dict[str, list[str]]).items():
                self._events.setdefault(workflow_type, set()).update(names)

    def learn(self, catalog: Catalog) -> bool:
        """Remember what this code has. True where any of it is new: then `save` is due."""
        before = sum(map(len, self._events.values())) + len(self._events)
        for workflow_type, spec in catalog.types.items():
            self._events.setdefault(workflow_type, set()).update(spec.names("event"))
        return sum(map(len, self._events.values())) + len(self._events) > before

    async def save(self) -> None:
        events = {workflow_type: sorted(names) for workflow_type, names in sorted(self._events.items())}
        await self._store.writer.note(_KEY, msgspec.json.encode(events).decode())

    def knew(self, workflow_type: str, event: str | None = None) -> bool:
        """Whether there was such a type, and an event of that name in it."""
        events = self._events.get(workflow_type)
        return events is not None and (event is None or event in events)
