"""`wfctl status`, and bare `wfctl`: is the daemon there, and how are things."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.project import LastBackup, recall_backup
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import ConfigError, DaemonDownError, WfctlError
from wfctl.protocol.daemon import GetStatus, StatusView
from wfctl.values.status import OPEN

if TYPE_CHECKING:
    from wfctl.cli.live import Region
    from wfctl.protocol.code import WorkflowList

EXAMPLES = """
  wfctl status
  wfctl status -w
  wfctl status -q && echo up
  wfctl status -o json
"""
TAKES = ("times", "follow")
TICK_S = 1.0


def run(
    ctx: typer.Context,
    watch: Annotated[
        bool, typer.Option("-w", "--watch", help="Go on: redraw on a terminal, elsewhere a line a change.")
    ] = False,
) -> int:
    """Show the daemon and the runs by status.

    Exits with 3 when no daemon runs; with -q that is all it says.
    """
    shell = shell_of(ctx)
    if watch:
        _watch(shell)
    try:
        view: StatusView = shell.call(GetStatus())
    except DaemonDownError as error:
        return _down(shell, error)
    if shell.output is Output.ID:
        shell.out.write(str(view.pid))
    elif shell.json:
        shell.document("status", view, running=True, last_backup=_backup(view))
    elif not shell.quiet:
        from wfctl.cli.render.status import status_lines

        lacks = _lacks(shell, view)
        shell.out.prose(status_lines(view, _backup(view), lacks=lacks, person=shell.out.tty, ascii=shell.out.ascii))
    return exit.OK


def _lacks(shell: Shell, view: StatusView) -> bool:
    """Whether there are open runs that need what the loaded code does not have."""
    if not any(view.counts.get(status) for status in OPEN):
        return False
    from wfctl.protocol.code import Workflows

    try:
        served: WorkflowList = shell.call(Workflows())
    except WfctlError:
        return False  # status has other things to tell than that
    return bool(served.unloaded) or any(item.missing for item in served.items)


def _backup(view: StatusView) -> LastBackup | None:
    return recall_backup(Path(view.database).parent)


def _watch(shell: Shell) -> None:
    """For as long as somebody watches."""
    from wfctl.cli.live import Region, watch
    from wfctl.cli.reader import end_with_reader

    shell.without_end("wfctl status -w -o jsonl")
    if shell.output is Output.TABLE and shell.out.live:
        with Region(shell.out) as region:
            watch(shell, lambda: _draw(shell, region), begin=region.settle, tick_s=TICK_S)
    end_with_reader(shell.out)
    watch(shell, Told(shell).look)


def _draw(shell: Shell, region: "Region") -> None:
    from wfctl.cli.render.status import status_lines
    from wfctl.cli.render.text import clip

    view: StatusView = shell.call(GetStatus())
    columns = shell.out.columns
    lines = shell.out.broken(
        status_lines(view, _backup(view), lacks=_lacks(shell, view), person=True, ascii=shell.out.ascii)
    )
    # A line that the terminal wraps would be two rows, and the region counts on one.
    region.draw([clip(line, columns - 1) for line in lines[: max(shell.out.rows - 2, 3)]], columns)


class Told:
    """Off a terminal: what was told last, so that only what has changed is told again."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._last: object = None

    def look(self) -> None:
        shell = self._shell
        view: StatusView = shell.call(GetStatus())
        now: object = view.pid if shell.output is Output.ID else (view.counts, view.problems, view.generation)
        if now == self._last:
            return
        self._last = now
        if shell.output is Output.ID:
            shell.out.write(str(view.pid))
        elif shell.json:
            shell.document("status", view, running=True, last_backup=_backup(view))
        else:
            from wfctl.cli.render.status import counts_line
            from wfctl.cli.render.times import when

            # A line that stays says when it was, not how long ago that is.
            shell.out.line([(f"{when(view.now, view.now, relative=False)}  ", ""), *counts_line(view)])
        shell.out.flush()


def _down(shell: Shell, error: DaemonDownError) -> int:
    """No daemon is an answer too: a document on stdout for programs, an error for people, nothing for `-q`."""
    if shell.json:
        from wfctl.cli.render.problem import one_line

        try:
            backup = recall_backup(shell.state)
        except ConfigError:
            backup = None  # only a socket is known
        facts: dict[str, Any] = {
            "running": False,
            "project": shell.project_name or None,
            "socket": str(shell.socket),
            "stale": bool(error.detail.get("stale", False)),
            "pid": error.detail.get("pid"),
            "message": one_line(error.message),
            "hint": error.hint,
            "last_backup": backup,
        }
        shell.document("status", facts)
    elif not shell.quiet:
        raise error
    return exit.DOWN
