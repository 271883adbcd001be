"""Units as the engine would make them, without an engine: numbers are kept, contents are made up."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from wfctl.values.status import Status
from wfd.store import queries
from wfd.store.rows import Counted, InboxRow, LogRow, RunRow, Unit, changed
from wfd.store.writer import Writer

T0 = 1_700_000_000_000
TABLES = ("runs", "history", "logs", "store", "inbox", "schedules")
Record = tuple[str, dict[str, Any]]


def text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def run_id(key: int) -> str:
    return f"01JF{key:022d}"


# A state that the core understands, for `start`: by default a run has one that nobody does.
STATE = '{"phase":{"phase":"waiting","epoch":1,"since_at":0}}'


def counted(row: RunRow, above: RunRow | None) -> Counted:
    """What a run is counted as."""
    if row.closed_at is not None:
        return row.type, row.status, False, ""
    state = json.loads(row.state)
    phase, needs = state.get("phase", {}), ""
    if row.status == Status.WAITING:
        needs += "" if row.waiting_for is None else f"events {row.waiting_for}\n"
        needs += f"step {phase['on_timeout']}\n" if "on_timeout" in phase else ""
    elif row.status in (Status.SLEEPING, Status.STUCK):
        phase = phase.get("resume", phase)
        needs += f"{phase.get('kind', 'step')} {phase['handler']}\n" if "handler" in phase else ""
    if above is not None and "on_completed_step" in state:
        needs += f"parent {state['on_completed_step']} {above.type}\n"
    return row.type, row.status, row.parent is None, needs + ("queued\n" if row.queued else "")


class Ledger:
    """Keeps what the engine keeps: the next key and revision, and each run as it was last decided.

    Every method returns the unit that tells the database; `unit` collects several into one.
    """

    def __init__(self, rev: int = 0) -> None:
        self.rev = rev
        self.now = T0
        self.runs: dict[int, RunRow] = {}

    def start(
        self, workflow_id: str, kind: str = "Order", parent: int | None = None, key: int | None = None, **fields: Any
    ) -> Unit:
        """A new run with its first two records; told to the parent where there is one."""
        key = key or len(self.runs) + 1
        unit = Unit()
        above = None if parent is None else self.runs[parent]
        if parent is not None and above is not None:
            told = {"key": f"child:{key}", "run_id": run_id(key), "workflow_id": workflow_id, "workflow_type": kind}
            counts = {"children": above.children + 1, "open_children": above.open_children + 1}
            join(unit, self.change(parent, ("child.started", told), **counts))
        row = RunRow(
            key, run_id(key), workflow_id, kind, parent, key if above is None else above.root,
            0 if above is None else above.depth + 1, '{"amount":12.5}', fields.pop("started_at", self.now),
            step="begin", seq=2, **fields,
        )  # fmt: skip
        self.runs[key] = row
        unit.runs_new.append(row)
        unit.count(None, counted(row, above))
        self._records(unit, key, 0, ("run.started", {"workflow_type": kind, "workflow_id": workflow_id, "input": {}}))
        self._records(unit, key, 1, ("step.started", {"step": 1, "kind": "start", "handler": "begin"}))
        return unit

    def change(self, key: int, *records: Record, store: dict[str, Any] | None = None, **fields: Any) -> Unit:
        """A change of a run: its records, its columns, its store (None deletes)."""
        before = self.runs[key]
        row = msgspec.structs.replace(before, seq=before.seq + len(records), **fields)
        self.runs[key] = row
        unit = Unit(runs_changed=[changed(row, before.seq)])
        above = None if row.parent is None else self.runs[row.parent]
        unit.count(counted(before, above), counted(row, above))
        self._records(unit, key, before.seq, *records)
        for name, value in (store or {}).items():
            unit.store[key, name] = None if value is None else text(value)
        return unit

    def passes(self, key: int, *records: Record) -> Unit:
        """A run's history grows, and nothing else of it changes."""
        before = self.runs[key]
        self.runs[key] = msgspec.structs.replace(before, seq=before.seq + len(records))
        unit = Unit(runs_passed=[(key, self.runs[key].seq, before.seq)])
        self._records(unit, key, before.seq, *records)
        return unit

    def event(self, key: int, name: str = "paid", payload: Any = None) -> Unit:
        """An event into the inbox."""
        unit = self.change(key, ("event.received", {"name": name}), queued=self.runs[key].queued + 1)
        unit.inbox_add.append(InboxRow(key, self.runs[key].seq, self.now, name, text(payload)))
        return unit

    def take(self, key: int, seq: int) -> Unit:
        """The event with that number handed over."""
        started = {"step": 2, "kind": "event", "handler": "paid", "event": seq}
        unit = self.change(key, ("step.started", started), queued=self.runs[key].queued - 1)
        unit.inbox_del.append((key, seq))
        return unit

    def log(self, key: int, message: str, level: str = "INFO") -> Unit:
        self.rev += 1
        return Unit(logs=[LogRow(self.rev, key, self.now, level, message, self.runs[key].step)])

    def close(self, key: int, status: str = "completed", error: tuple[str, str] | None = None, **fields: Any) -> Unit:
        """The run ends; its open step with it, and its parent is told."""
        before = self.runs[key]
        failure = None if error is None else {"type": error[0], "message": error[1]}
        step: Record = ("step.completed", {"step": 1, "next": "complete"})
        if failure is not None:
            step = ("step.failed", {"step": 1, "error": failure})
        records = [step, (f"run.{status}", {} if failure is None else {"error": failure})]
        fields = {
            "status": status, "closed_at": self.now, "wake_at": None, "waiting_for": None,
            "result": text("done") if status == Status.COMPLETED else None,
            "error": None if failure is None else text(failure), **fields,
        }  # fmt: skip
        unit = self.change(key, *records, **fields)
        if before.parent is not None:
            told = {"run_id": before.run_id, "workflow_id": before.workflow_id, "status": status}
            left = self.runs[before.parent].open_children - 1
            join(unit, self.change(before.parent, ("child.closed", told), open_children=left))
        return unit

    def reopen(self, key: int) -> Unit:
        """A run that has failed goes on, and its parent is told."""
        parent = self.runs[key].parent
        unit = self.change(
            key,
            ("run.resumed", {"attempt": 2, "was": "failed"}),
            status="running",
            closed_at=None,
            result=None,
            error=None,
        )
        unit.runs_reopened, unit.runs_changed = unit.runs_changed, []
        if parent is not None:
            told = {"run_id": self.runs[key].run_id, "workflow_id": self.runs[key].workflow_id}
            more = self.runs[parent].open_children + 1
            join(unit, self.change(parent, ("child.resumed", told), open_children=more))
        return unit

    def wait(self, key: int, names: Sequence[str] | None = None, **fields: Any) -> Unit:
        data = {"names": list(names)} if names else {}
        return self.change(
            key, ("step.completed", {"step": 1, "next": "wait"}), ("wait.started", data), status="waiting",
            waiting_for=text(list(names)) if names else None, **fields,
        )  # fmt: skip

    def _records(self, unit: Unit, key: int, seq: int, *records: Record) -> None:
        for number, (kind, data) in enumerate(records, seq + 1):
            self.rev += 1
            unit.history.append((self.rev, key, number, self.now, kind, text(data), None))


