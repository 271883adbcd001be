"""`wfctl schedule list`, `show` and `next`: what there is, and when it comes."""

from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output, choose
from wfctl.cli.schedules.timetable import Cron, Every, Id, Number, Offset, Until, Zone, timetable, warn_of_changes
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.errors import UsageError
from wfctl.protocol.schedules import (
    ListSchedules,
    NextTimes,
    ScheduleDetail,
    ScheduleList,
    ScheduleNext,
    ScheduleView,
    ShowSchedule,
    TimeView,
)
from wfctl.values.commands import command
from wfctl.values.times import parse_time, rfc3339

STATUSES = ("active", "paused", "blocked", "ended")


def list_all(
    ctx: typer.Context,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="active|paused|blocked|ended", help="Only those; repeatable."),
    ] = None,
) -> int:
    """List schedules.

    When each comes next, how the last run that it started stands, and what was skipped, missed or is in its way.
    """
    shell = shell_of(ctx)
    shell.choose_fields(ScheduleView)
    shell.read_alone()
    wanted = [choose(word.strip().lower(), STATUSES, "status") for text in status or [] for word in text.split(",")]
    answer: ScheduleList = shell.call(ListSchedules())
    found = [one for one in answer.items if not wanted or one.status in wanted]
    if shell.output is Output.JSON:
        shell.listing("schedules", found, total=len(found))
    elif shell.output is Output.JSONL:
        for one in found:
            shell.json_line(one)
    elif shell.output is Output.ID:
        shell.print_ids(one.schedule_id for one in found)
    elif not found and shell.out.tty:
        shell.note("no schedules; to make one: wfctl schedule add --help")
    else:
        from wfctl.cli.render.schedules import schedules_table

        shell.table(found, lambda width: schedules_table(found, now_ms(), width=width, ascii=shell.out.ascii))
    return exit.OK


def show(ctx: typer.Context, id: Id, shown: Number = 5) -> int:
    """Show one schedule.

    Its next times, the newest runs that it started and how they stand, what was skipped or missed, and what to type next.
    """
    shell = shell_of(ctx)
    shell.read_alone()
    detail: ScheduleDetail = shell.call(ShowSchedule(schedule_id=id, shown=shown))
    view = detail.schedule
    if shell.json:
        shell.document("schedule", view, next=detail.next, runs=detail.runs)
    elif shell.output is Output.ID:
        shell.print_ids([view.schedule_id])
    else:
        from wfctl.cli.render.schedules import schedule_lines

        width = shell.out.columns if shell.out.tty else None
        shell.out.lines(schedule_lines(detail, now_ms(), person=shell.out.tty, ascii=shell.out.ascii, width=width))
        shell.out.flush()
        for line in _advice(view):
            shell.note(line)
    warn_of_changes(shell, detail.next, view.tz)
    return exit.OK


def _advice(view: ScheduleView) -> list[str]:
    id = view.schedule_id
    match view.status:
        case "paused":
            return [f"to let it go on: {command('schedule resume', id)}"]
        case "blocked":
            return ["it goes on by itself once its workflow type is loaded: wfctl workflows"]
        case "ended":
            return [f"nothing more comes; to take it away: {command('schedule remove', id)}"]
        case _ if view.open_runs:
            return [f"a run of it is open: {command('show', view.open_runs[0])}"]
        case _:
            return [f"to start a run of it now: {command('schedule run-now', id)}"]


def next_times(
    ctx: typer.Context,
    id: Annotated[
        str | None, typer.Argument(metavar="[SCHEDULE]", help="The schedule's ID; or give a timetable.")
    ] = None,
    cron: Cron = None,
    every: Every = None,
    offset: Offset = None,
    tz: Zone = None,
    until: Until = None,
    after: Annotated[str | None, typer.Option("--after", metavar="TIME", help="After then (default: now).")] = None,
    shown: Number = 5,
) -> int:
    """Show the times that come next.

    Of a schedule, or of a timetable that none has yet. Tells where the clocks of its zone are changed at one of them.
    """
    shell = shell_of(ctx)
    shell.choose_fields(TimeView)
    shell.read_alone()
    given = [option for option in (cron, every, offset, tz, until) if option is not None]
    if id is not None and given:
        raise UsageError(
            "a schedule has a timetable of its own", hint="leave out its ID, or --cron, --every and the like"
        )
    if id is None and not given:
        raise UsageError("next times of what?", hint="give a schedule's ID, or --cron '0 9 * * mon-fri'")
    answer: NextTimes = shell.call(
        ScheduleNext(
            schedule_id=id,
            timetable=None if id is not None else timetable(cron, every, offset, tz, until),
            shown=shown,
            after_at=None if after is None else parse_time(after, "2027-03-27 or 2027-03-27T08:00:00Z"),
        )
    )
    _show_times(shell, answer)
    warn_of_changes(shell, answer.items, answer.tz)
    return exit.OK


def _show_times(shell: Shell, answer: NextTimes) -> None:
    times = answer.items
    if shell.output is Output.JSON:
        shell.listing("schedule_times", times, total=len(times), tz=answer.tz)
    elif shell.output is Output.JSONL:
        for time in times:
            shell.json_line(time)
    elif shell.output is Output.ID:
        shell.print_ids(rfc3339(time.at) for time in times)
    else:
        from wfctl.cli.render.schedules import times_table

        shell.table(times, lambda width: times_table(times, answer.tz, now_ms(), width=width))
        shell.out.flush()
        if not times:
            shell.note("none comes")
