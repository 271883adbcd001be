"""`wfctl cancel`: ask runs to end."""

from __future__ import annotations

from typing import Annotated

import typer

from wfctl.cli.bulk import change_runs, signed
from wfctl.cli.shell import shell_of
from wfctl.protocol.calls import Cancel

EXAMPLES = """
  wfctl cancel order-1 --reason "customer called"
  wfctl cancel order-1 --children
  wfctl list --type Order --status open -o id | wfctl cancel --yes -
"""


def run(
    ctx: typer.Context,
    ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Workflow IDs, run IDs, unique prefixes, @last; - reads stdin.")
    ],
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Kept in the history (default: who did it).")
    ] = None,
    children: Annotated[bool, typer.Option("--children", help="Ask every open run below them as well.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask when there are several.")] = False,
) -> int:
    """Ask runs to end.

    A waiting run is cancelled at once; a running handler gets asyncio.CancelledError and may clean up. What is closed already stays
    as it is, which is no error.
    """
    shell = shell_of(ctx)
    why = signed(reason)
    return change_runs(
        shell,
        "cancel",
        "asked to end",
        ids,
        yes=yes,
        children=children,
        make=lambda id: Cancel(id=id, reason=why, children=children),
    )
