"""`wfctl show`: one run as one screen."""

from __future__ import annotations

from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.document import as_data
from wfctl.cli.render.runs import show_lines
from wfctl.cli.shell import now_ms, shell_of
from wfctl.protocol.calls import Get
from wfctl.protocol.views import RunDetail

EXAMPLES = """
  wfctl show order-1
  wfctl show @last -o json
"""


def run(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Workflow ID, run ID, a unique prefix, or @last.")],
) -> int:
    """Show one run.

    Where it stands, its input and result, its store and its inbox."""
    shell = shell_of(ctx)
    detail: RunDetail = shell.call(Get(id=shell.run_id(id)))
    if shell.output is Output.ID:
        shell.out.write(detail.run.run_id)
    elif shell.json:
        rest = {key: value for key, value in as_data(detail).items() if key != "run"}
        shell.document("run", {**as_data(detail.run), **rest})
    else:
        shell.out.lines(show_lines(detail, now_ms(), person=shell.out.tty, ascii=shell.out.ascii))
    return exit.OK
