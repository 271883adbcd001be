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
from wfctl.cli.render.show import advice, retry_advice, show_lines, stuck_advice, waiting_advice
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.protocol.calls import Count, Counted, Get, GetStatus, History, HistoryPage, WorkflowList, Workflows
from wfctl.protocol.views import RunDetail, RunView, StatusView
from wfctl.values.signature import HandlerSpec
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

    Where it stands, its input and result, its store and its inbox; and what to type next.
    """
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
        below = _below(shell, detail.run)
        with shell.paged():
            shell.out.lines(
                show_lines(detail, doing, now, below=below, person=shell.out.tty, ascii=shell.out.ascii, width=width)
            )
            if shell.settings.traceback and detail.run.error is not None:
                shell.out.stream.write(indented(detail.run.error.traceback))
        shell.out.flush()
        if not shell.quiet:
            for line in _advice(shell, detail.run):
                shell.note(line)
    return exit.OK


def _facts(detail: RunDetail, doing: list[Pending], instant: Callable[[int], str]) -> dict[str, Any]:
    """All of it in one object, the run's own fields first."""
    rest = {key: value for key, value in as_data(detail, instant).items() if key != "run"}
    return {**as_data(detail.run, instant), "pending": as_data(doing, instant), **rest}


def _below(shell: Shell, run: RunView) -> dict[str, int]:
    """How its children stand."""
    if not run.children:
        return {}
    counted: Counted = shell.call(Count(parent=run.run_id))
    return counted.counts


def _doing(shell: Shell, detail: RunDetail, now: int) -> list[Pending]:
    """What the step of a running run is at, as far as its newest records tell."""
    if detail.run.status not in (Status.RUNNING, Status.CANCELLING):
        return []
    begin = max(detail.history_entries - NEWEST_RECORDS, 0)
    page: HistoryPage = shell.call(History(id=detail.run.run_id, after_seq=begin, limit=NEWEST_RECORDS))
    return pending(page.items, now)


def _advice(shell: Shell, run: RunView) -> list[str]:
    """What to type next."""
    id = run.workflow_id
    match run.status:
        case Status.STUCK:
            status: StatusView | None = None if shell.alone else shell.call(GetStatus())
            reload = status is None or not status.settings.get("reload", "").startswith("false")
            return stuck_advice(id, reload=reload, problems=0 if status is None else len(status.problems))
        case Status.FAILED | Status.TIMED_OUT:
            return retry_advice(id)
        case Status.WAITING:
            return waiting_advice(run, _events(shell, run))
        case _:
            return advice(run)


def _events(shell: Shell, run: RunView) -> list[HandlerSpec] | None:
    """The event handlers of the run's type; None where it is not loaded, or nobody is there to ask."""
    if shell.alone:
        return None
    served: WorkflowList = shell.call(Workflows())
    spec = next((item.spec for item in served.items if item.spec.workflow_type == run.workflow_type), None)
    return None if spec is None else [handler for handler in spec.handlers if handler.kind == "event"]
