"""What must hold when all has come to rest: on the disk, between what clients were told and the disk, and in the engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from support.sim import timetables
from support.sim.daemon import Daemon
from support.sim.disk import CLOSED, Disk
from support.sim.ledger import Ledger
from support.sim.plans import Planner
from wfctl.errors import RunClosedError, RunNotFoundError, StorageError, WfctlError
from wfctl.protocol import calls
from wfctl.values.runinfo import ParentInfo
from wfctl.values.signature import UNBOUND
from wfd.core import records as r, state
from wfd.core.apply import apply, born, rebuilt, refold
from wfd.core.records import Record
from wfd.core.state import Raw
from wfd.store.rows import HistoryRow, RunRow

Rows = list[tuple[HistoryRow, Record]]


class World(Protocol):
    disk: Disk
    ledger: Ledger
    planner: Planner
    daemon: Daemon | None


def kept(disk: Disk, ledger: Ledger) -> Iterator[str]:
    """The promises that do not hold on this disk, in words."""
    histories = {key: disk.records(key) for key in disk.runs}
    for key, row in disk.runs.items():
        yield from _run(disk, row, histories[key])
        yield from _executions(row, histories[key], ledger)
        yield from _events(disk, row, histories[key])
        yield from _family(disk, row, histories[key])
    yield from timetables.kept(disk)
    yield from _deliveries(disk, histories)
    yield from _ends(disk, histories)
    yield from _commands(disk, histories, ledger)


# -- one run ---------------------------------------------------------------------------------------


def _run(disk: Disk, row: RunRow, history: Rows) -> Iterator[str]:
    """Its row, store and inbox are what its history folds to."""
    first = history[0][1]
    assert isinstance(first, r.RunStarted)
    of = None if row.parent is None else disk.runs[row.parent]
    parent = None if of is None else state.Parent(of.key, ParentInfo(of.run_id, of.workflow_id, of.type))
    root_id = disk.runs[row.root].run_id
    run = born(
        first, key=row.key, run_id=row.run_id, parent=parent, root=row.root, root_id=root_id, depth=row.depth,
        at=row.started_at,
    )  # fmt: skip
    store: dict[str, str] = {}
    again: Counter[int] = Counter()
    found: dict[int, dict[str, str]] = {}
    for line, record in history[1:]:
        if isinstance(record, r.StepStarted):
            found[record.step] = dict(store)
        run = apply(run, record, line.at)
        if isinstance(record, r.RunResumed) and isinstance(run.phase, state.Stepping):
            run = refold(run, (earlier for _, earlier in history[run.phase.since : line.seq]))
            again[run.phase.step] += record.from_step is None
        if isinstance(record, r.StepCompleted | r.RunResumed):
            for name in record.deleted:
                store.pop(name, None)
            store.update({name: bytes(value).decode() for name, value in record.put.items()})
        if isinstance(record, r.RunResumed) and isinstance(record.phase, state.Stepping):
            step = record.from_step or record.phase.step
            if store != found[step]:
                yield f"{row.workflow_id}: step {step} goes on with the store {store}, and had begun with {found[step]}"
            found[record.phase.step] = dict(store)
    if store != disk.store.get(row.key, {}):
        yield f"{row.workflow_id}: its store is {disk.store.get(row.key)}, its history says {store}"
    inbox = [
        state.Event(e.seq, e.name, Raw(e.payload.encode()), e.at, e.step)
        for _, e in sorted(disk.inbox.get(row.key, {}).items())
    ]
    saved = rebuilt(
        state.parse(row.state), key=row.key, run_id=row.run_id, workflow_id=row.workflow_id, workflow_type=row.type,
        input=Raw(row.input.encode()), started_at=row.started_at, parent=parent, root=row.root, root_id=root_id,
        depth=row.depth, deadline=row.deadline, seq=row.seq, inbox=inbox,
    )  # fmt: skip
    phase = saved.phase.resume if isinstance(saved.phase, state.Stuck) else saved.phase
    if isinstance(phase, state.Stepping):
        saved = refold(saved, (record for _, record in history[phase.since :]))
    if saved != run:
        yield f"{row.workflow_id}: its row says {saved}, its history {run}"
    lines = Counter(line.message for line in disk.logs.get(row.key, ()))
    yield from (
        f"{row.workflow_id}: {line} is logged {n} times"
        for line, n in lines.items()
        if n > 1 + again[int(line.partition(":")[0])]
    )


def _executions(row: RunRow, history: Rows, ledger: Ledger) -> Iterator[str]:
    """What was recorded came from the execution that was the current one; each step has one directive."""
    step = attempt = 0
    directives: Counter[int] = Counter()
    for line, record in history:
        by: Raw | None = None
        match record:
            case r.StepStarted():
                if record.step != step + 1:
                    yield f"{row.workflow_id}: step {record.step} follows step {step}"
                step, attempt = record.step, 1
            case r.StepInterrupted():
                attempt = record.attempt + 1
            case r.RunResumed():
                attempt = record.attempt
                if isinstance(record.phase, state.Stepping):
                    step = record.phase.step
                    directives[step] = 0
            case r.StepCompleted():
                directives[record.step] += 1
                by = record.put["by"]
            case r.RandomRecorded() | r.UuidRecorded():
                by = record.value
            case r.TaskCompleted():
                by = record.result
            case r.OperationRefused() if record.error.code in ("storage", "internal"):
                yield f"{row.workflow_id}: {record} is for ever, and its reason is not"
        if by is not None:
            execution = ledger.executions.get(int(bytes(by)))
            told = None if execution is None else (execution.key, execution.step, execution.attempt)
            if told != (row.key, step, attempt):
                yield (
                    f"{row.workflow_id}: {line.kind} number {line.seq} of step {step} attempt {attempt} "
                    f"came from execution {int(bytes(by))} (run, step, attempt {told})"
                )
    yield from (f"{row.workflow_id}: step {n} has {times} directives" for n, times in directives.items() if times > 1)


def _events(disk: Disk, row: RunRow, history: Rows) -> Iterator[str]:
    """Each event is handled once or still in the inbox, and of the events that a wait takes, the first to come."""
    kept: dict[int, tuple[str, bool]] = {}
    handed: dict[int, int] = {}
    names: list[str] | None = None
    for line, record in history:
        match record:
            case r.EventReceived(refused=None):
                kept[line.seq] = record.name, False
            case r.ChildClosedRecord(step=str(), refused=None):
                kept[line.seq] = record.step or "", True
            case r.RunResumed(requeued=requeued, phase=phase, from_step=target):
                later = {seq for seq, step in handed.items() if target is not None and step > target}
                if not later <= {event.seq for event in requeued}:
                    yield f"{row.workflow_id}: goes back to step {target}, and the events {later} do not come again"
                handed = {seq: step for seq, step in handed.items() if seq not in later}
                if target is not None and isinstance(phase, state.Stepping) and phase.event is not None:
                    handed[phase.event] = phase.step
                back = {event.seq: (event.step or event.name, event.step is not None) for event in requeued}
                kept = dict(sorted((kept | back).items()))
                if isinstance(phase, state.Waiting):
                    names = None if phase.names is None else list(phase.names)
            case r.WaitStarted():
                names = record.names
            case r.StepStarted(event=int()):
                taken = kept.pop(record.event or 0, None)
                handed[record.event or 0] = record.step
                if taken is None or taken[0] != record.handler:
                    yield f"{row.workflow_id}: {record} hands over {taken}"
                first = [seq for seq, (name, step) in kept.items() if step or names is None or name in names]
                if first and first[0] < (record.event or 0):
                    yield f"{row.workflow_id}: event {record.event} is handed over before event {first[0]}"
    if list(kept) != sorted(disk.inbox.get(row.key, {})):
        yield f"{row.workflow_id}: its inbox holds {sorted(disk.inbox.get(row.key, {}))}, not {list(kept)}"


def _family(disk: Disk, row: RunRow, history: Rows) -> Iterator[str]:
    """A parent's history has each child once, and once more when it has closed."""
    begun = Counter(x.run_id for _, x in history if isinstance(x, r.ChildStarted) and not x.existing)
    closed = Counter(x.run_id for _, x in history if isinstance(x, r.ChildClosedRecord))
    children = {disk.runs[key].run_id: disk.runs[key] for key in disk.children.get(row.key, ())}
    if begun != Counter(list(children)):
        yield f"{row.workflow_id}: says that it has the children {begun}, and has {list(children)}"
    resumed = Counter(x.run_id for _, x in history if isinstance(x, r.ChildResumed))
    again = Counter({child.run_id: _reopened(disk, child) for child in children.values()})
    if +resumed != +again:
        yield f"{row.workflow_id}: says that its children were re-opened {resumed}, and they were {again}"
    expected = +again + Counter(child.run_id for child in children.values() if child.status in CLOSED)
    if closed != expected:
        yield f"{row.workflow_id}: heard of the end of {closed}, and ended have {expected}"
    if row.status in CLOSED:
        for child in children.values():
            bound = child.status not in CLOSED and child.on_parent_close != "abandon" and not _reopened(disk, child)
            asked = any(isinstance(x, r.RunCancelRequested) for _, x in disk.records(child.key))
            if bound and not (child.on_parent_close == "cancel" and asked):
                yield f"{child.workflow_id}: goes on after the end of its parent, bound by {child.on_parent_close}"


