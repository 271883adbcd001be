"""What open runs need of the code that is to run them: handlers, and what these are to be given. Functions take the `Snapshot`
to read in; pages are small, so that whoever goes through all open runs holds neither memory nor the log behind a snapshot.
"""

from __future__ import annotations

import msgspec

from wfd.store import queries
from wfd.store.reader import Snapshot

NEEDS = queries.load("needs")
PAGE = 64


class Name(msgspec.Struct, frozen=True, gc=False):
    """A run by its names."""

    run_id: str
    workflow_id: str


class Need(msgspec.Struct, frozen=True, gc=False):
    """A handler that `runs` open runs need, `stuck` of them being stuck already."""

    type: str
    kind: str
    name: str
    runs: int
    stuck: int


class Queued(msgspec.Struct, frozen=True, gc=False):
    """An event that is not handed over, and the run that has it. `step` is set for the outcome of a child (see `InboxRow`)."""

    run: int
    seq: int
    type: str
    status: str
    run_id: str
    workflow_id: str
    name: str
    step: str | None
    payload: str


async def needs(snapshot: Snapshot) -> list[Need]:
    """Every handler that open runs need, by type, kind and name."""
    return [Need(*row) for row in await snapshot.all(NEEDS["needs"])]


async def who_needs(snapshot: Snapshot, need: Need, ids: int) -> list[Name]:
    """The first runs that need it, at most `ids`."""
    words = {"type": need.type, "kind": need.kind, "name": need.name, "ids": ids}
    return [Name(*row) for row in await snapshot.all(NEEDS["who_needs"], words)]


async def of_type(snapshot: Snapshot, workflow_type: str, ids: int) -> tuple[int, list[Name]]:
    """How many runs of a type are stuck, and its first open runs."""
    rows = await snapshot.all(NEEDS["first_of_type"], {"type": workflow_type, "ids": ids})
    stuck = await snapshot.one(NEEDS["stuck_of_type"], (workflow_type,))
    return 0 if stuck is None else stuck[0], [Name(*row) for row in rows]


async def steps_after(snapshot: Snapshot, status: str, after: int) -> list[tuple[int, str]]:
    """(key, type) of the next runs in `status`, oldest first."""
    words = {"status": status, "after": after, "limit": PAGE}
    return [(key, type_) for key, type_ in await snapshot.all(NEEDS["steps_after"], words)]


async def events_after(snapshot: Snapshot, status: str, run: int, seq: int) -> list[Queued]:
    """The next queued events of runs in `status`, after event `seq` of run `run`."""
    words = {"status": status, "run": run, "seq": seq, "limit": PAGE}
    return [Queued(*row) for row in await snapshot.all(NEEDS["events_after"], words)]
