"""`wfctl workflows`: the types the daemon serves, their handlers and what those take."""

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.status import problem_lines
from wfctl.cli.render.workflows import described, workflow_lines, workflow_table
from wfctl.cli.shell import now_ms, shell_of
from wfctl.protocol.code import WorkflowList, Workflows, WorkflowView

EXAMPLES = """
  wfctl workflows
  wfctl workflows -o json
"""
TAKES = ("table", "times")


def run(ctx: typer.Context) -> int:
    """List workflow types.

    With the code that serves them, their handlers, what those take, where they are written, and what open runs miss."""
    shell = shell_of(ctx)
    shell.choose_fields(WorkflowView)
    answer: WorkflowList = shell.call(Workflows(shapes=shell.json))
    if shell.output is Output.JSON:
        shell.listing(
            "workflows",
            [described(item) for item in answer.items],
            total=len(answer.items),
            problems=answer.problems,
            unloaded=answer.unloaded,
        )
        return exit.OK
    if shell.output is Output.JSONL:
        for item in answer.items:
            shell.json_line(described(item))
    elif shell.output is Output.ID:
        shell.print_ids(item.spec.workflow_type for item in answer.items)
    elif shell.out.tty and shell.fields is None:
        shell.out.lines(workflow_lines(answer, shell.out.columns, now_ms()))
    else:
        shell.table(answer.items, lambda _: workflow_table(answer))
    for problem in answer.problems:
        if not shell.quiet:
            shell.err.prose(problem_lines(problem))
    return exit.OK