def _reopened(disk: Disk, row: RunRow) -> int:
    """How often a run was closed and is open again."""
    return sum(
        isinstance(record, r.RunResumed) and record.was in ("failed", "timed_out")
        for _, record in disk.records(row.key)
    )


# -- between runs, and with clients ----------------------------------------------------------------


def _received(histories: dict[int, Rows]) -> dict[str, list[tuple[int, int, r.EventReceived]]]:
    """(run, seq, record) of the events by their payload, which says whose they are."""
    found: dict[str, list[tuple[int, int, r.EventReceived]]] = {}
    for key, history in histories.items():
        for line, record in history:
            if isinstance(record, r.EventReceived):
                found.setdefault(_payload(record)["n"], []).append((key, line.seq, record))
    return found


def _deliveries(disk: Disk, histories: dict[int, Rows]) -> Iterator[str]:
    """What one run sent stands in its own history and in that of the other, both once."""
    received = _received(histories)
    sent: dict[str, Record] = {}
    for key, history in histories.items():
        sender = disk.runs[key]
        for _, record in history:
            expected: list[tuple[int | None, str, bool]] | None = None
            if isinstance(record, r.ParentEventSent):
                expected = [(sender.parent, record.event, record.outcome == "parent_closed")]
            elif isinstance(record, r.EventSent):
                expected = [(disk.run_ids[record.run_id], record.event, False)]
            elif not isinstance(record, r.OperationRefused) or record.operation != "event":
                continue
            payload = f"{sender.run_id}:{record.key.partition(':')[2]}"
            earlier = sent.get(payload)
            if earlier is not None and not (isinstance(earlier, r.OperationRefused) and _reopened(disk, sender)):
                yield f"{sender.workflow_id}: {record} is recorded twice"
            got = [(at, x.name, x.refused is not None) for at, _, x in received.get(payload, ())]
            if earlier is not None:
                got = [one for one in got if not one[2]]
            sent[payload] = record
            if expected is None:
                got = [one for one in got if not one[2] and not _reopened(disk, sender)]
            if got != (expected or []):
                yield f"{sender.workflow_id}: {record} arrived as {got}"
    for payload, got in received.items():
        if not payload.startswith("c") and payload not in sent:
            yield f"{disk.runs[got[0][0]].workflow_id}: has an event from {payload}, which did not send it"


