"""Schedules: the list of them, one as a screen, and times to come."""

from __future__ import annotations

from wfctl.cli.render.runs import status_span
from wfctl.cli.render.table import Cell, Column, Row, facts, table
from wfctl.cli.render.text import Line, Span, clean, count, counted
from wfctl.cli.render.times import ago, both, exactly, when
from wfctl.protocol.schedules import ScheduleDetail, ScheduledRunView, ScheduleView, TimeView
from wfctl.values.status import Status

_STYLES = {"active": "green", "paused": "yellow", "blocked": "magenta", "ended": "dim"}
_COLUMNS = [
    Column("SCHEDULE", middle=True),
    Column("TYPE", priority=2),
    Column("STATUS"),
    Column("WHEN", priority=3),
    Column("TIME ZONE"),
    Column("NEXT"),
    Column("LAST RUN", priority=1, optional=True),
    Column("WAITING", priority=5, optional=True, right=True),
    Column("SKIPPED", priority=5, optional=True, right=True),
    Column("MISSED", priority=5, optional=True, right=True),
    Column("PROBLEM", priority=1, optional=True),
]


def comes(cron: str | None, every_ms: int | None, offset_ms: int) -> str:
    """When a schedule comes, as it was asked for."""
    if every_ms is None:
        return cron or ""
    moved = f" +{exactly(offset_ms)}" if offset_ms else ""
    return f"every {exactly(every_ms)}{moved}"


def schedules_table(items: list[ScheduleView], now_ms: int, *, width: int | None, ascii: bool = False) -> list[Line]:
    return table(_COLUMNS, [_row(one, now_ms, person=width is not None, ascii=ascii) for one in items], width=width)


def _row(view: ScheduleView, now_ms: int, *, person: bool, ascii: bool) -> Row:
    def number(value: int) -> Cell:
        return Cell(count(value, grouped=person) if value else "")

    return [
        Cell(view.schedule_id),
        Cell(view.workflow_type),
        Cell(view.status, _STYLES[view.status]),
        Cell(comes(view.cron, view.every_ms, view.offset_ms)),
        Cell(view.tz),
        Cell("" if view.next_at is None else when(view.next_at, now_ms, relative=person)),
        Cell(*_run_span(view.last, person=person, ascii=ascii)),
        number(len(view.waiting)),
        number(view.skipped),
        number(view.missed),
        Cell(view.problem or view.note, "magenta" if view.problem else "yellow"),
    ]


def _run_span(run: ScheduledRunView | None, *, person: bool, ascii: bool) -> Span:
    if run is None:
        return "", ""
    return ("purged", "dim") if run.status is None else status_span(Status(run.status), person=person, ascii=ascii)


def schedule_lines(
    detail: ScheduleDetail, now_ms: int, *, person: bool, ascii: bool = False, width: int | None = None
) -> list[Line]:
    """The whole of one schedule, broken to `width` where there is one."""
    view = detail.schedule

    def moment(at_ms: int) -> str:
        return both(at_ms, now_ms) if person else when(at_ms, now_ms, relative=False)

    def tally(number: int, at_ms: int | None) -> Line:
        last = f", last {moment(at_ms)}" if at_ms is not None else ""
        return [(f"{count(number, grouped=person)}{last}", "")]

    pairs: list[tuple[str, Line]] = [
        ("schedule", [(clean(view.schedule_id), "bold")]),
        ("type", [(clean(view.workflow_type), "")]),
        ("status", [(view.status, _STYLES[view.status])]),
    ]
    if view.problem:
        pairs.append(("problem", [(clean(view.problem), "magenta")]))
    if view.note:
        pairs.append(("note", [(clean(view.note), "yellow")]))
    pairs += [
        ("when", [(comes(view.cron, view.every_ms, view.offset_ms), "")]),
        ("time zone", [(view.tz, "")]),
        ("overlap", [(view.overlap or "", "")]),
        ("catch-up", [(exactly(view.catch_up_ms or 0), "")]),
    ]
    if view.timeout_ms is not None:
        pairs.append(("timeout", [(exactly(view.timeout_ms), "")]))
    if view.until_at is not None:
        pairs.append(("until", [(moment(view.until_at), "")]))
    if view.times is not None:
        pairs.append(("times", [(f"at most {counted(view.times, 'run')}", "")]))
    pairs.append(("input", [(clean(bytes(view.input).decode()), "")]))
    pairs += [("next", _time_line(time, view.tz, now_ms, person=person)) for time in detail.next]
    pairs += [("waiting", _time_line(time, view.tz, now_ms, person=person)) for time in view.waiting]
    pairs.append(("started", [(counted(view.started, "run", grouped=person), "")]))
    if view.skipped:
        pairs.append(("skipped", tally(view.skipped, view.skipped_at)))
    if view.missed:
        pairs.append(("missed", tally(view.missed, view.missed_at)))
    pairs += [("run", _run_line(run, person=person, ascii=ascii)) for run in detail.runs]
    return facts(pairs, width, whole=("input",))


def _time_line(time: TimeView, tz: str, now_ms: int, *, person: bool) -> Line:
    near = f" ({ago(time.at, now_ms)})" if person else ""
    return [(f"{time.local} {tz}{near}", "")]


def _run_line(run: ScheduledRunView, *, person: bool, ascii: bool) -> Line:
    by_hand = "  by hand" if run.by_hand else ""
    return [(clean(run.workflow_id), ""), ("  ", ""), _run_span(run, person=person, ascii=ascii), (by_hand, "dim")]


def times_table(times: list[TimeView], tz: str, now_ms: int, *, width: int | None) -> list[Line]:
    columns = [
        Column("LOCAL"),
        Column("TIME ZONE", priority=1),
        Column("UTC", priority=2),
        Column("CLOCKS", optional=True),
    ]
    rows = [
        [Cell(time.local), Cell(tz), Cell(when(time.at, now_ms, relative=False)), Cell(time.dst, "yellow")]
        for time in times
    ]
    if width is not None:
        columns.insert(3, Column("IN"))
        for row, time in zip(rows, times, strict=True):
            row.insert(3, Cell(ago(time.at, now_ms)))
    return table(columns, rows, width=width)
