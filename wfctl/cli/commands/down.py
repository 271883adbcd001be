"""`wfctl down`: let the daemon finish what it does, and stop it."""

from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.daemon import stop
from wfctl.cli.options import Output
from wfctl.cli.render.text import counted
from wfctl.cli.shell import shell_of
from wfctl.values.status import OPEN
from wfctl.values.times import parse_duration

EXAMPLES = """
  wfctl down
  wfctl down --timeout 1m
"""


def run(
    ctx: typer.Context,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="10s", help="What running steps get to finish; then they are cut short.")
    ] = "10s",
) -> int:
    """Stop the project's daemon.

    Open runs survive and go on when it is up again; a step that is cut short runs again from its top. When no daemon runs,
    that is all there is to do; exits with 3 when one runs and cannot be asked.
    """
    shell = shell_of(ctx)
    view = stop(shell, parse_duration(timeout))
    survivors = 0 if view is None else sum(view.counts.get(status, 0) for status in OPEN)
    if shell.json:
        facts = {"stopped": view is not None, "pid": None if view is None else view.pid, "open_runs": survivors}
        shell.document("down", facts)
    elif shell.output is Output.ID:
        shell.print_ids([] if view is None else [str(view.pid)])
    elif view is None:
        shell.note("no daemon was running")
    else:
        kept = f"; {counted(survivors, 'open run')} {'goes' if survivors == 1 else 'go'} on with 'wfctl up'"
        shell.note(f"stopped the daemon (pid {view.pid}){kept if survivors else ''}")
    return exit.OK
