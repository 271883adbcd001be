"""Changes of status, read from history: which runs of a tree stand otherwise than before, each change once and in order."""

from __future__ import annotations

import msgspec

from wfctl.protocol.views import RunChange
from wfctl.values.failure import Failure
from wfctl.values.status import Status
from wfd.store import browse
from wfd.store.reader import Snapshot
from wfd.store.rows import StatusRecord

# What a record of this kind makes of its run, whatever the run was. `run.started`, `step.completed` and
# `run.resumed` depend on their data.
_AFTER = {
    "run.started": Status.RUNNING,
    "step.started": Status.RUNNING,
    "wait.started": Status.WAITING,
    "run.cancel_requested": Status.CANCELLING,
    "run.stuck": Status.STUCK,
    "run.completed": Status.COMPLETED,
    "run.failed": Status.FAILED,
    "run.cancelled": Status.CANCELLED,
    "run.terminated": Status.TERMINATED,
    "run.timed_out": Status.TIMED_OUT,
}
KINDS = (*_AFTER, "step.completed", "run.resumed")
PAGE = 500
# Names that are kept: beyond that they are read anew.
MAX_NAMES = 10_000


class _Phase(msgspec.Struct):
    phase: str = "stepping"


class _Data(msgspec.Struct):
    wake_at: int | None = None
    begins_at: int | None = None
    error: Failure | None = None
    reason: str = ""
    phase: _Phase | None = None
    cancelling: bool = False


_decode = msgspec.json.Decoder(_Data).decode
_RESUMED = {"waiting": Status.WAITING, "sleeping": Status.SLEEPING}


def status_after(kind: str, data: str) -> Status | None:
    """The status a run has after a record of one of `KINDS`; None where that leaves it as it was."""
    if kind == "step.completed":
        return None if _decode(data).wake_at is None else Status.SLEEPING
    if kind == "run.started":
        return Status.RUNNING if _decode(data).begins_at is None else Status.SLEEPING
    if kind == "run.resumed":
        resumed = _decode(data)
        if resumed.cancelling:
            return Status.CANCELLING
        return Status.RUNNING if resumed.phase is None else _RESUMED.get(resumed.phase.phase, Status.RUNNING)
    return _AFTER[kind]


class Changes:
    """Goes on after revision `rev` each time it is asked. `tops` are the watched runs (none: all), `roots` those of their trees."""

    def __init__(self, roots: set[int], tops: set[int], rev: int) -> None:
        self.rev = rev
        # Of several trees all are read.
        self._root = next(iter(roots)) if len(roots) == 1 else None
        self._tops = set[int]() if self._root is not None and self._root in tops else tops
        self._statuses: dict[int, Status] = {}
        # By run: its workflow ID and its parent.
        self._names: dict[int, tuple[str, int | None]] = {}

    async def next(self, snapshot: Snapshot, newest: int) -> tuple[list[RunChange], bool]:
        """The next of them up to revision `newest`, and whether there are more."""
        records = await browse.status_records(snapshot, self._root, self.rev, newest, PAGE, KINDS)
        more = len(records) == PAGE
        self.rev = records[-1].rev if more else newest
        await self._learn(snapshot, records)
        changes = []
        for record in records:
            now = status_after(record.kind, record.data)
            was = self._statuses.get(record.run)
            if now is None or now is was:
                continue
            self._statuses[record.run] = now
            path = self._path(record.run)
            if path is not None:
                changes.append(_change(record, path, was, now))
        for record in records:
            # A closed run is seldom heard of again; what is read anew costs one look.
            if (status := self._statuses.get(record.run)) is not None and status.closed:
                del self._statuses[record.run]
        if len(self._names) > MAX_NAMES:
            # All of them: a run is named with all above it, so none of those may go before it.
            self._names.clear()
        return changes, more

    async def _learn(self, snapshot: Snapshot, records: list[StatusRecord]) -> None:
        """How the runs stood before, where that is not known yet, and what they and those above them are called."""
        first: dict[int, int] = {}
        for record in records:
            if record.run not in self._statuses:
                first.setdefault(record.run, record.seq)
        before = await browse.status_before(snapshot, [pair for pair in first.items() if pair[1] > 1], KINDS)
        for run, (kind, data) in before.items():
            if (status := status_after(kind, data)) is not None:
                self._statuses[run] = status
        unnamed = {record.run for record in records} - self._names.keys()
        if unnamed:
            for key, found in (await browse.lineage(snapshot, unnamed)).items():
                self._names[key] = (found.workflow_id, found.parent)

    def _path(self, run: int) -> list[str] | None:
        """The workflow IDs down to `run`, from the uppermost watched one; None where it is below none."""
        path: list[str] = []
        length = 0
        at: int | None = run
        while at is not None:
            if at not in self._names:  # purged meanwhile
                break
            workflow_id, above = self._names[at]
            path.append(workflow_id)
            if at in self._tops or not self._tops:
                length = len(path)
            at = above
        return path[:length][::-1] if length or not self._tops else None


def _change(record: StatusRecord, path: list[str], was: Status | None, now: Status) -> RunChange:
    data = _decode(record.data)
    why = str(data.error) if data.error is not None else data.reason
    return RunChange(
        rev=record.rev,
        at=record.at,
        run_id=record.run_id,
        workflow_type=record.type,
        path=path,
        was=was,
        now=now,
        why=why,
    )
