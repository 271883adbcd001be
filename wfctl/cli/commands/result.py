"""`wfctl result`: wait for a run and print what it returned."""

from __future__ import annotations

from typing import Annotated

import typer

from wfctl.cli.outcome import await_outcome, tell
from wfctl.cli.shell import shell_of
from wfctl.errors import UsageError
from wfctl.protocol.calls import Result
from wfctl.protocol.views import Outcome
from wfctl.values.times import parse_duration

EXAMPLES = """
  wfctl result order-1
  wfctl result order-1 --timeout 30s || echo "exit code $?"
  wfctl result @last --no-wait -o json
"""
TAKES = ("ids", "follow", "outcome", "failure")


def run(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Workflow ID, run ID, a unique prefix, or @last.")],
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait: exit 14 when the run is open.")] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="5m", help="Wait at most so long, then exit 14.")
    ] = None,
    fail_if_stuck: Annotated[
        bool, typer.Option("--fail-if-stuck", help="Exit 15 when the run is stuck instead of waiting for a cure.")
    ] = False,
) -> int:
    """Wait for a run and print its result.

    Text is printed as it is, everything else as JSON.

    Exits by outcome: 0 completed, 10 failed, 11 cancelled, 12 terminated, 13 timed out, 14 not finished, 15 stuck.
    """
    shell = shell_of(ctx)
    if no_wait and timeout is not None:
        raise UsageError("--no-wait waits for nothing, so --timeout has nothing to end", hint="leave out one of them")
    timeout_ms = None if timeout is None else parse_duration(timeout)
    if no_wait:
        shell.read_alone()
    target = shell.run_id(id)
    if no_wait:
        outcome: Outcome = shell.call(Result(id=target, wait=False))
    else:
        outcome = await_outcome(shell, target, timeout_ms=timeout_ms, stuck=fail_if_stuck)
    return tell(shell, outcome, fail_if_stuck=fail_if_stuck)
