"""`wfctl retry`: runs that failed go on where they failed, from an earlier step, or as new ones."""

from __future__ import annotations

from typing import Annotated

import typer

from wfctl.cli.bulk import Targets, Verb, carry_out, chosen, named, signed
from wfctl.cli.outcome import await_outcome, tell
from wfctl.cli.render.retry import retried_text
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.cli.words import parse_statuses
from wfctl.errors import UsageError
from wfctl.protocol.calls import List, Retried, Retry
from wfctl.values.status import Status
from wfctl.values.times import parse_instant

EXAMPLES = """
  wfctl retry order-1
  wfctl retry order-1 --from pay --dry-run
  wfctl retry order-1 --new --id order-1b --wait
  wfctl list --status failed --type Order -o id | wfctl retry --yes -
  wfctl retry --status failed --since 1h --dry-run
"""
DEFAULT_STATUSES = [Status.FAILED, Status.TIMED_OUT, Status.STUCK]


def run(
    ctx: typer.Context,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Workflow IDs, run IDs, unique prefixes, @last; - reads stdin."),
    ] = None,
    from_step: Annotated[
        str | None, typer.Option("--from", metavar="STEP", help="Go back to this step: a handler, or a step's number.")
    ] = None,
    new: Annotated[bool, typer.Option("--new", help="Start another run with the same input instead.")] = False,
    workflow_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="With --new: its workflow ID (default: the same).")
    ] = None,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATUS", help="Those that are: failed, timed_out or stuck; repeatable."),
    ] = None,
    workflow_type: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Those of this type; repeatable.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="15m|TIME", help="Those that were started since then.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many of those.")] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Kept in the history (default: who did it).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask when there are several.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the run; print only its result.")] = False,
) -> int:
    """Let failed, timed-out and stuck runs go on.

    By default at the step that failed: what its operations have recorded is kept, what failed is done again. With filters
    instead of IDs, of all runs that match them.
    """
    shell = shell_of(ctx)
    _check(new=new, from_step=from_step, workflow_id=workflow_id)
    targets = _targets(shell, ids, status, workflow_type, since, limit)
    if (wait or workflow_id is not None) and targets.bulk:
        raise UsageError(
            f"{'--wait' if wait else '--id'} is for one run, not for {len(targets.ids)}", hint="name one run by its ID"
        )
    why = signed(reason)

    def make(id: str) -> Retry:
        return Retry(id=id, from_step=from_step, new=new, workflow_id=workflow_id, reason=why, dry_run=dry_run)

    def sum_up(results: list[Retried], failed: int) -> str:
        done = "started" if new else "go on"
        return f"{len(results)} {f'would be {done}' if new and dry_run else f'would {done}' if dry_run else done}, {failed} failed"

    deed = Verb("retry", "retry", make, retried_text, sum_up)
    if wait and not dry_run:
        return _wait(shell, make(targets.ids[0]))
    code, _ = carry_out(shell, deed, targets, yes=yes or dry_run)
    return code


def _check(*, new: bool, from_step: str | None, workflow_id: str | None) -> None:
    if new and from_step is not None:
        raise UsageError("a new run begins at its start", hint="leave out --from, or --new")
    if workflow_id is not None and not new:
        raise UsageError("a run that goes on keeps its workflow ID", hint="add --new")


def _targets(
    shell: Shell,
    ids: list[str] | None,
    status: list[str] | None,
    workflow_type: list[str] | None,
    since: str | None,
    limit: int | None,
) -> Targets:
    filters = any(given is not None for given in (status, workflow_type, since, limit))
    if ids and filters:
        raise UsageError("runs are named by their IDs or chosen by filters, not both", hint="wfctl retry --help")
    if ids:
        return named(shell, ids)
    if not filters:
        raise UsageError("which runs? Give IDs, or filters", hint="wfctl retry --status failed --dry-run")
    call = List(
        statuses=parse_statuses(status or []) or DEFAULT_STATUSES,
        types=workflow_type or [],
        since_ms=None if since is None else parse_instant(since, now_ms()),
    )
    return chosen(shell, call, limit)


def _wait(shell: Shell, call: Retry) -> int:
    retried: Retried = shell.call(call)
    shell.note(retried_text(retried))
    return tell(shell, await_outcome(shell, retried.run_id, timeout_ms=None, stuck=False), fail_if_stuck=False)
