"""`wfctl query`: ask a run's query handler, or list those it has."""

import difflib
import time
from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.inputs import parse_inputs
from wfctl.cli.options import Output
from wfctl.cli.render.runs import result_text
from wfctl.cli.render.workflows import query_lines, query_table
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import DaemonDownError, NotFinishedError, UnknownQueryError, UnknownWorkflowTypeError, UsageError
from wfctl.protocol.code import WorkflowList, Workflows
from wfctl.protocol.runs import Outcome, Query, QueryAnswer, Result
from wfctl.values.commands import command
from wfctl.values.signature import HandlerSpec
from wfctl.values.times import parse_duration

EXAMPLES = """
  wfctl query order-1
  wfctl query order-1 total
  wfctl query order-1 total currency=EUR rounded:=true
  wfctl query @last total -o json
"""
_ANSWER = ("run_id", "workflow_id", "name", "value")
TAKES = ("ids", "table")


def run(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Workflow ID, run ID, a unique prefix, or @last.")],
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Query to ask; without it the run's queries are listed.")
    ] = None,
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE|KEY:=JSON|KEY=@FILE]...", help="Arguments by name.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("-i", "--input", metavar="JSON|@FILE|-", help="Arguments as JSON; key=value wins over it."),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", metavar="2s", help="Wait at most so long, then exit 14.")
    ] = None,
) -> int:
    """Ask a run's query handler and print its answer.

    Text is printed as it is, everything else as JSON. A query reads the run's store and changes nothing; runs that are
    closed answer too, and so do all where no daemon runs. Without NAME it lists the queries of the run's type.
    """
    shell = shell_of(ctx)
    shell.choose_fields(HandlerSpec if name is None else _ANSWER)
    shell.read_alone()
    target = shell.run_id(id)
    if name is None:
        if data is not None or timeout is not None:
            what = "-i gives a query its arguments" if data is not None else "--timeout is for the answer of a query"
            raise UsageError(f"{what}, but no query is named", hint=command("query", id))
        return _list(shell, target)
    given = parse_inputs(inputs or [], data)
    try:
        answer = _ask(shell, Query(id=target, name=name, input=given.data, text=given.text), timeout)
    except UnknownQueryError as error:
        error.hint = _remedy(id, name, error)
        raise
    except UnknownWorkflowTypeError as error:
        # Without its handler nobody can answer; what there is to answer from can be read all the same.
        told = f"{error.message}\nnobody can answer without it; the run's store can be shown as it was last committed"
        raise UnknownWorkflowTypeError(told, hint=command("show", id), **error.detail) from None
    facts = {"run_id": answer.run_id, "workflow_id": answer.workflow_id, "name": name, "value": answer.value}
    if shell.json:
        shell.one("query", facts)
    elif shell.fields is not None and shell.output is Output.TABLE:
        shell.table([facts], lambda _: [])
    elif shell.output is Output.ID:
        shell.out.write(answer.run_id)
    else:
        shell.out.write(result_text(answer.value, pretty=shell.out.tty))
    return exit.OK


def _ask(shell: Shell, call: Query, timeout: str | None) -> QueryAnswer:
    if timeout is None:
        answer: QueryAnswer = shell.call(call)
        return answer
    connection, timeout_s = shell.connect(), parse_duration(timeout) / 1_000
    began = time.monotonic()
    try:
        answer = connection.call(call, timeout_s=timeout_s)
    except (DaemonDownError, NotFinishedError):
        if time.monotonic() - began < timeout_s:
            raise
        raise NotFinishedError(
            f"query {call.name!r} of {call.id!r} did not answer within {timeout}",
            hint=command("query", call.id, call.name),
            query=call.name,
        ) from None
    return answer


def _remedy(id: str, name: str, error: UnknownQueryError) -> str | None:
    """What to type instead: the nearest query, or the list of them."""
    known = [str(one) for one in error.detail.get("known", ())]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if near:
        return command("query", id, near[0])
    return command("query", id) if known else error.hint


def _list(shell: Shell, id: str) -> int:
    run: Outcome = shell.call(Result(id=id, wait=False))
    answer: WorkflowList = shell.call(Workflows())
    kind = run.workflow_type
    spec = next((item.spec for item in answer.items if item.spec.workflow_type == kind), None)
    if spec is None:
        raise UnknownWorkflowTypeError(
            f"workflow type {kind!r} of run {run.workflow_id!r} is not loaded, so its queries are not known",
            # Which the daemon alone can list.
            hint="wfctl doctor" if shell.alone else "wfctl workflows",
            workflow_type=kind,
        )
    queries = [handler for handler in spec.handlers if handler.kind == "query"]
    if shell.output is Output.JSON:
        shell.listing("queries", queries, total=len(queries), workflow_type=kind)
    elif shell.output is Output.JSONL:
        for handler in queries:
            shell.json_line(handler)
    elif shell.output is Output.ID:
        shell.print_ids(handler.name for handler in queries)
    elif queries and shell.out.tty and shell.fields is None:
        shell.out.lines(query_lines(queries, shell.out.columns))
    elif queries:
        shell.table(queries, lambda _: query_table(spec, queries))
    if not queries:
        shell.note(f"workflow type {kind!r} has no queries")
    return exit.OK
