"""The daemon itself: how it is, and its end."""

from __future__ import annotations

import msgspec

from wfctl.protocol.call import Call
from wfctl.values.numbers import Number


class ProblemView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Something wrong with the user's code or configuration that does not stop the daemon."""

    module: str
    message: str
    file: str = ""
    line: int = 0
    hint: str = ""
    traceback: str = ""


class CodeView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How it stands with the user's code: the newest generation that serves, and what is wrong with what was loaded last."""

    at: int
    generation: int
    source_hash: str
    problems: list[ProblemView] = []


class WorkerView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One worker process. `blocked_ms` is how long its event loop has not answered (0: it does), `handlers` what it runs,
    longest first: a blocked one is among them. `held` handlers and `held_tasks` tasks written with `def` alone wait for a thread,
    the first of them for `held_ms`; then those come first that have one."""

    pid: int
    generation: int
    steps: int
    started_at: int
    blocked_ms: int = 0
    handlers: list[str] = []
    held: int = 0
    held_tasks: int = 0
    held_ms: int = 0


class SchedulesView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How many schedules there are; of those, the paused and the `blocked`, by ID with the reason. `next_at` is when the clock next
    starts a run."""

    total: int = 0
    paused: int = 0
    blocked: dict[str, str] = {}
    next_at: int | None = None


class StatusView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`database_bytes` counts the write-ahead log, `wal_bytes` alone is that. `oldest_queued_at`: since when the step waits for a
    worker that has waited longest. `loading_ms` is how long new code has been importing; 0 when none is. `full` says what makes
    others wait just now, `no_worker` why steps wait in line for one; `displaced` that the database was moved or deleted meanwhile;
    `log_readers` who keeps a long log of the database from being cut; `unreadable` which runs are set aside, as nobody understands
    their rows, and why."""

    pid: int
    version: str
    project: str
    config: str
    socket: str
    database: str
    database_bytes: int
    log: str
    started_at: int
    now: int
    generation: int
    source_hash: str
    python: str
    counts: dict[str, int]
    workers: list[WorkerView]
    queued_steps: int
    oldest_queued_at: int | None = None
    loading_ms: int = 0
    problems: list[ProblemView] = []
    settings: dict[str, str] = {}
    draining: bool = False
    storage_error: str | None = None
    displaced: str = ""
    rev: int = 0
    full: list[str] = []
    no_worker: list[str] = []
    wal_bytes: int = 0
    log_readers: list[str] = []
    unreadable: list[str] = []
    schedules: SchedulesView = SchedulesView()


class GetStatus(Call, frozen=True):
    method = "status"
    answer = StatusView


class Ok(msgspec.Struct, frozen=True):
    ok: bool = True


class Down(Call, frozen=True):
    """Drain and stop: new steps are not begun, running ones get `drain_ms`, then the daemon ends. Open runs survive."""

    method = "down"
    answer = Ok
    drain_ms: Number = 10_000
