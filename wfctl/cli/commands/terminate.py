"""`wfctl terminate`: end runs without asking them."""

from __future__ import annotations

from typing import Annotated

import typer

from wfctl.cli.bulk import change_runs, signed
from wfctl.cli.shell import shell_of
from wfctl.protocol.calls import Terminate

EXAMPLES = """
  wfctl terminate order-1 --reason "customer called"
  wfctl terminate order-1 --children
  wfctl list --type Order --status open -o id | wfctl terminate --yes -
"""


def run(
    ctx: typer.Context,
    ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Workflow IDs, run IDs, unique prefixes, @last; - reads stdin.")
    ],
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Kept in the history (default: who did it).")
    ] = None,
    children: Annotated[bool, typer.Option("--children", help="End every open run below them as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask when there are several.")] = False,
) -> int:
    """End runs without asking them.

    What is closed already stays as it is, which is no error.
    """
    shell = shell_of(ctx)
    why = signed(reason)
    return change_runs(
        shell,
        "terminate",
        "terminated",
        ids,
        yes=yes,
        children=children,
        make=lambda id: Terminate(id=id, reason=why, children=children),
    )
