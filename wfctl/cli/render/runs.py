"""Runs as a table (`list`), outcomes as another (`wait`), and as the sentence one is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from wfctl.cli.exit import look
from wfctl.cli.render.table import Cell, Column, Row, table
from wfctl.cli.render.text import Line, Span, clean, count
from wfctl.cli.render.times import is_relative, when
from wfctl.errors import (
    NotFinishedError,
    RunCancelledError,
    RunFailedError,
    RunStuckError,
    RunTerminatedError,
    RunTimedOutError,
    WfctlError,
)
from wfctl.protocol.runs import Outcome, RunView
from wfctl.values.commands import command
from wfctl.values.failure import Failure
from wfctl.values.status import Status
from wfctl.values.times import format_duration

if TYPE_CHECKING:
    from wfctl.protocol.lists import Counted

_COLUMNS = [
    Column("WORKFLOW ID", middle=True),
    Column("TYPE", priority=4),
    Column("STATUS"),
    Column("STARTED", priority=5, right=True),
    Column("TOOK", priority=7, right=True),
    Column("AT", priority=3),
    Column("CHILDREN", priority=6, optional=True, right=True),
    Column("INBOX", priority=8, optional=True, right=True),
    Column("UNTIL", priority=2, optional=True, right=True),
    Column("PROBLEM", priority=1, optional=True),
    Column("RUN ID", priority=9),
]


def runs_table(runs: list[RunView], now_ms: int, *, width: int | None, ascii: bool = False) -> list[Line]:
    return table(_COLUMNS, [_row(run, now_ms, person=width is not None, ascii=ascii) for run in runs], width=width)


def _row(run: RunView, now_ms: int, *, person: bool, ascii: bool) -> Row:
    children = "" if not run.children else str(run.children)
    if run.open_children and person:
        children += f" ({run.open_children} open)"
    return [
        Cell(run.workflow_id),
        Cell(run.workflow_type),
        Cell(*status_span(run.status, person=person, ascii=ascii)),
        Cell(when(run.started_at, now_ms, relative=person)),
        Cell(format_duration((run.closed_at or now_ms) - run.started_at)),
        Cell(position(run)),
        Cell(children),
        Cell(str(run.queued_events) if run.queued_events else ""),
        Cell(_until(run, now_ms, person=person)),
        Cell(*_problem_span(run)),
        Cell(run.run_id, "dim"),
    ]


def counts_table(counted: Counted, *, width: int | None, ascii: bool = False) -> list[Line]:
    """How many of each, the most first by type, in the order of the statuses by status."""
    order = (
        [*Status] if counted.by == "status" else sorted(counted.counts, key=lambda name: (-counted.counts[name], name))
    )
    rows = [
        [
            Cell(*status_span(Status(name), person=width is not None, ascii=ascii))
            if counted.by == "status"
            else Cell(name),
            Cell(count(counted.counts[name], grouped=width is not None)),
        ]
        for name in order
        if name in counted.counts
    ]
    return table([Column(counted.by.upper(), middle=True), Column("RUNS", right=True)], rows, width=width)


_OUTCOME_COLUMNS = [
    Column("WORKFLOW ID", middle=True),
    Column("TYPE", priority=2),
    Column("STATUS"),
    Column("PROBLEM", priority=1, optional=True),
    Column("RUN ID", priority=3),
]


def outcomes_table(outcomes: list[Outcome], *, width: int | None, ascii: bool = False) -> list[Line]:
    rows = [
        [
            Cell(outcome.workflow_id),
            Cell(outcome.workflow_type),
            Cell(*status_span(outcome.status, person=width is not None, ascii=ascii)),
            Cell(outcome.stuck_reason or (str(outcome.error) if outcome.error else outcome.reason or "")),
            Cell(outcome.run_id, "dim"),
        ]
        for outcome in outcomes
    ]
    return table(_OUTCOME_COLUMNS, rows, width=width)


def status_span(status: Status, *, person: bool, ascii: bool) -> Span:
    shown = look(status)
    return (f"{shown.ascii if ascii else shown.glyph} {shown.word}" if person else shown.word, shown.style)


def position(run: RunView) -> str:
    """Where an open run is: its step, or what it waits for; where a closed one ended."""
    if run.status is Status.WAITING:
        return f"event {', '.join(run.waiting_for)}" if run.waiting_for else "any event"
    step = run.step or ""
    if run.attempt > 1:
        step = f"{step} (attempt {run.attempt})"
    if run.no_worker is not None:
        return f"{step} (waits for a worker{': ' if run.no_worker else ''}{run.no_worker})"
    return step if run.limit is None else f"{step} (waits for its turn: limit {run.limit} of {run.workflow_type})"


def due_at(run: RunView) -> int | None:
    """When time alone takes an open run further: the next attempt of its task, the end of its wait or delay, or else its own
    timeout."""
    if run.status.closed:
        return None
    if run.retry is not None:
        return run.retry.retry_at
    return run.deadline if run.wake_at is None else run.wake_at


def _until(run: RunView, now_ms: int, *, person: bool) -> str:
    due = due_at(run)
    if due is None:
        return ""
    if run.retry is not None and due <= now_ms and is_relative(default=person):
        return "now"
    return when(due, now_ms, relative=person)


def _problem_span(run: RunView) -> Span:
    if run.retry is None:
        return problem(run), "red" if run.status.closed else "magenta"
    attempt, of = run.retry.attempt + 1, run.retry.max_attempts
    text = f"retry {attempt}{'' if of is None else f'/{of}'} of {run.retry.task}"
    return (f"{text}: {run.retry.error}" if run.retry.error else text), "yellow"


def problem(run: RunView) -> str:
    return run.stuck_reason or (str(run.error) if run.error else "")


def result_text(raw: msgspec.Raw, *, pretty: bool) -> str:
    """A result as `wfctl result` prints it: text as it is, everything else as JSON."""
    value: Any = msgspec.json.decode(raw)
    if isinstance(value, str):
        return value
    data = bytes(raw)
    return (msgspec.json.format(data, indent=2) if pretty else data).decode()


def outcome_error(outcome: Outcome) -> WfctlError | None:
    """The error an awaited run stands for; None when it completed."""
    if outcome.status is Status.COMPLETED:
        return None
    name = f"{outcome.workflow_type} {outcome.workflow_id}"
    id = outcome.workflow_id
    detail: dict[str, Any] = {"run_id": outcome.run_id, "workflow_id": id, "status": str(outcome.status)}
    if outcome.error is not None:
        detail["error"] = msgspec.to_builtins(outcome.error)
    because = f": {outcome.reason}" if outcome.reason else ""
    match outcome.status:
        case Status.FAILED:
            # On one line whatever line ends it has: the place it comes from is the second.
            why = f": {clean(str(outcome.error))}" if outcome.error else ""
            return RunFailedError(
                f"{name} failed{why}{_second_line(outcome.error)}", hint=command("history", id), **detail
            )
        case Status.CANCELLED:
            return RunCancelledError(f"{name} was cancelled{because}", hint=command("history", id), **detail)
        case Status.TERMINATED:
            return RunTerminatedError(f"{name} was terminated{because}", hint=command("history", id), **detail)
        case Status.TIMED_OUT:
            why = f": {outcome.error.message}" if outcome.error and outcome.error.message else ""
            return RunTimedOutError(f"{name} timed out{why}", hint=command("history", id), **detail)
        case Status.STUCK:
            return RunStuckError(
                f"{name} is stuck\n{outcome.stuck_reason or 'it needs code or a person'}",
                hint=command("show", id),
                **detail,
            )
        case _:
            return NotFinishedError(f"{name} is still {outcome.status}", hint=command("result", id), **detail)


def _second_line(error: Failure | None) -> str:
    """Where it comes from, and the remedy that it brought along."""
    if error is None:
        return ""
    told = [f"at {error.frame}" if error.frame else "", f"hint: {clean(error.hint)}" if error.hint else ""]
    return f"\n{'; '.join(filter(None, told))}" if any(told) else ""
