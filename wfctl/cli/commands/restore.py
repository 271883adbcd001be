"""`wfctl restore`: a backup becomes the project's database."""

import os
from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.care import Progress, ask
from wfctl.cli.options import Output
from wfctl.cli.render.text import counted
from wfctl.cli.render.times import when
from wfctl.cli.shell import now_ms, shell_of
from wfctl.protocol.care import Restored

EXAMPLES = """
  wfctl restore orders.backup
  wfctl down && wfctl restore orders.backup && wfctl up
"""
TAKES = ("times",)


def run(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="File that 'wfctl backup' wrote.")],
) -> int:
    """Go back to a backup.

    The daemon must be down. FILE is checked first; the present database is kept beside the restored one. Open runs go on
    from where they were at the time of the backup, so what they have done since may be done again.
    """
    shell = shell_of(ctx)
    path = os.path.abspath(os.path.expanduser(file))
    progress = Progress(shell, "restoring")
    try:
        done = ask(shell, "restore", path, answer=Restored, told=progress)
    finally:
        progress.clear()
    if shell.json:
        shell.document("restore", done)
        return exit.OK
    if shell.output is Output.ID:
        shell.out.write(done.database)
    of = "" if done.newest_at is None else f", as of {when(done.newest_at, now_ms(), relative=shell.err.tty)}"
    shell.note(f"restored {counted(done.runs, 'run')} from {done.path}{of}")
    shell.note(f"the former database is kept: {done.kept}" if done.kept else "there was no database before")
    shell.note("open runs go on with: wfctl up")
    return exit.OK
