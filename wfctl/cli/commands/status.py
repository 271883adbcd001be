"""`wfctl status`, and bare `wfctl`: is the daemon there, and how are things."""

from __future__ import annotations

from typing import Any

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.problem import one_line
from wfctl.cli.render.status import status_lines
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import DaemonDownError
from wfctl.protocol.calls import GetStatus
from wfctl.protocol.views import StatusView

EXAMPLES = """
  wfctl status
  wfctl status -q && echo up
  wfctl status -o json
"""
TAKES = ("times", "follow")


def run(ctx: typer.Context) -> int:
    """Show the daemon and the runs by status.

    Exits with 3 when no daemon runs; with -q that is all it says.
    """
    shell = shell_of(ctx)
    try:
        view: StatusView = shell.call(GetStatus())
    except DaemonDownError as error:
        return _down(shell, error)
    if shell.output is Output.ID:
        shell.out.write(str(view.pid))
    elif shell.json:
        shell.document("status", view, running=True)
    elif not shell.quiet:
        shell.out.prose(status_lines(view, person=shell.out.tty, ascii=shell.out.ascii))
    return exit.OK


def _down(shell: Shell, error: DaemonDownError) -> int:
    """No daemon is an answer too: a document on stdout for programs, an error for people, nothing for `-q`."""
    if shell.json:
        facts: dict[str, Any] = {
            "running": False,
            "project": shell.project_name or None,
            "socket": str(shell.socket),
            "stale": bool(error.detail.get("stale", False)),
            "message": one_line(error.message),
            "hint": error.hint,
        }
        shell.document("status", facts)
    elif not shell.quiet:
        raise error
    return exit.DOWN
