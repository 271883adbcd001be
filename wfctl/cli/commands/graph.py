"""`wfctl graph`: the handlers of a workflow type, and what leads from one to another."""

from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.graph import graph_lines, graph_of, mermaid
from wfctl.cli.shell import shell_of
from wfctl.cli.svgfile import begin, save
from wfctl.cli.types import served_type
from wfctl.errors import UsageError

EXAMPLES = """
  wfctl graph Order
  wfctl graph Order --mermaid
  wfctl graph Order --svg order.svg
"""


def run(
    ctx: typer.Context,
    workflow_type: Annotated[str, typer.Argument(metavar="TYPE", help="Workflow type, as 'wfctl workflows' lists it.")],
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="As a Mermaid flowchart.")] = False,
    svg: Annotated[
        str | None, typer.Option("--svg", metavar="FILE", help="Write the picture into FILE instead; - is stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE when it exists.")] = False,
    ascii: Annotated[bool, typer.Option("--ascii", help="ASCII characters only.")] = False,
) -> int:
    """Show how the handlers of a workflow type lead to one another.

    Found in the source of the code that serves. What it does not tell (a step whose name comes from elsewhere, a context that is
    handed to code that cannot be followed) is shown as unknown, with the line.
    """
    shell = shell_of(ctx)
    begin(shell, svg, force=force)
    if as_mermaid and (svg is not None or shell.output is not Output.TABLE):
        raise UsageError("--mermaid is a format of its own: without --svg and --output", hint="wfctl graph --help")
    graph = graph_of(served_type(shell, workflow_type))
    if svg is not None:
        from wfctl.cli.render.graphsvg import graph_svg

        return save(shell, svg, graph_svg(graph), force=force, id=graph.workflow_type)
    if as_mermaid:
        shell.out.write(mermaid(graph))
    elif shell.output is Output.JSON:
        shell.document("graph", graph)
    elif shell.output is Output.JSONL:
        for edge in graph.edges:
            shell.json_line(edge)
    elif shell.output is Output.ID:
        shell.print_ids(node.id for node in graph.nodes)
    else:
        width = shell.out.columns if shell.out.tty else None
        shell.out.lines(graph_lines(graph, width=width, ascii=ascii or shell.out.ascii))
    if not graph.complete:
        shell.out.flush()
        shell.note("what is marked with ? is not told by the source")
    return exit.OK
