"""Runs whose next step has so many before it that it does not even wait in memory: only which they are is kept, in order.

They are on disk like all that wait, and a restart needs nothing of this: it finds them as it finds every open step.
"""

from __future__ import annotations

# Steps of a type, of new runs or of the others, that wait for a worker in memory. More are taken in at half of it.
MOST_QUEUED = 1_000
_COMPACT = 512

Line = tuple[str, bool]


class Parked:
    """One line for each type, and for its new runs that are nobody's child (`begins`) and the others apart: no parent that has not
    begun may keep the child of another out. None of `lines` is empty."""

    def __init__(self, most_queued: int = MOST_QUEUED) -> None:
        self.most_queued = most_queued
        self.lines: dict[Line, dict[str, int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.lines.values()))

    def length(self, workflow_type: str) -> int:
        return sum(len(line) for (name, _), line in self.lines.items() if name == workflow_type)

    def add(self, workflow_type: str, begins: bool, run_id: str, key: int) -> None:
        self.lines.setdefault((workflow_type, begins), {})[run_id] = key

    def holds(self, run_id: str) -> bool:
        return any(run_id in line for line in self.lines.values())

    def any_in(self, workflow_type: str, begins: bool) -> bool:
        return (workflow_type, begins) in self.lines

    def first(self, workflow_type: str, begins: bool) -> tuple[str, int] | None:
        """Run ID and key of who has waited longest."""
        line = self.lines.get((workflow_type, begins))
        return None if line is None else next(iter(line.items()))

    def remove(self, run_id: str) -> bool:
        """True where it was here."""
        for name, line in self.lines.items():
            if line.pop(run_id, None) is not None:
                if not line:
                    del self.lines[name]
                elif len(line) % _COMPACT == 0:
                    # A dict whose head is taken away again and again is slow to find its first.
                    self.lines[name] = dict(line)
                return True
        return False

    def clear(self) -> None:
        self.lines.clear()
