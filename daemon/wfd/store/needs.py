"""What open runs need of the code that is to run them: handlers, and what these are to be given. Functions take the `Snapshot`
to read in; pages are small, so that whoever goes through all open runs holds neither memory nor the log behind a snapshot.
"""

from __future__ import annotations

import msgspec

from wfctl.values.status import Status
from wfd.core.state import Closed, Run, Sleeping, Stepping, Stuck, Waiting
from wfd.store import queries
from wfd.store.reader import Snapshot
from wfd.store.rows import Counted

NEEDS = queries.load("needs")
PAGE = 64
_json = msgspec.json.Encoder().encode
# Text is packed sooner than a member of an enum.
_RUNNING, _CANCELLING = str(Status.RUNNING), str(Status.CANCELLING)
_WAITING, _SLEEPING, _STUCK = str(Status.WAITING), str(Status.SLEEPING), str(Status.STUCK)
_names = msgspec.json.Decoder(list[str]).decode


class Name(msgspec.Struct, frozen=True, gc=False):
    """A run by its names."""

    run_id: str
    workflow_id: str


class Need(msgspec.Struct, frozen=True, gc=False):
    """A handler that open runs need, `runs` of them, `stuck` of which are stuck already. `about`: some may be counted twice, or
    need it no more; `exactly` says how many do."""

    type: str
    kind: str
    name: str
    runs: int
    stuck: int
    about: bool = False


class Queued(msgspec.Struct, frozen=True, gc=False):
    """An event that is not handed over, and the run that has it. `step` is set for the outcome of a child (see `InboxRow`)."""

    run: int
    seq: int
    run_id: str
    workflow_id: str
    name: str
    step: str | None
    payload: str


def counted(run: Run) -> Counted:
    """What a run is counted as. What waiting, sleeping and stuck ones need is in it, a line each; of those under way only what
    does not change from step to step, as a busy daemon counts them thousands of times a second.

    `events [names as JSON]`: handlers of these. `start name`, `step name`, `event name`: this one. `parent step type`: what is told
    of its end. `queued`: there are events that it has not been handed over.
    """
    phase, parent, needs = run.phase, run.parent, ""
    if type(phase) is Stepping:
        status = _RUNNING if run.cancel is None else _CANCELLING
    elif type(phase) is Closed:
        return run.workflow_type, phase.status, False, needs
    elif type(phase) is Waiting:
        status = _WAITING
        if phase.names is not None:
            needs = f"events {_json(phase.names).decode()}\n"
        if phase.on_timeout is not None:
            needs += f"step {phase.on_timeout}\n"
    elif type(phase) is Sleeping:
        status = _SLEEPING
        needs = f"{phase.kind} {phase.handler}\n"
    else:
        assert type(phase) is Stuck
        status = _STUCK
        needs = f"{phase.resume.kind} {phase.resume.handler}\n"
    if parent is not None and run.on_completed_step is not None:
        needs += f"parent {run.on_completed_step} {parent.info.workflow_type}\n"
    if run.inbox:
        needs += "queued\n"
    return run.workflow_type, status, parent is None, needs


async def needs(snapshot: Snapshot) -> list[Need]:
    """Every handler that open runs need, by type, kind and name; one that no run needs after all may be there with `about`."""
    found: dict[tuple[str, str, str], Need] = {}

    def need(of: str, kind: str, name: str, runs: int, stuck: int = 0, *, about: bool = False) -> None:
        before = found.get((of, kind, name), Need(of, kind, name, 0, 0))
        found[of, kind, name] = Need(of, kind, name, before.runs + runs, before.stuck + stuck, before.about or about)

    for of, status, lines, runs in await snapshot.all(NEEDS["kept"]):
        for line in lines.split("\n")[:-1]:
            kind, _, name = line.partition(" ")
            if kind == "events":
                for event in _names(name):
                    need(of, "event", event, runs)
            elif kind == "parent":
                step, _, parent = name.partition(" ")
                need(parent, "step", step, runs, about=True)
            elif kind == "queued":
                for what, handler in await snapshot.all(NEEDS["queued"], {"type": of, "status": status}):
                    need(of, what, handler, runs, about=True)
            else:
                need(of, kind, name, runs, runs if status == Status.STUCK else 0)
    for of, kind, name, runs in await snapshot.all(NEEDS["under_way"]):
        need(of, kind, name, runs)
    return [found[name] for name in sorted(found)]


async def exactly(snapshot: Snapshot, need: Need) -> Need | None:
    """With how many runs need it, None where none does."""
    if not need.about:
        return need
    row = await snapshot.one(NEEDS["need"], {"type": need.type, "kind": need.kind, "name": need.name})
    return Need(need.type, need.kind, need.name, *row) if row is not None and row[0] else None


async def queued(snapshot: Snapshot) -> list[tuple[str, Status]]:
    """The types and statuses that have runs with events which they have not been handed over."""
    kept = await snapshot.all(NEEDS["kept"])
    return sorted({(of, Status(status)) for of, status, lines, _ in kept if "queued" in lines.split("\n")})


async def who_needs(snapshot: Snapshot, need: Need, ids: int) -> list[Name]:
    """The first runs that need it, at most `ids`."""
    words = {"type": need.type, "kind": need.kind, "name": need.name, "ids": ids}
    return [Name(*row) for row in await snapshot.all(NEEDS["who_needs"], words)]


async def of_type(snapshot: Snapshot, workflow_type: str, ids: int) -> tuple[int, list[Name]]:
    """How many runs of a type are stuck, and its first open runs."""
    rows = await snapshot.all(NEEDS["first_of_type"], {"type": workflow_type, "ids": ids})
    stuck = await snapshot.one(NEEDS["stuck_of_type"], (workflow_type,))
    return 0 if stuck is None else stuck[0], [Name(*row) for row in rows]


async def steps_after(snapshot: Snapshot, of: str, status: str, after: int) -> list[int]:
    """The keys of the next runs of a type in `status`, oldest first."""
    words = {"type": of, "status": status, "after": after, "limit": PAGE}
    return [key for (key,) in await snapshot.all(NEEDS["steps_after"], words)]


async def events_after(snapshot: Snapshot, of: str, status: str, run: int, seq: int) -> list[Queued]:
    """The next queued events of runs of a type in `status`, after event `seq` of run `run`."""
    words = {"type": of, "status": status, "run": run, "seq": seq, "limit": PAGE}
    return [Queued(*row) for row in await snapshot.all(NEEDS["events_after"], words)]