def join(unit: Unit, other: Unit) -> Unit:
    """Both as one unit, `unit` first."""
    unit.runs_new += other.runs_new
    unit.runs_changed += other.runs_changed
    unit.runs_reopened += other.runs_reopened
    unit.history += other.history
    unit.logs += other.logs
    unit.store |= other.store
    unit.inbox_add += other.inbox_add
    unit.inbox_del += other.inbox_del
    for name, change in other.totals.items():
        unit.totals[name] = unit.totals.get(name, 0) + change
    return unit


async def commit(writer: Writer, *units: Unit) -> None:
    """Submit all and wait until they are on disk; raises the first failure."""
    settled = [asyncio.get_running_loop().create_future() for _ in units]

    def done(index: int, error: BaseException | None) -> None:
        settled[index].set_result(error)

    for index, unit in enumerate(units):
        writer.submit(unit, lambda error, index=index: done(index, error))  # type: ignore[misc]
    for error in await asyncio.gather(*settled):
        if error is not None:
            raise error


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of the database, in order, read by a connection of our own."""
    db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        return {table: db.execute(f"select * from {table} order by 1, 2").fetchall() for table in TABLES}
    finally:
        db.close()


def miscounted(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """What the totals say and the runs do not, and the other way round; counted as the migration that made the table did."""
    migration = (queries.HERE / "migrations" / "0006_kept_needs.sql").read_text()
    open_runs = re.search(r"insert into totals\n(select\n.*?);", migration, re.DOTALL)
    assert open_runs is not None
    closed = "select type, status, 0, '', count(*) from runs where closed_at is not null group by 1, 2"
    counted = {tuple(row) for sql in (closed, open_runs[1]) for row in db.execute(sql)}
    return sorted(counted ^ {tuple(row) for row in db.execute("select * from totals where runs <> 0")})


def check(path: Path) -> None:
    """The file is sound, and every row refers to rows that exist."""
    db = sqlite3.connect(path)
    try:
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
        assert db.execute("pragma foreign_key_check").fetchall() == []
        assert (
            db.execute("select key from runs where seq <> (select count(*) from history where run = key)").fetchall()
            == []
        )
        assert miscounted(db) == []
    finally:
        db.close()
