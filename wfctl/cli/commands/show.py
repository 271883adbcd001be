"""`wfctl show`: runs, each as one screen."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from wfctl.cli.options import Output
from wfctl.cli.render.document import as_data
from wfctl.cli.several import Ids, Several
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.protocol.runs import Get, History, HistoryPage, RunDetail, RunView
from wfctl.values.status import Status
from wfctl.values.times import rfc3339

# What draws, and what only a person is told, is imported where it begins: data for programs needs none of it.
if TYPE_CHECKING:
    from wfctl.cli.render.pending import Pending
    from wfctl.protocol.code import WorkflowList
    from wfctl.protocol.daemon import ProblemView, StatusView
    from wfctl.protocol.lists import Counted
    from wfctl.values.signature import HandlerSpec

EXAMPLES = """
  wfctl show order-1
  wfctl show @last -o json
  wfctl list --status stuck -o id | wfctl show -
"""
TAKES = ("ids", "times", "table", "pager", "failure")
NEWEST_RECORDS = 100


class Seen(NamedTuple):
    """A run, what its step is at, and how its children stand."""

    detail: RunDetail
    doing: list["Pending"]
    below: dict[str, int]


def run(ctx: typer.Context, ids: Ids) -> int:
    """Show runs.

    Where each stands, its input and result, its store and its inbox; and what to type next. Of several, one that cannot be shown is
    told on stderr, and the exit code is 9.
    """
    shell = shell_of(ctx)
    shell.choose_fields(RunView, RunDetail, ("pending",))
    shell.read_alone()
    several = Several(shell, ids)
    now = now_ms()
    seen = several.each(lambda id: _look(shell, id, now))
    if shell.output is Output.ID:
        shell.print_ids(one.detail.run.run_id for one in seen)
    elif shell.output is Output.JSONL:
        for one in seen:
            shell.one("run", _facts(one, rfc3339))
            shell.out.flush()
    elif shell.output is Output.JSON:
        facts = [_facts(one, rfc3339) for one in seen]
        if several.one:
            shell.one("run", facts[0])
        else:
            shell.listing("runs", facts, total=len(facts))
    elif shell.fields is not None:
        shell.table([_facts(one, shell.instant) for one in seen], lambda _: [])
    else:
        _print(shell, several, seen, now)
    return several.code


def _look(shell: Shell, id: str, now: int) -> Seen:
    detail: RunDetail = shell.call(Get(id=id))
    if shell.output is Output.ID:
        return Seen(detail, [], {})
    below = _below(shell, detail.run) if shell.output is Output.TABLE and shell.fields is None else {}
    return Seen(detail, _doing(shell, detail, now), below)


def _print(shell: Shell, several: Several, seen: Iterator[Seen], now: int) -> None:
    from wfctl.cli.render.problem import indented
    from wfctl.cli.render.show import show_lines

    width = shell.out.columns if shell.out.tty else None
    shown: list[RunView] = []
    with shell.paged():
        for detail, doing, below in seen:
            several.head(detail.run.workflow_id)
            shell.out.lines(
                show_lines(detail, doing, now, below=below, person=shell.out.tty, ascii=shell.out.ascii, width=width)
            )
            if shell.settings.traceback and detail.run.error is not None:
                shell.out.stream.write(indented(detail.run.error.traceback))
            shown.append(detail.run)
    shell.out.flush()
    if several.one and not shell.quiet:
        for line in _advice(shell, shown[0]):
            shell.note(line)


def _facts(seen: Seen, instant: Callable[[int], str]) -> dict[str, Any]:
    """All of it in one object, the run's own fields first."""
    detail, doing = seen.detail, seen.doing
    rest = {key: value for key, value in as_data(detail, instant).items() if key != "run"}
    return {**as_data(detail.run, instant), "pending": as_data(doing, instant), **rest}


def _below(shell: Shell, run: RunView) -> dict[str, int]:
    """How its children stand."""
    if not run.children:
        return {}
    from wfctl.protocol.lists import Count

    counted: Counted = shell.call(Count(parent=run.run_id, exact=True))
    return counted.counts


def _doing(shell: Shell, detail: RunDetail, now: int) -> list["Pending"]:
    """What the step of a running run is at, as far as its newest records tell."""
    if detail.run.status not in (Status.RUNNING, Status.CANCELLING):
        return []
    from wfctl.cli.render.pending import pending

    # The newest: where they are large, a page has fewer.
    page: HistoryPage = shell.call(History(id=detail.run.run_id, exact=True, limit=NEWEST_RECORDS, newest=True))
    return pending(page.items, now)


def _advice(shell: Shell, run: RunView) -> list[str]:
    """What to type next."""
    from wfctl.cli.render.show import advice, retry_advice, stuck_advice, waiting_advice
    from wfctl.protocol.daemon import GetStatus

    id = run.workflow_id
    match run.status:
        case Status.STUCK:
            status: StatusView | None = None if shell.alone else shell.call(GetStatus())
            reload = status is None or not status.settings.get("reload", "").startswith("false")
            return stuck_advice(id, reload=reload, problems=0 if status is None else len(status.problems))
        case Status.FAILED | Status.TIMED_OUT:
            return retry_advice(id)
        case Status.WAITING:
            return waiting_advice(run, *_events(shell, run))
        case _:
            return advice(run)


def _events(shell: Shell, run: RunView) -> "tuple[list[HandlerSpec] | None, list[ProblemView]]":
    """The event handlers of the run's type, None where it is not loaded, and what keeps code from being so. Nothing of either where
    nobody is there to ask."""
    if shell.alone:
        return None, []
    from wfctl.protocol.code import Workflows

    served: WorkflowList = shell.call(Workflows())
    spec = next((item.spec for item in served.items if item.spec.workflow_type == run.workflow_type), None)
    if spec is None:
        return None, served.problems
    return [handler for handler in spec.handlers if handler.kind == "event"], []
