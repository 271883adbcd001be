"""The statuses of a run, once: everything that shows or filters one derives from this enum."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """What a run is doing (open) or how it ended (closed). The value is the JSON and SQL form."""

    RUNNING = "running"  # a handler runs, or is queued for a worker
    WAITING = "waiting"  # for an event
    SLEEPING = "sleeping"  # until a delayed step is due
    CANCELLING = "cancelling"  # the handler was asked to end and cleans up
    STUCK = "stuck"  # needs code or a person; goes on by itself when a reload cures it
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"

    @property
    def closed(self) -> bool:
        return self in CLOSED

    @property
    def open(self) -> bool:
        return self not in CLOSED


CLOSED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TERMINATED, Status.TIMED_OUT})
OPEN = frozenset(Status) - CLOSED
# The words for several, wherever statuses are chosen.
SETS = {"open": OPEN, "closed": CLOSED}
