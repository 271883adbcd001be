"""`wfctl timeline`: where the time of a run went, as bars."""

from itertools import chain
from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.pages import history_pages
from wfctl.cli.render.barrows import rows
from wfctl.cli.render.bars import Bar, timeline
from wfctl.cli.shell import now_ms, shell_of
from wfctl.cli.svgfile import begin, save
from wfctl.values.commands import command

EXAMPLES = """
  wfctl timeline order-1
  wfctl timeline order-1 --svg order-1.svg
  wfctl timeline @last -o json
"""
TAKES = ("ids", "times", "table")


def run(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(metavar="ID", help="Workflow ID, run ID, a unique prefix, or @last.")],
    svg: Annotated[
        str | None, typer.Option("--svg", metavar="FILE", help="Write the picture into FILE instead; - is stdout.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE when it exists.")] = False,
    group_at: Annotated[
        int, typer.Option("--group-at", metavar="N", min=0, help="More than N of one name are one row; 0 never groups.")
    ] = 8,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=0, help="Under a group at most N of those that went wrong.")
    ] = 3,
    ascii: Annotated[bool, typer.Option("--ascii", help="ASCII characters only.")] = False,
) -> int:
    """Show where the time of a run went.

    A bar for each step, wait, delay, task, sleep and child: full while it worked, light while it waited. Below them how
    long the run was at what. What goes on still ends in an arrow.
    """
    shell = shell_of(ctx)
    begin(shell, svg, force=force)
    shell.choose_fields(Bar)
    pages = history_pages(shell, shell.run_id(id))
    first = next(pages)
    shown = timeline((entry for page in chain((first,), pages) for entry in page.items), now_ms())
    if svg is not None:
        from wfctl.cli.render.timelinesvg import timeline_svg

        drawn = timeline_svg(first.run, shown, rows(shown.bars, group_at=group_at, sample=sample))
        return save(shell, svg, drawn, force=force, id=first.run.run_id)
    if shell.output is Output.ID:
        shell.out.write(first.run.run_id)
    elif shell.output is Output.JSON:
        shell.document("timeline", shown, bars=shell.pick(shown.bars), run=first.run)
    elif shell.output is Output.JSONL:
        for bar in shown.bars:
            shell.json_line(bar)
    elif shell.out.tty and shell.fields is None:
        from wfctl.cli.render.timeline import timeline_lines

        folded = rows(shown.bars, group_at=group_at, sample=sample)
        width, plain = shell.out.columns, ascii or shell.out.ascii
        shell.out.lines(timeline_lines(first.run, shown, folded, width=width, ascii=plain))
        children = [bar.id for bar in shown.bars if bar.id is not None]
        if children:
            shell.out.flush()
            shell.note(f"inside a child: {command('timeline', children[0])}")
    else:
        from wfctl.cli.render.timeline import timeline_table

        shell.table(shown.bars, lambda _: timeline_table(shown))
    return exit.OK
