"""`wfctl list`: runs, newest first; or how many there are."""

import time
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from wfctl.cli import exit
from wfctl.cli.options import Output, choose
from wfctl.cli.render.text import count
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.cli.types import check_types
from wfctl.cli.words import parse_statuses
from wfctl.errors import UsageError
from wfctl.protocol.lists import Count, Counted, List, RunPage
from wfctl.protocol.runs import RunView
from wfctl.values.times import parse_instant

if TYPE_CHECKING:
    from wfctl.cli.live import Region

EXAMPLES = """
  wfctl list
  wfctl list --status failed,stuck --since 1h
  wfctl list --type Order --status open -o id
  wfctl list --count --by type --status open
  wfctl list -w --status open
"""
TAKES = ("ids", "times", "table", "pager", "follow")
PAGE = 1_000
EVERY_MS = 500
TICK_S = 1.0


def run(
    ctx: typer.Context,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", metavar="STATUS", help="Only these: names, 'open' or 'closed'; repeatable."),
    ] = None,
    workflow_type: Annotated[
        list[str] | None, typer.Option("--type", metavar="TYPE", help="Only runs of this type; repeatable.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="15m|TIME", help="Only runs started since then.")
    ] = None,
    parent: Annotated[str | None, typer.Option("--parent", metavar="ID", help="Only children of this run.")] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="At most so many (100).")] = None,
    after: Annotated[
        str | None, typer.Option("--after", metavar="CURSOR", help="Go on where an earlier list ended.")
    ] = None,
    counted: Annotated[bool, typer.Option("--count", help="Count them instead.")] = False,
    by: Annotated[
        str | None, typer.Option("--by", metavar="status|type", help="With --count: of each what (status).")
    ] = None,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Redraw the list as runs change.")] = False,
) -> int:
    """List runs, newest first.

    Where each is, what it waits for and until when, which attempt of a task comes next, and why it failed or is stuck.
    """
    shell = shell_of(ctx)
    if counted and shell.settings.fields is not None:
        raise UsageError("--fields is of runs, and --count tells of none", hint="leave out one of them")
    shell.choose_fields(RunView)
    if not watch:
        shell.read_alone()
    call = List(
        statuses=parse_statuses(status or []),
        types=workflow_type or [],
        parent=None if parent is None else shell.run_id(parent),
        since_ms=None if since is None else parse_instant(since, now_ms()),
        after=after,
    )
    if by is not None and not counted:
        raise UsageError("--by says how to count, but nothing is counted", hint="add --count")
    if counted:
        if watch or limit is not None or after is not None:
            raise UsageError(
                "--count counts all that match: without --watch, --limit and --after", hint="wfctl list --help"
            )
        return _count(shell, call, choose(by or "status", ("status", "type"), "thing to count by (--by)"))
    if watch:
        return _watch(shell, call, limit)
    page = _collect(shell, call, limit or 100)
    check_types(shell, call.types, page.items)
    _show(shell, page)
    return exit.OK


def _show(shell: Shell, page: RunPage) -> None:
    if shell.output is Output.JSON:
        shell.listing("runs", page.items, next=page.next, total=page.total)
    elif shell.output is Output.JSONL:
        for item in page.items:
            shell.json_line(item)
    elif shell.output is Output.ID:
        shell.print_ids(item.run_id for item in page.items)
    else:
        _table(shell, page)
    if page.next is not None:
        total = "" if page.total is None else f" of {count(page.total, grouped=shell.err.tty)}"
        shell.total(f"{len(page.items)}{total}, more: --after {page.next}, or a higher --limit")


def _collect(shell: Shell, call: List, limit: int) -> RunPage:
    """Up to `limit` runs, page by page: one answer stays small however many are asked for."""
    items: list[RunView] = []
    total: int | None = None
    after = call.after
    while True:
        page: RunPage = shell.call(msgspec.structs.replace(call, limit=min(limit - len(items), PAGE), after=after))
        items += page.items
        total = page.total if total is None else total
        after = page.next
        if after is None or len(items) >= limit or not page.items:
            return RunPage(items=items, next=after, total=total)


