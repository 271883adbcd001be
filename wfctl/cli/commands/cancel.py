"""`wfctl cancel`: ask runs to end."""

from typing import Annotated

import typer

from wfctl.cli.bulk import change_runs, signed
from wfctl.cli.filters import DryRun, Ids, Limit, Reason, Since, Statuses, Types, Yes, targets
from wfctl.cli.shell import shell_of
from wfctl.protocol.changes import Cancel
from wfctl.values.status import Status

EXAMPLES = """
  wfctl cancel order-1 --reason "customer called"
  wfctl cancel order-1 --children
  wfctl cancel --type Order --since 1h --dry-run
  wfctl list --type Order --status waiting -o id | wfctl cancel --yes -
"""
TAKES = ("ids",)
OPEN_STATUSES = [status for status in Status if status.open]


def run(
    ctx: typer.Context,
    ids: Ids = None,
    status: Statuses = None,
    workflow_type: Types = None,
    since: Since = None,
    limit: Limit = None,
    reason: Reason = None,
    children: Annotated[
        bool, typer.Option("--children/--no-children", help="Ask every open run below them as well.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> int:
    """Ask runs to end.

    A waiting run is cancelled at once; a running handler gets asyncio.CancelledError and may clean up. What is closed already stays
    as it is, which is no error.
    """
    shell = shell_of(ctx)
    found = targets(
        shell,
        "cancel",
        ids,
        status=status,
        workflow_type=workflow_type,
        since=since,
        limit=limit,
        default=OPEN_STATUSES,
    )
    why = signed(reason)
    return change_runs(
        shell,
        "cancel",
        "be asked to end" if dry_run else "asked to end",
        found,
        yes=yes,
        children=children,
        dry_run=dry_run,
        make=lambda id: Cancel(id=id, reason=why, children=children, dry_run=dry_run),
    )
