"""What a retry did, in words: which run goes on where, what it keeps and what it does again."""

from __future__ import annotations

from wfctl.cli.render.text import clean
from wfctl.protocol.changes import Retried
from wfctl.values.status import Status

_WAS = {Status.FAILED: "it had failed", Status.TIMED_OUT: "it had timed out", Status.STUCK: "it was stuck"}


def retried_text(retried: Retried) -> str:
    """One line for the run, and one for each thing worth knowing."""
    return "\n".join(clean(line) for line in (_first_line(retried), *_details(retried)))


def _first_line(retried: Retried) -> str:
    if retried.new:
        if retried.dry_run:
            return f"would start another run of {retried.workflow_id} like {retried.old_run_id}, which is {retried.was}"
        return f"started {retried.workflow_id} (run {retried.run_id}) like run {retried.old_run_id}, which is {retried.was}"
    if retried.stuck_reason is not None:
        verb = "would be stuck again at once" if retried.dry_run else "is stuck again at once"
    else:
        verb = "would go on" if retried.dry_run else "goes on"
    return (
        f"{retried.workflow_id} (run {retried.run_id}) {verb}: {_where(retried)}; {_WAS.get(retried.was, retried.was)}"
    )


def _where(retried: Retried) -> str:
    if retried.step is None:
        return f"{retried.status}" + (f" until {retried.handler} is due" if retried.handler else " once more")
    if retried.from_step is not None:
        return f"back at {retried.handler}, step {retried.from_step}, which begins as step {retried.step}"
    return f"at {retried.handler}, step {retried.step}, attempt {retried.attempt}"


def _details(retried: Retried) -> list[str]:
    store = [*retried.stored, *(f"-{key}" for key in retried.unstored)]
    told = (
        ("kept", retried.kept),
        ("done again", retried.dropped),
        ("back in the store", store),
        ("back in the inbox", retried.requeued),
    )
    stuck = [] if retried.stuck_reason is None else [f"  {retried.stuck_reason}"]
    return stuck + [f"  {words}: {', '.join(names)}" for words, names in told if names]
