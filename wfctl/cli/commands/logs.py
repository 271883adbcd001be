"""`wfctl logs`: the daemon's own log, read from its file, so that it can be read when the daemon is down."""

import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import dropwhile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.project import log_file
from wfctl.cli.reader import end_with_reader
from wfctl.cli.render.text import clean
from wfctl.cli.shell import Shell, now_ms, shell_of
from wfctl.client.faults import stopping
from wfctl.errors import DaemonDownError, DeniedError, NotFoundError, WfctlError
from wfctl.protocol.daemon import GetStatus, StatusView
from wfctl.values.times import parse_instant, rfc3339

if TYPE_CHECKING:
    from wfctl.client.blocking import Connection

EXAMPLES = """
  wfctl logs --since 15m
  wfctl logs -f
  wfctl logs -n 500 | grep generation
"""
TAKES = ("follow",)
LAST_LINES = 100
POLL_S = 0.2
# So often it is looked whether a daemon is there that was not.
LOOK_S = 0.5
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_CHUNK_BYTES = 1 << 16


def run(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what is written from now on.")] = False,
    lines: Annotated[
        int | None,
        typer.Option("-n", "--lines", "--tail", metavar="N", min=0, help="Begin with the last N lines (100)."),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="15m|TIME", help="Begin with what was written since then.")
    ] = None,
) -> int:
    """Show the daemon's log.

    For what a run's own handlers log: wfctl tail. The log is a file and can be read whether a daemon runs or not; -f gives up when
    none has run for a while.
    """
    shell = shell_of(ctx)
    begin = None if since is None else parse_instant(since, now_ms())
    if lines is None and begin is None:
        lines = LAST_LINES
    if follow:
        shell.without_end("wfctl logs -f -o jsonl")
    path, running = _place(shell)
    if shell.output is Output.ID:
        shell.out.write(str(path))
        return exit.OK
    try:
        _show(shell, path, lines, begin, follow)
    except FileNotFoundError:
        raise _no_log(path, running) from None
    except PermissionError:
        raise DeniedError(f"no permission to read {path}", hint="read it as the user who started the daemon") from None
    return exit.OK


def _place(shell: Shell) -> tuple[Path, bool]:
    """The log's file, and whether a daemon was found that writes it. It is asked where there is no file alone: it may have
    been started with another state folder than wfctl.toml names by now."""
    path = log_file(shell.state)
    if path.exists():
        return path, False
    try:
        connection = shell.dial()
    except WfctlError:
        return path, False
    connection.close()
    welcome = connection.welcome
    if welcome is not None and welcome.state and welcome.project == str(shell.config.parent):
        path = log_file(Path(welcome.state))
    return path, True


def _no_log(path: Path, running: bool) -> NotFoundError:
    if not running:
        return NotFoundError(f"there is no log yet: {path} does not exist", hint="wfctl up", path=str(path))
    what = f"{path} was moved or deleted, and is there again with the next line that the daemon has to log"
    return NotFoundError(f"there is no log at the moment: {what}", hint="wfctl status", path=str(path))


def _show(shell: Shell, path: Path, lines: int | None, begin: int | None, follow: bool) -> None:
    with ExitStack() as stack:
        files = [stack.enter_context(one.open("rb")) for one in [*([] if begin is None else _older(path, begin)), path]]
        written = (line.decode("utf-8", "replace").rstrip("\n") for file in files for line in file)
        total, last = 0, deque[str](maxlen=lines)
        for line in written if begin is None else _since(written, begin):
            total += 1
            last.append(line)
        position = files[-1].tell()
    if shell.output is Output.JSON:
        shell.listing("logs", [_data(line) for line in last], total=total)
        return
    for line in last:
        _print(shell, line)
    shell.out.flush()
    if follow:
        end_with_reader(shell.out)
        with Presence(shell) as presence:
            for line in _appended(path, position, presence.pause):
                _print(shell, line)
                shell.out.flush()