def _ends(disk: Disk, histories: dict[int, Rows]) -> Iterator[str]:
    """A parent that ends a child does so once, and what it hears of an end is what its child came to."""
    done: Counter[tuple[str, str]] = Counter()
    asked: set[tuple[str, str]] = set()
    for key, history in histories.items():
        row, was_told = disk.runs[key], {}
        for _, record in history:
            ends = isinstance(record, r.RunCancelRequested | r.RunTerminated)
            if ends and record.reason.partition(":")[0] in disk.run_ids:
                done[row.run_id, record.reason] += 1
            elif isinstance(record, r.ChildCancelRequested | r.ChildTerminated):
                if (record.run_id, record.reason) in asked:
                    yield f"{row.workflow_id}: {record} is recorded twice"
                asked.add((record.run_id, record.reason))
            elif isinstance(record, r.ChildClosedRecord):
                was_told[record.run_id] = record.status
            elif isinstance(record, r.ChildResultRecorded) and was_told.get(record.run_id) != record.status:
                yield f"{row.workflow_id}: {record}, and had heard {was_told.get(record.run_id)}"
    for (run_id, reason), times in done.items():
        if times > 1 or (run_id, reason) not in asked:
            yield f"{disk.runs[disk.run_ids[run_id]].workflow_id}: was ended {times} times by {reason}"


