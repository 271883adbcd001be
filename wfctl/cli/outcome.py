"""Waiting for a run to close, and telling how it did: what `start --wait` and `result` share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.document import as_data
from wfctl.cli.render.runs import outcome_error, result_text
from wfctl.cli.render.text import clean
from wfctl.cli.shell import Shell
from wfctl.client.faults import stopping
from wfctl.errors import NotFinishedError, WfctlError
from wfctl.protocol.runs import Outcome, Result
from wfctl.values.commands import command
from wfctl.values.kinds import PROGRESS
from wfctl.values.status import Status

if TYPE_CHECKING:
    from wfctl.cli.bars import Bars

# So long an awaited run stands still before it is told.
STANDS_S = 2.0


def await_outcome(shell: Shell, id: str, *, timeout_ms: int | None, stuck: bool) -> Outcome:
    """The outcome of a run, across restarts of the daemon. Open still when `timeout_ms` ran out, or stuck where `stuck` asks so."""
    deadline = None if timeout_ms is None else time.monotonic() + timeout_ms / 1_000

    def attempt() -> Outcome:
        if shell.err.tty and not shell.quiet:
            return _watched(shell, id, deadline, stuck=stuck)
        left = None if deadline is None else max(int((deadline - time.monotonic()) * 1_000), 0)
        answer: Outcome = shell.call(Result(id=id, wait=True, timeout_ms=left, stuck=stuck), timeout_s=None)
        if answer.status.open and left is None and not (stuck and answer.status is Status.STUCK):
            raise stopping()
        return answer

    try:
        return shell.persist(attempt, deadline=deadline)
    except KeyboardInterrupt:
        shell.note("stopped waiting; the run goes on")
        raise


def _watched(shell: Shell, id: str, deadline: float | None, *, stuck: bool) -> Outcome:
    """The same in front of a terminal: meanwhile the progress of the run and of those below it is shown there, on stderr."""

    from wfctl.cli.bars import Bars
    from wfctl.protocol.streams import Tail

    def look() -> Outcome:
        found: Outcome = shell.call(Result(id=id, wait=False))
        return found

    with shell.dial() as beside, Bars(shell.err) as bars:
        stream = beside.stream(
            Tail(ids=[id], follow=True, children=True, last=0, kinds=["step", "run", PROGRESS], progress=True)
        )
        outcome = look()
        standing = _Standing(shell, bars)
        while outcome.status.open and not (stuck and outcome.status is Status.STUCK):
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return outcome
            if standing.due_s == 0.0:
                outcome = look()
                standing.tell(outcome)
                continue
            entry = stream.poll(min((s for s in (left, bars.due_s, standing.due_s) if s is not None), default=None))
            if entry is not None:
                bars.take(entry)
                if entry.run_id == outcome.run_id:
                    standing.moved()
                if entry.kind == "run.stuck":
                    outcome = look()
            elif stream.ended:
                ended: Outcome = stream.answer.outcomes[0]
                if ended.status.open:
                    raise stopping()
                return ended
            elif bars.due_s == 0.0:
                bars.draw()
        return outcome


class _Standing:
    """Tells once of an awaited run that it stands still and needs somebody: that it is stuck, or has waited for an event for a
    while."""

    def __init__(self, shell: Shell, bars: Bars) -> None:
        self._shell = shell
        self._bars = bars
        self._told: set[Status] = set()
        self.moved()

    def moved(self) -> None:
        self._due: float | None = time.monotonic() + STANDS_S

    @property
    def due_s(self) -> float | None:
        """In how long it is to be looked at; None before it moves again."""
        return None if self._due is None else max(self._due - time.monotonic(), 0.0)

    def tell(self, outcome: Outcome) -> None:
        self._due = None
        if self._shell.json:
            return
        if outcome.status in (Status.STUCK, Status.WAITING) and outcome.status not in self._told:
            self._told.add(outcome.status)
            how = "is stuck" if outcome.status is Status.STUCK else "waits for an event"
            text = f"{clean(outcome.workflow_id)} {how}; more: {command('show', outcome.workflow_id)}"
            self._bars.print([(text, "")])


def tell(shell: Shell, outcome: Outcome, *, fail_if_stuck: bool, id: str | None = None) -> int:
    """Print an outcome and return its exit code. For people a run that did not complete is an error on stderr. With `-o id` it is
    the run ID that is printed, or `id`."""
    code = exit_of(outcome, fail_if_stuck=fail_if_stuck)
    if shell.json:
        shell.document("outcome", outcome)
        return code
    if shell.output is Output.ID:
        shell.out.write(id or outcome.run_id)
        return code
    error = _error(outcome, code)
    if error is not None:
        raise error
    shell.out.write(result_text(outcome.result, pretty=shell.out.tty))
    return code


def tell_line(shell: Shell, outcome: Outcome, *, fail_if_stuck: bool) -> int:
    """The same of one among several: what it returned on one line, which is empty where it returned nothing because it did not
    complete. A JSON document is for the caller to print."""
    code = exit_of(outcome, fail_if_stuck=fail_if_stuck)
    if shell.output is Output.JSONL:
        shell.json_line({**as_data(outcome), "exit": code})
    elif shell.output is Output.ID:
        shell.out.write(outcome.run_id)
    elif shell.output is Output.TABLE:
        error = _error(outcome, code)
        text = "" if error is not None else result_text(outcome.result, pretty=False)
        # One line is also what ends without a line break of its own.
        shell.out.write(text if text.splitlines() in ([], [text]) else bytes(outcome.result).decode())
        if error is not None:
            from wfctl.cli.render.problem import error_lines, traceback_text

            shell.out.flush()
            shell.err.prose(error_lines(error))
            if shell.settings.traceback:
                shell.err.stream.write(traceback_text(error))
    shell.out.flush()
    return code


def exit_of(outcome: Outcome, *, fail_if_stuck: bool) -> int:
    if outcome.status is Status.STUCK and not fail_if_stuck:
        return exit.NOT_FINISHED
    return exit.LOOKS[outcome.status].exit


def _error(outcome: Outcome, code: int) -> WfctlError | None:
    error = outcome_error(outcome)
    if error is not None and code == exit.NOT_FINISHED and outcome.status is Status.STUCK:
        return NotFinishedError(error.message, hint=error.hint, **error.detail)
    return error
