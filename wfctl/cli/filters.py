"""Runs that are named by their IDs, or chosen by filters: the same options for every verb that changes runs."""

from typing import Annotated

import typer

from wfctl.cli.bulk import Targets, chosen, named
from wfctl.cli.shell import Shell, now_ms
from wfctl.cli.words import parse_statuses
from wfctl.errors import UsageError
from wfctl.protocol.lists import List
from wfctl.values.status import Status
from wfctl.values.times import parse_instant

Ids = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ID]...", help="Workflow IDs, run IDs, unique prefixes, @last; - reads stdin."),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", metavar="STATUS", help="Instead of IDs: those in this status; repeatable."),
]
Types = Annotated[list[str] | None, typer.Option("--type", metavar="TYPE", help="Those of this type; repeatable.")]
Since = Annotated[str | None, typer.Option("--since", metavar="15m|TIME", help="Those that were started since then.")]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many of those.")]
Reason = Annotated[
    str | None, typer.Option("--reason", metavar="TEXT", help="Kept in the history (default: who did it).")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Tell what would be done; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask when there are several.")]


def targets(
    shell: Shell,
    verb: str,
    ids: list[str] | None,
    *,
    status: list[str] | None,
    workflow_type: list[str] | None,
    since: str | None,
    limit: int | None,
    default: list[Status],
) -> Targets:
    """The runs a command line means. Filters without a status choose among those in a `default` one."""
    filters = any(given is not None for given in (status, workflow_type, since, limit))
    if ids and filters:
        raise UsageError("runs are named by their IDs or chosen by filters, not both", hint=f"wfctl {verb} --help")
    if ids:
        return named(shell, ids)
    if not filters:
        raise UsageError("which runs? Give IDs, or filters", hint=f"wfctl {verb} --status {default[0]} --dry-run")
    call = List(
        statuses=parse_statuses(status or []) or default,
        types=workflow_type or [],
        since_ms=None if since is None else parse_instant(since, now_ms()),
    )
    return chosen(shell, call, limit)
