"""`wfctl schedule add`: make a schedule, or change one."""

from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.inputs import parse_inputs
from wfctl.cli.options import choose
from wfctl.cli.render.times import ago, exactly
from wfctl.cli.schedules.timetable import (
    Cron,
    Every,
    Id,
    Number,
    Offset,
    Until,
    Zone,
    timetable,
    warn_of_changes,
)  # fmt: skip
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.errors import UsageError
from wfctl.protocol.schedules import ScheduleAdd, ScheduleAdded
from wfctl.values.commands import command
from wfctl.values.schedule import CATCH_UP_MS, Overlap, ScheduleSpec
from wfctl.values.times import parse_duration

_CATCH_UP = exactly(CATCH_UP_MS)

Type = Annotated[str, typer.Argument(metavar="TYPE", help="Workflow type, as 'wfctl workflows' lists it.")]
Inputs = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE|KEY:=JSON|KEY=@FILE]...", help="Inputs by name.")
]
Way = Annotated[
    str,
    typer.Option("--overlap", metavar="skip|queue|allow|cancel|terminate", help="When a run of it is still open then."),
]
CatchUp = Annotated[
    str, typer.Option("--catch-up", metavar="1d", help="A time that was missed is made good for so long.")
]
Times = Annotated[int | None, typer.Option("--times", metavar="N", min=1, help="So many runs, then it ends.")]
Data = Annotated[
    str | None, typer.Option("-i", "--input", metavar="JSON|@FILE|-", help="Input as JSON; key=value wins over it.")
]
Timeout = Annotated[str | None, typer.Option("--timeout", metavar="5m", help="Each run times out after so long.")]
Paused = Annotated[bool, typer.Option("--paused", help="It starts nothing until it is resumed.")]
Note = Annotated[str | None, typer.Option("--note", metavar="TEXT", help="With --paused: why.")]
Replace = Annotated[bool, typer.Option("--replace", help="Change the one of that ID, if there is one.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check it and show its next times; write nothing.")]


def add(
    ctx: typer.Context,
    id: Id,
    workflow_type: Type,
    inputs: Inputs = None,
    cron: Cron = None,
    every: Every = None,
    offset: Offset = None,
    tz: Zone = None,
    overlap: Way = "skip",
    catch_up: CatchUp = _CATCH_UP,
    until: Until = None,
    times: Times = None,
    data: Data = None,
    timeout: Timeout = None,
    paused: Paused = False,
    note: Note = None,
    replace: Replace = False,
    shown: Number = 5,
    dry_run: DryRun = False,
) -> int:
    """Make a schedule, or change one.

    Prints its ID, and tells its next times. What --replace changes keeps its past, and counts from now on; every option that is not
    given is as for a new one.
    """
    shell = shell_of(ctx)
    if note is not None and not paused:
        raise UsageError("--note says why it is paused, and it is not", hint="add --paused, or leave out --note")
    given = parse_inputs(inputs or [], data)
    spec = ScheduleSpec(
        workflow_type=workflow_type,
        timetable=timetable(cron, every, offset, tz, until),
        input=given.data,
        overlap=Overlap(choose(overlap, Overlap, "answer to an open run (--overlap)")),
        catch_up_ms=parse_duration(catch_up),
        timeout_ms=None if timeout is None else parse_duration(timeout),
        times=times,
    )
    added: ScheduleAdded = shell.call(
        ScheduleAdd(
            schedule_id=id, spec=spec, text=given.text, paused=paused, note=note or "", replace=replace,
            dry_run=dry_run, shown=shown,
        )
    )  # fmt: skip
    if shell.json:
        shell.document("schedule_added", added)
    else:
        shell.out.write(added.schedule.schedule_id)
        shell.out.flush()
        _tell(shell, added)
    warn_of_changes(shell, added.next, added.schedule.tz)
    return exit.OK


def _tell(shell: Shell, added: ScheduleAdded) -> None:
    from wfctl.cli.render.schedules import comes

    view = added.schedule
    done = "can be made so; nothing was" if added.dry_run else "was changed" if added.replaced else "is made"
    at = comes(view.cron, view.every_ms, view.offset_ms)
    shell.note(f"schedule {view.schedule_id} {done}: {view.workflow_type}, {at}, time zone {view.tz}")
    for time in added.next:
        shell.note(f"  {time.local} {view.tz} ({ago(time.at, now_ms())})")
    if view.status == "paused":
        shell.note(f"it is paused; to begin: {command('schedule resume', view.schedule_id)}")
