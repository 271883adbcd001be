"""`wfctl result`: wait for runs and print what they returned."""

import time
from collections.abc import Iterable
from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.outcome import await_outcome, tell, tell_line
from wfctl.cli.render.document import as_data
from wfctl.cli.several import Ids, Several
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import UsageError
from wfctl.protocol.runs import Outcome, Result
from wfctl.values.times import parse_duration

EXAMPLES = """
  wfctl result order-1
  wfctl result order-1 --timeout 30s || echo "exit code $?"
  wfctl result order-1 order-2 -o jsonl
  wfctl result @last --no-wait -o json
"""
TAKES = ("ids", "follow", "outcome", "failure")


def run(
    ctx: typer.Context,
    ids: Ids,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait: exit 14 when a run is open.")] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="5m", help="Wait at most so long, then exit 14.")
    ] = None,
    fail_if_stuck: Annotated[
        bool, typer.Option("--fail-if-stuck", help="Exit 15 when a run is stuck instead of waiting for a cure.")
    ] = False,
) -> int:
    """Wait for runs and print their results.

    Text is printed as it is, everything else as JSON; of several each on a line of its own, in the order they are named, which is
    empty for a run that did not complete.

    Exits by outcome: 0 completed, 10 failed, 11 cancelled, 12 terminated, 13 timed out, 14 not finished, 15 stuck. Of several the
    most severe counts; 9 when there is no such run for one of the IDs.
    """
    shell = shell_of(ctx)
    if no_wait and timeout is not None:
        raise UsageError("--no-wait waits for nothing, so --timeout has nothing to end", hint="leave out one of them")
    deadline = None if timeout is None else time.monotonic() + parse_duration(timeout) / 1_000
    if no_wait:
        shell.read_alone()
    several = Several(shell, ids)

    def ended(id: str) -> Outcome:
        if no_wait:
            found: Outcome = shell.call(Result(id=id, wait=False))
            return found
        left = None if deadline is None else max(int((deadline - time.monotonic()) * 1_000), 0)
        return await_outcome(shell, id, timeout_ms=left, stuck=fail_if_stuck)

    if several.one:
        (outcome,) = several.each(ended)
        return tell(shell, outcome, fail_if_stuck=fail_if_stuck)
    # What is wrong with an ID is told before anything is waited for; a run that is named twice is told once.
    named: dict[str, Outcome] = {}
    for found in several.each(lambda id: shell.call(Result(id=id, wait=False))):
        named.setdefault(found.run_id, found)
    outcomes = (found if found.status.closed else ended(found.run_id) for found in named.values())
    code = _tell_all(shell, outcomes, fail_if_stuck=fail_if_stuck)
    return several.code or code


def _tell_all(shell: Shell, outcomes: Iterable[Outcome], *, fail_if_stuck: bool) -> int:
    told: list[Outcome] = []
    codes: list[int] = []
    for outcome in outcomes:
        told.append(outcome)
        codes.append(tell_line(shell, outcome, fail_if_stuck=fail_if_stuck))
    code = exit.most_severe(codes)
    if shell.output is Output.JSON:
        items = [{**as_data(outcome), "exit": one} for outcome, one in zip(told, codes, strict=True)]
        shell.listing("outcomes", items, total=len(items), exit=code)
    return code
