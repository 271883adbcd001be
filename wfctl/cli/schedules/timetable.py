"""What several actions share: when a schedule comes, as options; its times, as told; the ID of one."""

from typing import Annotated

import typer

from wfctl.cli.shell import Shell
from wfctl.errors import InvalidArgumentError, UsageError
from wfctl.protocol.schedules import TimeView
from wfctl.values.schedule import Timetable
from wfctl.values.times import parse_duration, parse_time
from wfctl.values.zones import local_zone

Id = Annotated[str, typer.Argument(metavar="SCHEDULE", help="The schedule's ID.")]
Ids = Annotated[list[str], typer.Argument(metavar="SCHEDULE...", help="The schedules' IDs; - reads stdin.")]
Cron = Annotated[
    str | None,
    typer.Option(
        "--cron", metavar="'0 9 * * mon-fri'", help="Minute, hour, day, month, weekday; or @daily and the like."
    ),
]
Every = Annotated[str | None, typer.Option("--every", metavar="15m", help="Every so often, counted from 1970 in UTC.")]
Offset = Annotated[str | None, typer.Option("--offset", metavar="5m", help="With --every: so much later.")]
Zone = Annotated[
    str | None, typer.Option("--tz", metavar="ZONE", help="By the clocks of this time zone (default: this machine's).")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Nothing after that.")]
Number = Annotated[int, typer.Option("-n", metavar="N", min=1, help="So many of the next times are shown.")]

_DST = {
    "gap": "the clocks jump over the time that is meant; it comes right after",
    "first": "the clocks show that time twice that day; it comes the first time only",
    "both": "the clocks show that time twice that day; it comes both times",
}


def timetable(cron: str | None, every: str | None, offset: str | None, tz: str | None, until: str | None) -> Timetable:
    """UsageError where the options contradict each other; what is in them is checked by the daemon."""
    if (cron is None) == (every is None):
        raise UsageError(
            "a schedule comes by --cron or --every: give one of them", hint="--cron '0 9 * * mon-fri', or --every 15m"
        )
    if offset is not None and every is None:
        raise UsageError("--offset moves --every, and there is none", hint="write the minute into --cron")
    if tz == "":
        raise InvalidArgumentError("--tz is empty", hint="--tz Europe/Paris", value="")
    return Timetable(
        cron=cron,
        every_ms=None if every is None else parse_duration(every),
        offset_ms=0 if offset is None else parse_duration(offset),
        tz=tz or local_zone(),
        until_at=None if until is None else parse_time(until, "2027-01-31 or 2027-01-31T08:00:00Z"),
    )


def warn_of_changes(shell: Shell, times: list[TimeView], tz: str) -> None:
    """Where the clocks of `tz` are changed at one of these times."""
    for time in times:
        if time.dst:
            hint = "choose a time of day that every day has once, or --tz UTC"
            shell.warn("clock_change", f"{time.local} {tz}: {_DST[time.dst]}", hint)
