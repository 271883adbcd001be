"""`wfctl history`: everything that was recorded of runs."""

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from wfctl.cli.chapters import Asked, Chapter
from wfctl.cli.options import Output
from wfctl.cli.render.text import Line, clean, count
from wfctl.cli.several import Ids, Several
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.errors import UsageError
from wfctl.protocol.runs import HistoryEntry
from wfctl.values.commands import command
from wfctl.values.times import parse_instant

EXAMPLES = """
  wfctl history order-1
  wfctl history order-1 --logs --step charge
  wfctl history order-1 --reverse --limit 50
  wfctl history @last -o jsonl
"""
TAKES = ("ids", "times", "table", "pager")


def run(
    ctx: typer.Context,
    ids: Ids,
    logs: Annotated[bool, typer.Option("--logs", help="With the lines its handlers logged, in their place.")] = False,
    step: Annotated[
        str | None,
        typer.Option("--step", metavar="STEP", help="Only steps of this handler, or the step of this number."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="15m|TIME", help="Only what was recorded since then.")
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="Newest first.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many records (all).")
    ] = None,
    after: Annotated[
        int | None, typer.Option("--after", metavar="SEQ", min=0, help="Only records after this one.")
    ] = None,
    before: Annotated[
        int | None, typer.Option("--before", metavar="SEQ", min=1, help="Only records before this one.")
    ] = None,
) -> int:
    """Show the history of runs, and where their code changed.

    It ends with what is recorded now; wfctl tail -f goes on with what comes. What --limit leaves out is told on stderr, with the
    number to go on from. Of several runs, one that cannot be shown is told there too, and the exit code is 9.
    """
    shell = shell_of(ctx)
    shell.choose_fields(HistoryEntry)
    shell.read_alone()
    several = Several(shell, ids)
    if not several.one and (after is not None or before is not None):
        raise UsageError(
            "--after and --before are numbers in the history of one run, and several are named",
            hint="wfctl history ID --after N",
        )
    since_ms = None if since is None else parse_instant(since, now_ms())
    asked = Asked(logs, step, since_ms, reverse, limit, after or 0, before)
    _show(shell, several, asked)
    return several.code


def _show(shell: Shell, several: Several, asked: Asked) -> None:
    chapters = several.each(lambda id: Chapter(shell, id, asked))
    if shell.output is Output.ID:
        shell.print_ids(chapter.run.run_id for chapter in chapters)
    elif shell.output is Output.JSON:
        _document(shell, chapters, one=several.one)
    elif shell.output is Output.JSONL:
        for chapter in chapters:
            for entry in chapter.entries():
                shell.json_line(entry)
            _say_what_is_left(shell, chapter, one=several.one)
    elif shell.fields is not None:
        told = list(chapters)
        shell.table([entry for chapter in told for entry in chapter.entries()], lambda _: [])
        for chapter in told:
            _say_what_is_left(shell, chapter, one=several.one)
    else:
        with shell.paged():
            told = []
            for chapter in chapters:
                several.head(chapter.run.workflow_id)
                _print(shell, chapter)
                told.append(chapter)
        for chapter in told:
            _say_what_is_left(shell, chapter, one=several.one)


def _document(shell: Shell, chapters: Iterable[Chapter], *, one: bool) -> None:
    def item(chapter: Chapter) -> dict[str, Any]:
        items = shell.pick(list(chapter.entries()))
        return {"items": items, "next": chapter.next, "total": chapter.total, "run": chapter.run}

    found = [item(chapter) for chapter in chapters]
    if one:
        shell.document("history", found[0])
    else:
        shell.document("histories", {"items": found, "next": None, "total": len(found)})


def _say_what_is_left(shell: Shell, chapter: Chapter, *, one: bool) -> None:
    if chapter.next is not None:
        grouped = shell.err.tty
        total = "" if chapter.total is None else f" of {count(chapter.total, grouped=grouped)}"
        where = f"--{'before' if chapter.asked.reverse else 'after'} {chapter.next}"
        name = "" if one else f" of {clean(chapter.run.workflow_id)}"
        where = where if one else command("history", chapter.run.workflow_id, options=where)
        shell.total(f"{count(chapter.shown, grouped=grouped)}{total}{name}, more: {where}, or a higher --limit")


def _print(shell: Shell, chapter: Chapter) -> None:
    from wfctl.cli.render.history import Describer

    now = now_ms()
    width = shell.out.columns if shell.out.tty else None
    describer: Describer | None = None
    for page in chapter.pages():
        # What a line says may depend on the entries before it, so they are told in order and turned around last.
        if describer is None or chapter.asked.reverse:
            describer = Describer()
            for entry in chapter.before(page):
                describer.code_change(entry, width=width)
                describer.detail(entry)
        shown: list[list[Line]] = []
        for entry in page:
            change = describer.code_change(entry, width=width)
            shown += [[change]] if change is not None else []
            shown.append(describer.lines(entry, now, width=width))
        for lines in reversed(shown) if chapter.asked.reverse else shown:
            shell.out.lines(lines)
