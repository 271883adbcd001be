"""`wfctl schedule pause`, `resume`, `run-now` and `remove`."""

import operator
from collections.abc import Callable
from typing import Annotated

import typer

from wfctl.cli.bulk import Targets, Verb, carry_out
from wfctl.cli.filters import Yes
from wfctl.cli.project import remember_last
from wfctl.cli.render.text import counted
from wfctl.cli.render.times import ago
from wfctl.cli.schedules.timetable import Ids
from wfctl.cli.shell import now_ms, shell_of
from wfctl.cli.words import given_ids
from wfctl.errors import ConfigError
from wfctl.protocol.call import Call
from wfctl.protocol.schedules import PauseSchedule, RemoveSchedule, RunSchedule, ScheduleChanged, ScheduleRan
from wfctl.values.commands import command


def pause(
    ctx: typer.Context,
    ids: Ids,
    note: Annotated[str | None, typer.Option("--note", metavar="TEXT", help="Why; it is shown in the list.")] = None,
    yes: Yes = False,
) -> int:
    """Pause schedules.

    They start nothing until they are resumed, also across restarts; the times meanwhile are not made good. Runs that are open
    go on.
    """
    return _change(
        ctx, "pause", "paused", ids, lambda id: PauseSchedule(schedule_id=id, paused=True, note=note or ""), yes=yes
    )


def resume(ctx: typer.Context, ids: Ids, yes: Yes = False) -> int:
    """Let paused schedules go on.

    From now on: what would have come during the pause does not.
    """
    return _change(ctx, "resume", "resumed", ids, lambda id: PauseSchedule(schedule_id=id, paused=False), yes=yes)


def remove(
    ctx: typer.Context,
    ids: Ids,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be removed; change nothing.")] = False,
    yes: Yes = False,
) -> int:
    """Take schedules away.

    Runs that they have started go on, and stay in the list of runs.
    """
    done = "would be removed" if dry_run else "removed"
    return _change(
        ctx, "remove", done, ids, lambda id: RemoveSchedule(schedule_id=id, dry_run=dry_run), yes=yes, dry_run=dry_run
    )


def _change(
    ctx: typer.Context,
    verb: str,
    done: str,
    ids: list[str],
    make: Callable[[str], Call],
    *,
    yes: bool,
    dry_run: bool = False,
) -> int:
    def tell(answer: ScheduleChanged) -> str:
        if not answer.changed:
            return f"schedule {answer.schedule_id} was {done} already"
        comes = ""
        if answer.next_at is not None and verb == "resume":
            comes = f"; next at {answer.next_local} {answer.tz} ({ago(answer.next_at, now_ms())})"
        return f"schedule {answer.schedule_id} {done}{comes}"

    def sum_up(answers: list[ScheduleChanged], failed: int) -> str:
        changed = sum(answer.changed for answer in answers)
        return f"{changed} {done}, {len(answers) - changed} had nothing to do, {failed} failed"

    change = Verb(
        verb, "schedule_change", make, tell, sum_up, noun="schedule", id_of=operator.attrgetter("schedule_id")
    )
    return carry_out(shell_of(ctx), change, _named(ids), yes=yes, dry_run=dry_run)


def run_now(ctx: typer.Context, ids: Ids, yes: Yes = False) -> int:
    """Start a run of schedules now.

    One of each, whatever the time, also while it is paused or a run of it is open. Prints the workflow IDs of the runs; the times
    of the schedules stay as they are.
    """
    shell = shell_of(ctx)

    def remember(ran: ScheduleRan) -> None:
        try:
            remember_last(shell.state, ran.run.run_id)
        except ConfigError:
            pass  # reached through WFCTL_SOCKET from outside any project: there is no place to note it

    def tell(ran: ScheduleRan) -> str:
        name = f"{ran.workflow_type} {ran.run.workflow_id} (run {ran.run.run_id})"
        return f"started {name}\n  watch it: {command('tail -f', ran.run.workflow_id)}"

    start = Verb(
        "run-now",
        "schedule_run",
        lambda id: RunSchedule(schedule_id=id),
        tell,
        lambda answers, failed: f"{counted(len(answers), 'run')} started, {failed} failed",
        noun="schedule",
        id_of=operator.attrgetter("run.workflow_id"),
        prints_id=True,
        after=remember,
    )
    return carry_out(shell, start, _named(ids), yes=yes, dry_run=False)


def _named(ids: list[str]) -> Targets:
    found = given_ids(ids, listed_by="wfctl schedule list -o id", or_none=True)
    return Targets(found, len(found) != 1)