def _table(shell: Shell, page: RunPage) -> None:
    if not page.items and shell.out.tty:
        shell.note("no runs")
        return
    from wfctl.cli.render.runs import runs_table

    with shell.paged():
        shell.table(page.items, lambda width: runs_table(page.items, now_ms(), width=width, ascii=shell.out.ascii))


def _count(shell: Shell, call: List, by: str) -> int:
    answer: Counted = shell.call(
        Count(by=by, statuses=call.statuses, types=call.types, parent=call.parent, since_ms=call.since_ms)
    )
    if not answer.total or len(call.types) > 1:
        check_types(shell, call.types)
    if shell.output is Output.JSON:
        shell.document("count", answer)
    elif shell.output is Output.JSONL:
        for name, number in answer.counts.items():
            shell.json_line({by: name, "count": number})
    elif shell.output is Output.ID:
        shell.print_ids(answer.counts)
    else:
        from wfctl.cli.render.runs import counts_table

        shell.table([], lambda width: counts_table(answer, width=width, ascii=shell.out.ascii))
        shell.out.flush()
        shell.note(f"{count(answer.total, grouped=shell.err.tty)} in all")
    return exit.OK


# -- watching ------------------------------------------------------------------------------------


def _watch(shell: Shell, call: List, limit: int | None) -> int:
    """The newest runs that fit on the screen, again and again, until Ctrl-C."""
    if shell.output is not Output.TABLE or not shell.out.live:
        raise UsageError("a list is watched on a terminal, as a table", hint="wfctl tail -f -o jsonl")
    from wfctl.cli.live import Region

    check_types(shell, call.types)
    with Region(shell.out) as region:
        watcher = Watcher(shell, region, call, limit)
        return shell.persist(watcher.attempt, rev=lambda: watcher.rev)


class Watcher:
    """A list that is redrawn. It outlives connections; `rev` is the last revision that was shown."""

    def __init__(self, shell: Shell, region: "Region", call: List, limit: int | None) -> None:
        self._shell = shell
        self._region = region
        self._call = call
        self._limit = limit
        self.rev: int | None = None

    def attempt(self) -> int:
        from wfctl.cli.live import closed
        from wfctl.protocol.streams import Watch

        shell, call = self._shell, self._call
        self._region.settle()
        connection, beside = shell.connect(), shell.dial()
        with beside:
            stream = beside.stream(Watch(id=call.parent, every_ms=EVERY_MS))
            fresh = over = False
            while True:
                if not fresh:
                    room = max(shell.out.rows - 3, 1)
                    wanted = room if self._limit is None else min(self._limit, room)
                    page: RunPage = connection.call(msgspec.structs.replace(call, limit=wanted))
                    fetched, now = time.monotonic(), now_ms()
                _draw(shell, self._region, page, now + int((time.monotonic() - fetched) * 1_000))
                if over:
                    return exit.OK
                notice = stream.poll(TICK_S if any(item.status.open for item in page.items) else None)
                if notice is not None:
                    self.rev = notice.rev
                over = stream.ended
                fresh = notice is None and not over
                if over:
                    # The parent whose children are listed has closed: how they stand then is shown. Else the daemon stops.
                    closed(stream)


def _draw(shell: Shell, region: "Region", page: RunPage, at_ms: int) -> None:
    from wfctl.cli.render.runs import runs_table

    # Asked once: the terminal may have another size in a moment.
    width = shell.out.columns
    rows = shell.table_lines(
        page.items, lambda _: runs_table(page.items, at_ms, width=width, ascii=shell.out.ascii), width
    )
    total = f"{len(page.items)} of {count(page.total or 0, grouped=True)}, newest first; Ctrl-C ends"
    region.draw([*rows, [(total[: width - 1], "dim")]], width)
