"""`wfctl start`: begin a run, and with --wait stay until it has closed."""

from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.inputs import parse_inputs
from wfctl.cli.options import choose
from wfctl.cli.project import remember_last
from wfctl.cli.render.times import ago
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.errors import ConfigError, InvalidArgumentError, UsageError
from wfctl.protocol.starts import Start, Started
from wfctl.values.commands import command
from wfctl.values.times import parse_duration, parse_time, rfc3339

EXAMPLES = """
  wfctl start Order order_id=1 amount=9.99
  wfctl start Order --id order-1 -i @order.json --wait
  id=$(wfctl start Order order_id=1 amount:=9.99)
  wfctl start Order --id order-1 --if-running use --if-closed use order_id=1 amount=9.99
  wfctl start Report --in 10m
"""
TAKES = ("follow", "outcome", "failure")


def run(
    ctx: typer.Context,
    workflow_type: Annotated[str, typer.Argument(metavar="TYPE", help="Workflow type, as 'wfctl workflows' lists it.")],
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE|KEY:=JSON|KEY=@FILE]...", help="Inputs by name.")
    ] = None,
    workflow_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Workflow ID; without it one is made.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("-i", "--input", metavar="JSON|@FILE|-", help="Input as JSON; key=value wins over it.")
    ] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="5m", help="The run times out after so long.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Not at once but then; local time without a zone.")
    ] = None,
    delay: Annotated[str | None, typer.Option("--in", metavar="10m", help="Begin after so long.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run; print only its result.")] = False,
    if_running: Annotated[
        str, typer.Option("--if-running", metavar="fail|use", help="When the ID has an open run.")
    ] = "fail",
    if_closed: Annotated[
        str, typer.Option("--if-closed", metavar="start|use|fail", help="When it has a closed run, and no open one.")
    ] = "start",
    fail_if_stuck: Annotated[
        bool, typer.Option("--fail-if-stuck", help="With --wait: exit 15 when the run is stuck.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check type, ID and inputs; start nothing.")] = False,
) -> int:
    """Start a run and print its workflow ID.

    key=value is converted to the parameter's type; key:=json is taken as JSON; key=@file is the text of a file. With
    --wait the exit code tells how the run closed. With --at or --in the run is there at once, sleeps until then, also across
    restarts, and can be cancelled before.
    """
    shell = shell_of(ctx)
    _check(at=at, delay=delay, wait=wait, fail_if_stuck=fail_if_stuck)
    given = parse_inputs(inputs or [], data, id_option=True)
    started: Started = shell.call(
        Start(
            workflow_type=workflow_type,
            workflow_id=workflow_id,
            input=given.data,
            text=given.text,
            timeout_ms=None if timeout is None else parse_duration(timeout),
            if_running=choose(if_running, ("fail", "use"), "answer to an open run (--if-running)"),
            if_closed=choose(if_closed, ("start", "use", "fail"), "answer to a closed run (--if-closed)"),
            dry_run=dry_run,
            begins_at=None if at is None else _to_come(at),
            delay_ms=None if delay is None else parse_duration(delay),
        )
    )
    if not dry_run:
        _remember(shell, started)
    if wait and not dry_run:
        return _awaited(shell, started, fail_if_stuck)
    _tell(shell, started, dry_run)
    return exit.OK


def _awaited(shell: Shell, started: Started, fail_if_stuck: bool) -> int:
    from wfctl.cli.outcome import await_outcome, tell

    shell.note(_sentence(started))
    outcome = await_outcome(shell, started.run.id, timeout_ms=None, stuck=fail_if_stuck)
    return tell(shell, outcome, fail_if_stuck=fail_if_stuck, id=started.run.workflow_id)


def _check(*, at: str | None, delay: str | None, wait: bool, fail_if_stuck: bool) -> None:
    if at is not None and delay is not None:
        raise UsageError("a run begins --at a time or --in a while, not both", hint="leave out one of them")
    if fail_if_stuck and not wait:
        raise UsageError("--fail-if-stuck is for a run that is waited for", hint="add --wait")


def _tell(shell: Shell, started: Started, dry_run: bool) -> None:
    if shell.json:
        shell.document("start", started, dry_run=dry_run)
        return
    shell.out.write(started.run.workflow_id)
    shell.out.flush()
    if dry_run and started.existing:
        shell.note(f"{_sentence(started)}; nothing would be started")
    elif dry_run:
        shell.note(f"{started.run.workflow_type} can be started so; nothing was")
    else:
        shell.note(_sentence(started))
        shell.note(f"  watch it: {command('tail -f', started.run.workflow_id)}")


def _to_come(text: str) -> int:
    at_ms = parse_time(text, "2026-11-23T08:00:00Z, or --in 15m")
    if at_ms < now_ms():
        raise InvalidArgumentError(
            f"--at {text}: {rfc3339(at_ms)} has passed", hint="give a time to come, or leave --at out", value=text
        )
    return at_ms


def _sentence(started: Started) -> str:
    verb = "started"
    if started.existing:
        status = started.status.replace("_", " ") if started.status.closed else "runs"
        verb = f"{status} already:"
    name = f"{started.run.workflow_type} {started.run.workflow_id} (run {started.run.id})"
    if started.begins_at is None:
        return f"{verb} {name}"
    due = rfc3339(started.begins_at)
    return f"{verb} {name}; it begins at {due}, {ago(started.begins_at, now_ms())}"


def _remember(shell: Shell, started: Started) -> None:
    try:
        remember_last(shell.state, started.run.id)
    except ConfigError:
        pass  # reached through WFCTL_SOCKET from outside any project: there is no place to note it
