"""`wfctl retry`: runs that failed go on where they failed, from an earlier step, or as new ones."""

from typing import Annotated

import typer

from wfctl.cli.bulk import Verb, carry_out, signed
from wfctl.cli.filters import DryRun, Ids, Limit, Reason, Since, Statuses, Types, Yes, targets
from wfctl.cli.outcome import await_outcome, tell
from wfctl.cli.render.retry import retried_text
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import UsageError
from wfctl.protocol.changes import Retried, Retry
from wfctl.values.status import Status

EXAMPLES = """
  wfctl retry order-1
  wfctl retry order-1 --from pay --dry-run
  wfctl retry order-1 --new --id order-1b --wait
  wfctl list --status failed --type Order -o id | wfctl retry --yes -
  wfctl retry --status failed --since 1h --dry-run
"""
TAKES = ("ids", "follow", "outcome", "failure")
DEFAULT_STATUSES = [Status.FAILED, Status.TIMED_OUT, Status.STUCK]


def run(
    ctx: typer.Context,
    ids: Ids = None,
    from_step: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="Go back to this step: a handler, or a step's number.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Start another run with the same input instead.")] = False,
    workflow_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="With --new: its workflow ID (default: the same).")
    ] = None,
    status: Statuses = None,
    workflow_type: Types = None,
    since: Since = None,
    limit: Limit = None,
    reason: Reason = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run; print only its result.")] = False,
) -> int:
    """Let failed, timed-out and stuck runs go on.

    By default at the step that failed: what its operations have recorded is kept, what failed is done again. With filters
    instead of IDs, of all runs that match them.
    """
    shell = shell_of(ctx)
    _check(new=new, from_step=from_step, workflow_id=workflow_id)
    found = targets(
        shell, "retry", ids, status=status, workflow_type=workflow_type, since=since, limit=limit,
        # An open run cannot begin anew.
        default=[status for status in DEFAULT_STATUSES if status.closed or not new],
    )  # fmt: skip
    if (wait or workflow_id is not None) and found.bulk:
        raise UsageError(f"{'--wait' if wait else '--id'} is for one run", hint="name one run by its ID")
    why = signed(reason)

    def make(id: str) -> Retry:
        return Retry(id=id, from_step=from_step, new=new, workflow_id=workflow_id, reason=why, dry_run=dry_run)

    def sum_up(results: list[Retried], failed: int) -> str:
        done = "started" if new else "go on"
        stuck = sum(one.stuck_reason is not None for one in results)
        again = f", {stuck} {'would be' if dry_run else 'are'} stuck again at once" if stuck else ""
        told = f"would be {done}" if new and dry_run else f"would {done}" if dry_run else done
        return f"{len(results) - stuck} {told}{again}, {failed} failed"

    deed = Verb("retry", "retry", make, retried_text, sum_up)
    if wait and not dry_run:
        return _wait(shell, make(found.ids[0]))
    return carry_out(shell, deed, found, yes=yes, dry_run=dry_run)


def _check(*, new: bool, from_step: str | None, workflow_id: str | None) -> None:
    if new and from_step is not None:
        raise UsageError("a new run begins at its start", hint="leave out --from, or --new")
    if workflow_id is not None and not new:
        raise UsageError("a run that goes on keeps its workflow ID", hint="add --new")


def _wait(shell: Shell, call: Retry) -> int:
    retried: Retried = shell.call(call)
    shell.note(retried_text(retried))
    return tell(shell, await_outcome(shell, retried.run_id, timeout_ms=None, stuck=False), fail_if_stuck=False)
