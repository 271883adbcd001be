"""`wfctl terminate`: end runs without asking them."""

from typing import Annotated

import typer

from wfctl.cli.bulk import Targets, change_runs, signed, would_end_below
from wfctl.cli.filters import DryRun, Ids, Limit, Reason, Since, Statuses, Types, Yes, targets
from wfctl.cli.render.text import clean, counted
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import DaemonDownError, WfctlError
from wfctl.protocol.changes import Changed, Terminate
from wfctl.values.status import Status

EXAMPLES = """
  wfctl terminate order-1 --reason "customer called"
  wfctl terminate order-1 --children
  wfctl terminate --type Order --since 1h --dry-run
  wfctl list --type Order --status waiting -o id | wfctl terminate --yes -
"""
TAKES = ("ids",)
# A run takes a millisecond or two to be asked about, and somebody waits for the question that comes then.
MOST_ASKED = 1_000
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
        bool, typer.Option("--children/--no-children", help="End every open run below them as well.")
    ] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> int:
    """End runs without asking them.

    What is closed already stays as it is, which is no error.
    """
    shell = shell_of(ctx)
    found = targets(
        shell,
        "terminate",
        ids,
        status=status,
        workflow_type=workflow_type,
        since=since,
        limit=limit,
        default=OPEN_STATUSES,
    )
    why = signed(reason)
    if children and not dry_run and not shell.quiet and not shell.json:
        _show_below(shell, found)
    return change_runs(
        shell,
        "terminate",
        "be terminated" if dry_run else "terminated",
        found,
        yes=yes,
        children=children,
        dry_run=dry_run,
        make=lambda id: Terminate(id=id, reason=why, children=children, dry_run=dry_run),
    )


def _show_below(shell: Shell, found: Targets) -> None:
    """Before anything ends, and before anybody is asked: how many runs end with those that are meant."""
    of = clean(found.ids[0]) if len(found.ids) == 1 else counted(len(found.ids), "run")
    asking = [id for id in found.ids if id not in found.known or found.known[id].children]
    if len(asking) > MOST_ASKED:
        shell.note(f"the open descendants of {of} will be terminated too; how many there are tells --dry-run")
        return
    # What has no children has nothing below it, and who is not asked about is known.
    ends = [
        Changed(run_id=id, workflow_id=run.workflow_id, status=run.status, changed=run.status.open)
        for id, run in found.known.items()
        if not run.children
    ]
    for id in asking:
        try:
            ends.append(shell.call(Terminate(id=id, exact=id in found.known, reason="", children=True, dry_run=True)))
        except DaemonDownError:
            raise
        except WfctlError:
            continue  # what is wrong with it is told in its turn
    if below := would_end_below(shell, ends, found.known):
        shell.note(f"{counted(below, 'open descendant')} of {of} will be terminated too")