def _older(path: Path, begin_ms: int) -> list[Path]:
    """The files that the log was before it was last rotated, oldest first, as far as they were written to since then."""
    numbered = {int(one.suffix[1:]): one for one in path.parent.glob(f"{path.name}.*") if one.suffix[1:].isdecimal()}
    return [numbered[number] for number in sorted(numbered, reverse=True) if _written(numbered[number]) >= begin_ms]


def _written(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns // 1_000_000
    except FileNotFoundError:
        return 0  # rotated away this very moment


def _since(lines: Iterable[str], begin_ms: int) -> Iterator[str]:
    """From the first line that was written at or after that time; a line without a time belongs to the one before."""
    bound = rfc3339(begin_ms)
    return dropwhile(lambda line: _TIME.match(line) is None or line[: len(bound)] < bound, lines)


def _print(shell: Shell, line: str) -> None:
    if shell.json:
        shell.json_line(_data(line))
    else:
        shell.out.write(clean(line) if shell.out.tty else line)


def _data(line: str) -> object:
    """A line that is JSON is passed on as that; any other is the one field of an object."""
    if line.startswith("{"):
        try:
            return msgspec.Raw(msgspec.json.encode(msgspec.json.decode(line)))
        except msgspec.DecodeError:
            pass
    return {"line": line}


def _appended(path: Path, position: int, pause: Callable[[], None]) -> Iterator[str]:
    """Lines as they are written, for ever; a file that was rotated or cut is read from its start. `pause` waits before it is looked
    at again."""
    rest = b""
    inode = os.stat(path).st_ino
    while True:
        try:
            now = os.stat(path)
            if now.st_ino != inode or now.st_size < position:
                inode, position, rest = now.st_ino, 0, b""
            if now.st_size > position:
                with path.open("rb") as file:
                    file.seek(position)
                    while data := file.read(_CHUNK_BYTES):
                        position += len(data)
                        *complete, rest = (rest + data).split(b"\n")
                        for line in complete:
                            yield line.decode("utf-8", "replace")
        except FileNotFoundError:
            pass  # between a rotation's two steps, or deleted: it may come back
        pause()


class Presence:
    """Looks after the daemon whose log is followed: tells on stderr when it goes away and when it is back, and raises what stands
    in the way of it when it was away for --reconnect."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._patience_s = shell.patience_s
        self._gone_s: float | None = None
        self._why: WfctlError = stopping()
        self._looks_at = 0.0
        self._connection = self._dialed()
        if self._connection is None:
            down = isinstance(self._why, DaemonDownError)
            self._lost("no daemon runs" if down else f"the daemon cannot be asked ({self._why.code})")

    def __enter__(self) -> "Presence":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hang_up()

    def pause(self) -> None:
        """Wait a moment, and look."""
        if self._connection is not None:
            if self._connection.wait_closed(POLL_S):
                self._hang_up()
                # One that answers no more than a call has not come back.
                if self._gone_s is None:
                    self._lost("the daemon went away")
            return
        time.sleep(POLL_S)
        now = time.monotonic()
        if now < self._looks_at:
            return
        self._looks_at = now + LOOK_S
        self._connection = self._dialed()
        if self._connection is None or not self._is_back(self._connection):
            self._hang_up()
            if self._gone_s is not None and now - self._gone_s >= self._patience_s:
                raise self._why

    def _is_back(self, connection: "Connection") -> bool:
        try:
            status: StatusView = connection.call(GetStatus())
        except WfctlError as error:
            self._why = error
            return False
        if status.draining:
            return False
        self._gone_s = None
        self._note(f"the daemon is back; going on after revision {status.rev}")
        return True

    def _lost(self, what: str) -> None:
        self._gone_s = time.monotonic()
        self._note(f"{what}; waiting up to {self._patience_s:g} s for it")

    def _note(self, text: str) -> None:
        self._shell.out.flush()
        self._shell.note(text, always=True)

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _dialed(self) -> "Connection | None":
        try:
            return self._shell.dial()
        except WfctlError as error:
            self._why = error
            return None
