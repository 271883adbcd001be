"""`wfctl show`: one run as one screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.document import as_data
from wfctl.cli.render.pending import Pending, pending
from wfctl.cli.render.problem import indented
from wfctl.cli.render.show import retry_advice, show_lines, stuck_advice
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.protocol.calls import Get, GetStatus, History, HistoryPage
from wfctl.protocol.views import RunDetail, RunView, StatusView
from wfctl.values.status import Status
from wfctl.values.times import rfc3339

EXAMPLES = """
  wfctl show order-1
  wfctl show @last -o json
"""
TAKES = ("ids", "times", "table", "pager", "failure")
NEWEST_RECORDS = 100


def run(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Workflow ID, run ID, a unique prefix, or @last.")],
) -> int:
    """Show one run.

    Where it stands, its input and result, its store and its inbox."""
    shell = shell_of(ctx)
    shell.choose_fields(RunView, RunDetail, ("pending",))
    shell.read_alone()
    detail: RunDetail = shell.call(Get(id=shell.run_id(id)))
    now = now_ms()
    doing = [] if shell.output is Output.ID else _doing(shell, detail, now)
    if shell.output is Output.ID:
        shell.out.write(detail.run.run_id)
    elif shell.json:
        shell.one("run", _facts(detail, doing, rfc3339))
    elif shell.fields is not None:
        shell.table([_facts(detail, doing, shell.instant)], lambda _: [])
    else:
        width = shell.out.columns if shell.out.tty else None
        with shell.paged():
            shell.out.lines(show_lines(detail, doing, now, person=shell.out.tty, ascii=shell.out.ascii, width=width))
            if shell.settings.traceback and detail.run.error is not None:
                shell.out.stream.write(indented(detail.run.error.traceback))
        if detail.run.status is Status.STUCK:
            _advise(shell, detail.run)
        elif detail.run.status in (Status.FAILED, Status.TIMED_OUT):
            shell.out.flush()
            for line in retry_advice(detail.run.workflow_id):
                shell.note(line)
    return exit.OK


def _facts(detail: RunDetail, doing: list[Pending], instant: Callable[[int], str]) -> dict[str, Any]:
    """All of it in one object, the run's own fields first."""
    rest = {key: value for key, value in as_data(detail, instant).items() if key != "run"}
    return {**as_data(detail.run, instant), "pending": as_data(doing, instant), **rest}


def _doing(shell: Shell, detail: RunDetail, now: int) -> list[Pending]:
    """What the step of a running run is at, as far as its newest records tell."""
    if detail.run.status not in (Status.RUNNING, Status.CANCELLING):
        return []
    begin = max(detail.history_entries - NEWEST_RECORDS, 0)
    page: HistoryPage = shell.call(History(id=detail.run.run_id, after_seq=begin, limit=NEWEST_RECORDS))
    return pending(page.items, now)


def _advise(shell: Shell, run: RunView) -> None:
    status: StatusView | None = None if shell.alone else shell.call(GetStatus())
    reload = status is None or not status.settings.get("reload", "").startswith("false")
    shell.out.flush()
    problems = 0 if status is None else len(status.problems)
    for line in stuck_advice(run.workflow_id, reload=reload, problems=problems):
        shell.note(line)
