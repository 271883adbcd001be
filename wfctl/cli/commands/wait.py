"""`wfctl wait`: until runs have closed, or are in a status."""

import time
from typing import Annotated, Any

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.document import as_data
from wfctl.cli.render.problem import error_lines, traceback_text
from wfctl.cli.render.runs import outcome_error, outcomes_table
from wfctl.cli.render.text import clean
from wfctl.cli.shell import Shell, shell_of
from wfctl.cli.words import given_ids, parse_statuses
from wfctl.client.faults import stopping
from wfctl.errors import RunClosedError, WfctlError
from wfctl.protocol.runs import Outcome, Result
from wfctl.values.commands import command
from wfctl.values.status import Status
from wfctl.values.times import parse_duration

EXAMPLES = """
  wfctl wait order-1 order-2 --timeout 10m
  wfctl wait order-1 --for waiting && wfctl send order-1 start_payment
  wfctl list --type Order --status open -o id | wfctl wait --any -
"""
TAKES = ("ids", "table", "follow", "outcome", "failure")


def run(
    ctx: typer.Context,
    ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Workflow IDs, run IDs, unique prefixes, @last; - reads stdin.")
    ],
    until: Annotated[
        list[str] | None,
        typer.Option("--for", metavar="STATUS", help="Wait for these: names, 'open' or 'closed'; repeatable."),
    ] = None,
    any_: Annotated[bool, typer.Option("--any", help="Wait for the first of them alone.")] = False,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="5m", help="Wait at most so long, then exit 14.")
    ] = None,
    fail_if_stuck: Annotated[
        bool, typer.Option("--fail-if-stuck", help="Exit 15 when a run is stuck instead of waiting for a cure.")
    ] = False,
) -> int:
    """Wait for runs.

    Until they have closed: then it exits by outcome, the most severe of them, as 'wfctl result' does. With --for until they are
    in one of these statuses: then 0, or 5 where one completed without.
    """
    shell = shell_of(ctx)
    shell.choose_fields(Outcome, ("exit",))
    targets = [shell.run_id(id) for id in given_ids(ids)]
    deadline = None if timeout is None else time.monotonic() + parse_duration(timeout) / 1_000
    wait = Wait(shell, parse_statuses(until or []), any_=any_, stuck=fail_if_stuck, deadline=deadline)
    try:
        shell.persist(lambda: wait.attempt(targets), deadline=deadline)
    except KeyboardInterrupt:
        shell.note("stopped waiting; the runs go on")
        raise
    return wait.tell()


class Wait:
    """Some runs and how each stands, as far as the daemon has said. It outlives connections."""

    def __init__(self, shell: Shell, wanted: list[Status], *, any_: bool, stuck: bool, deadline: float | None) -> None:
        self._shell = shell
        self._wanted = wanted
        self._any = any_
        self._stuck = stuck
        self._deadline = deadline
        # By run ID, in the order they were named: a workflow ID may mean another run by the time a daemon is back.
        self._runs: dict[str, Outcome] = {}
        # With --any the one that it was; of those that had ended before, the one that was named first.
        self._first: Outcome | None = None

    def attempt(self, targets: list[str]) -> None:
        """Returns when there is no more to wait for, or no more time."""
        connection = self._shell.connect()
        if not self._runs:
            found = dict(connection.each([Result(id=id, wait=False) for id in targets]))
            for position in sorted(found):
                self._runs.setdefault(found[position].run_id, found[position])
            for outcome in list(self._runs.values()):
                self._take(outcome)
                if self._first is not None:
                    return
                if outcome.status is Status.STUCK and not self._ended(outcome):
                    name = outcome.workflow_id
                    self._shell.note(f"{clean(name)} is stuck; more: {command('show', name)}")
        pending = [outcome.run_id for outcome in self._runs.values() if not self._ended(outcome)]
        if not pending:
            return
        left = None if self._deadline is None else max(int((self._deadline - time.monotonic()) * 1_000), 0)
        calls = [Result(id=id, timeout_ms=left, stuck=self._stuck, until=self._wanted) for id in pending]
        for _, outcome in connection.each(calls):
            if not self._ended(outcome) and left is None:
                raise stopping()
            self._take(outcome)
            if self._first is not None:
                return

    def _ended(self, outcome: Outcome) -> bool:
        """Whether there is nothing more to wait for of this run."""
        status = outcome.status
        return status.closed or status in self._wanted or (self._stuck and status is Status.STUCK)

    def _take(self, outcome: Outcome) -> None:
        self._runs[outcome.run_id] = outcome
        if self._ended(outcome):
            self._first = outcome if self._any else None
            if self._shell.output is Output.JSONL:
                self._shell.json_line(self._data(outcome))
            elif self._shell.output is Output.ID:
                self._shell.out.write(outcome.run_id)
            elif len(self._runs) > 1:
                self._shell.note(f"{outcome.workflow_id} is {outcome.status}")
            self._shell.out.flush()

    def _data(self, outcome: Outcome) -> dict[str, Any]:
        return {**as_data(outcome), "exit": self._code(outcome)}

    def _code(self, outcome: Outcome) -> int:
        """What the command would exit with for this run alone."""
        status = outcome.status
        if status in self._wanted:
            return exit.OK
        if status is Status.STUCK and not self._stuck:
            return exit.NOT_FINISHED
        if self._wanted and status is Status.COMPLETED:
            return exit.CONFLICT
        return exit.LOOKS[status].exit

    def _error(self, outcome: Outcome) -> WfctlError | None:
        """Why this run alone would not let the command exit with 0."""
        if self._code(outcome) == exit.OK:
            return None
        if outcome.status is Status.COMPLETED:
            return RunClosedError(
                f"{outcome.workflow_type} {outcome.workflow_id} completed; it will not be {' or '.join(self._wanted)}",
                hint=command("history", outcome.workflow_id),
                run_id=outcome.run_id,
            )
        return outcome_error(outcome)

    def tell(self) -> int:
        """Print how they stand, and return the exit code."""
        shell, outcomes = self._shell, list(self._runs.values())
        # Of --any that one counts which it has waited for; without one, all of them are why.
        counted = outcomes if self._first is None else [self._first]
        code = exit.most_severe(self._code(outcome) for outcome in counted)
        if shell.output is Output.JSON:
            shell.listing("outcomes", [self._data(outcome) for outcome in outcomes], total=len(outcomes), exit=code)
        elif shell.output is Output.JSONL:
            for outcome in outcomes:
                if outcome is not self._first and (self._any or not self._ended(outcome)):
                    shell.json_line(self._data(outcome))
        elif shell.output is Output.TABLE:
            shell.table(
                [self._data(outcome) for outcome in outcomes],
                lambda width: outcomes_table(outcomes, width=width, ascii=shell.out.ascii),
            )
            shell.out.flush()
            for error in filter(None, map(self._error, counted)):
                shell.err.prose(error_lines(error))
                if shell.settings.traceback:
                    shell.err.stream.write(traceback_text(error))
        return code
