"""`wfctl up`: start the daemon and return when it accepts."""

import os
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from wfctl.cli import exit
from wfctl.cli.daemon import Ready, describe, foreground, launch, probe
from wfctl.cli.options import Output
from wfctl.cli.render.status import problem_lines
from wfctl.cli.render.times import short
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import ConflictError, DaemonDownError, UsageError
from wfctl.protocol.daemon import ProblemView, StatusView
from wfctl.values.project import real_config
from wfctl.values.times import parse_duration

EXAMPLES = """
  wfctl up
  wfctl up -F
  wfctl up --project ~/shop --timeout 1m
"""


def run(
    ctx: typer.Context,
    stay: Annotated[
        bool, typer.Option("-F", "--foreground", help="Run in the foreground, as a service would.")
    ] = False,
    detach: Annotated[bool, typer.Option("-d", "--detach", help="In the background, as it is without -F.")] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="30s", help="Give up when it is not ready by then.")
    ] = "30s",
) -> int:
    """Start the project's daemon.

    In the background unless -F is given; returns when it accepts commands; its first error is
    told here. When it is up already, that is all there is to do.
    """
    shell = shell_of(ctx)
    if stay and detach:
        raise UsageError("-F stays in the foreground and -d does not", hint="leave out one of them")
    timeout_ms = parse_duration(timeout)
    config = shell.config
    view = probe(shell)
    if view is None:
        if stay:
            foreground(shell)
        ready = launch(shell, timeout_ms)
        if ready is not None:
            shell.note(f"wfctl daemon is up for {config.parent} (pid {ready.pid})")
            _tell_of_database(shell, ready)
            return _tell(shell, {**msgspec.structs.asdict(ready), "already_up": False}, ready.problems)
        view = probe(shell)
        if view is None:
            raise DaemonDownError("another daemon started at the same time, and went again", hint="wfctl up")
    _check_same(shell, view)
    shell.note(f"already up for {view.project} (pid {view.pid}, for {short(view.now - view.started_at)})")
    made = {"new_database": None, "former_state": None}
    return _tell(shell, {**describe(view), **made, "already_up": True}, view.problems)


def _tell_of_database(shell: Shell, ready: Ready) -> None:
    if ready.new_database is not None:
        shell.note(f"made a new database: {ready.new_database}")
    if ready.former_state is not None:
        shell.warn(
            "new_database",
            f"the runs that this project had are not in it: they are in {ready.former_state}, its state folder before",
            f"to go on with them, name that as `state` in {shell.config.name} again, then wfctl down && wfctl up",
        )


def _check_same(shell: Shell, view: StatusView) -> None:
    """The socket may be another project's (WFCTL_SOCKET): that daemon would not run this project's workflows. Or the folder of this
    one has moved: then the daemon looks for its files where they were."""
    if real_config(Path(view.config)) == real_config(shell.config):
        return
    if os.environ.get("WFCTL_SOCKET"):
        message = f"the daemon at {view.socket} (pid {view.pid}) belongs to {view.config}, not to {shell.config}"
        hint = "unset WFCTL_SOCKET, or give this project a socket of its own"
    else:
        message = (
            f"the daemon (pid {view.pid}) was started for {view.config}, and its folder is {shell.config.parent} now"
        )
        hint = "wfctl down && wfctl up"
    raise ConflictError(message, hint=hint, pid=view.pid, config=view.config)


def _tell(shell: Shell, facts: dict[str, Any], problems: list[ProblemView]) -> int:
    if shell.json:
        shell.document("up", facts)
        return exit.OK
    if shell.output is Output.ID:
        shell.out.write(str(facts["pid"]))
    for problem in problems:
        if not shell.quiet:
            shell.err.prose(problem_lines(problem))
    return exit.OK