def _commands(disk: Disk, histories: dict[int, Rows], ledger: Ledger) -> Iterator[str]:
    """Each command took effect once if it was acknowledged, not at all if it was refused, and at most once else."""
    received = _received(histories)
    starts = Counter(row.input for row in disk.runs.values() if row.parent is None)
    last: dict[tuple[int, int], int] = {}
    for request in ledger.requests:
        call = request.call
        refused = isinstance(request.error, WfctlError) and not isinstance(request.error, StorageError)
        if isinstance(call, calls.Send):
            got = received.get(msgspec.json.decode(call.payload)["n"], [])
            if call.event_id is not None:
                # It may have been sent several times, also to a later run of its workflow ID.
                if any(times > 1 for times in Counter(key for key, _, _ in got).values()):
                    yield f"{call} was accepted more than once by one run"
                if request.answer is not None and not got:
                    yield f"{call} was told {request.answer} and never arrived"
                continue
            if not _right(len(got), request.answer is not None, refused):
                yield f"{call} was told {request.answer or request.error!r} and arrived {len(got)} times"
            if got and request.answer is not None:
                key, seq, _ = got[0]
                if last.get((request.client, key), 0) > seq:
                    yield f"{call} overtook an earlier event of the same client"
                last[request.client, key] = seq
        elif isinstance(call, calls.Start):
            times = starts[bytes(call.input).decode()]
            existing = isinstance(request.answer, calls.Started) and request.answer.existing
            if not _right(times, request.answer is not None and not existing, refused or existing):
                yield f"{call} was told {request.answer or request.error!r} and started {times} runs"
        yield from _ending(disk, histories, request.answer, request.error)


def _right(times: int, acknowledged: bool, refused: bool) -> bool:
    return times == 1 if acknowledged else times == 0 if refused else times <= 1


def _ending(disk: Disk, histories: dict[int, Rows], answer: Any, error: Exception | None) -> Iterator[str]:
    """A run that somebody was told is closed or cancelled stays so, and one that exists is not unknown."""
    if isinstance(answer, calls.Changed) and answer.changed:
        history = histories[disk.run_ids[answer.run_id]]
        if not any(isinstance(x, r.RunCancelRequested | r.RunTerminated) for _, x in history):
            yield f"{answer} was acknowledged, and is not in the history"
    if isinstance(error, RunClosedError) and not isinstance(error, RunNotFoundError):
        row = disk.runs[disk.run_ids[str(error.detail["run_id"])]]
        if row.status not in CLOSED and not _reopened(disk, row):
            yield f"{row.workflow_id} is {row.status}; a sender was told: {error}"


# -- the engine ------------------------------------------------------------------------------------


def at_rest(world: World) -> Iterator[str]:
    """No run is forgotten: each open one waits for an event, or has said why it cannot go on."""
    daemon, disk = world.daemon, world.disk
    if daemon is None or not daemon.up:
        yield "no daemon is up"
        return
    engine = daemon.engine
    if engine.failure is not None:
        yield f"the engine has not come back from {engine.failure!r}"
    at_work = {
        world.ledger.executions[daemon.workers.numbers[token]].key: execution.waits_for
        for token, execution in daemon.workers.at_work.items()
    }
    for row in disk.runs.values():
        if row.status in CLOSED:
            continue
        if row.wake_at is not None:
            yield f"{row.workflow_id} ({row.status}) was due at {row.wake_at}, and nobody woke it"
        elif row.status in ("running", "cancelling"):
            waits_for = at_work.get(row.key)
            if not waits_for:
                yield f"{row.workflow_id} is {row.status}, and no worker does anything for it"
            for kind, name in waits_for or ():
                if kind != "child_result" or disk.runs[disk.run_ids[name]].status in CLOSED:
                    yield f"{row.workflow_id}: operation {kind} {name} is never answered"
        elif row.status == "stuck" and "ended its worker" not in (row.reason or ""):
            yield f"{row.workflow_id} is stuck on code that is there: {row.reason}"
        elif row.status == "sleeping":
            yield f"{row.workflow_id} sleeps for ever"
    if engine.open_ids != disk.open_ids:
        yield f"the engine knows the open IDs {engine.open_ids}, on disk are {disk.open_ids}"
    if engine.rev != disk.rev:
        yield f"the engine is at revision {engine.rev}, the disk at {disk.rev}"
    yield from timetables.at_rest(disk, engine.schedules)


def _payload(record: r.EventReceived) -> dict[str, str]:
    """What was sent; it stands alone where the receiver's code was taken out."""
    payload = msgspec.json.decode(record.payload)
    sent: dict[str, str] = payload.get(UNBOUND, payload)
    return sent
