"""Starting and stopping the daemon from outside: the child, its readiness pipe, and the wait until it is really gone.

`wfd` is only ever executed, never imported. It writes one line to the pipe, `{"ready": ...}` or `{"error": ...}`; a pipe
that ends without one means that it died, and then its stderr says why.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Any, NoReturn

import msgspec

from wfctl.cli.holder import ENDED, not_stopped, process_state
from wfctl.cli.project import log_file, stderr_file
from wfctl.cli.shell import Shell
from wfctl.errors import DaemonAlreadyRunningError, DaemonDownError, ErrorData, NotFinishedError, WfctlError, from_data
from wfctl.protocol.daemon import Down, GetStatus, ProblemView, StatusView
from wfctl.values.times import rfc3339

STOP_GRACE_S = 5.0
POLL_S = 0.02


class Ready(msgspec.Struct):
    """What the daemon says when it accepts. `new_database` is one that it has just made; `former_state` the folder that has the
    project's database of before, where that is another one."""

    pid: int
    socket: str = ""
    problems: list[ProblemView] = []
    new_database: str | None = None
    former_state: str | None = None


class Said(msgspec.Struct):
    """The one line on the readiness pipe."""

    ready: Ready | None = None
    error: ErrorData | None = None


def command(config: Path) -> list[str]:
    # -P: a file of the project that is named like a module of Python's must not be imported by the daemon.
    return [sys.executable, "-P", "-m", "wfd", "--project", str(config)]


def foreground(shell: Shell) -> NoReturn:
    """Become the daemon."""
    arguments = command(shell.config)
    shell.out.flush()
    shell.err.flush()
    os.chdir(shell.config.parent)
    os.execv(arguments[0], arguments)


def probe(shell: Shell) -> StatusView | None:
    """The running daemon's status; None when there is none."""
    try:
        view: StatusView = shell.call(GetStatus())
    except DaemonDownError:
        shell.hang_up()
        return None
    return view


def launch(shell: Shell, timeout_ms: int) -> Ready | None:
    """Start a daemon in the background and wait until it accepts; None when another came first.

    Its first error is raised as its own class.
    """
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb", buffering=0) as pipe, _open_stderr(shell.state) as errors:
        begin = errors.tell()
        child = None
        try:
            child = subprocess.Popen(
                [*command(shell.config), "--ready-fd", str(writer)],
                cwd=shell.config.parent,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=(writer,),
                start_new_session=True,
            )
            os.close(writer)
            line = _read_line(pipe, time.monotonic() + timeout_ms / 1_000)
        except BaseException as cause:
            if child is None:
                os.close(writer)
                raise
            _end(child)
            if isinstance(cause, TimeoutError):
                raise NotFinishedError(
                    f"the daemon (pid {child.pid}) was not ready within {timeout_ms / 1_000:g} s and was stopped",
                    hint="wfctl logs",
                    pid=child.pid,
                ) from None
            raise
        said = _decode(line)
        if said.ready is not None:
            # It outlives this command on purpose.
            child.returncode = 0
            return said.ready
        child.wait()
        if said.error is None:
            raise _died(shell, child.returncode, _tail(errors, begin))
    error = from_data(said.error)
    if isinstance(error, DaemonAlreadyRunningError):
        try:
            shell.call(GetStatus())
            return None
        except DaemonDownError as down:
            shell.hang_up()
            told = shell.held(down)
        if "pid" in told.detail:
            error.hint = told.hint  # what it advises would only say that again
    raise error


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(STOP_GRACE_S)
    except BaseException as cause:  # interrupted once more, it leaves nothing half begun either
        child.kill()
        child.wait()
        if not isinstance(cause, subprocess.TimeoutExpired):
            raise


def _open_stderr(state: Path) -> IO[bytes]:
    """The file for a background daemon's stderr; nameless where the state folder cannot be written, which the daemon will tell."""
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = stderr_file(state).open("ab+")
    except OSError:
        import tempfile

        return tempfile.TemporaryFile()
    file.seek(0, os.SEEK_END)
    return file


def _read_line(pipe: IO[bytes], deadline: float) -> bytes:
    """All that is written until the line or the pipe ends. TimeoutError at `deadline`."""
    data = b""
    while b"\n" not in data:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([pipe], [], [], left)[0]:
            raise TimeoutError
        chunk = pipe.read(1 << 16)
        if not chunk:
            break
        data += chunk
    return data


def _decode(line: bytes) -> Said:
    try:
        return msgspec.json.decode(line, type=Said) if line.strip() else Said()
    except msgspec.MsgspecError:
        return Said()


def _tail(errors: IO[bytes], begin: int) -> list[str]:
    errors.seek(begin)
    return [line for line in errors.read().decode("utf-8", "replace").splitlines() if line.strip()]


def _died(shell: Shell, status: int, said: list[str]) -> WfctlError:
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"
    why = f"\n{said[-1].strip()}" if said else f"\nit said nothing; its log is {log_file(shell.state)}"
    for line in said[:-1]:
        shell.note(f"  | {line}")
    return WfctlError(f"the daemon {how} before it was ready{why}", hint="wfctl logs", status=status, stderr=said[-20:])


def stop(shell: Shell, timeout_ms: int) -> StatusView | None:
    """Ask the daemon to stop and wait until it is gone; its last status, or None when none ran.

    Running steps get `timeout_ms` to finish. Gone means: its process has ended, and its socket takes no connection. Raises
    DaemonDownError where one has the project's state and cannot be asked.
    """
    view = _to_stop(shell)
    if view is None:
        return None
    connection = shell.connect()
    deadline = time.monotonic() + timeout_ms / 1_000 + STOP_GRACE_S
    try:
        connection.call(Down(drain_ms=timeout_ms), timeout_s=timeout_ms / 1_000 + STOP_GRACE_S)
    except DaemonDownError as error:
        if not error.detail.get("dropped"):
            raise
    connection.wait_closed(max(deadline - time.monotonic(), 0.1))
    shell.hang_up()
    while process_state(view.pid) != ENDED or _accepts(shell):
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_S)
    else:
        return view
    raise NotFinishedError(
        f"the daemon (pid {view.pid}) did not stop within {timeout_ms / 1_000 + STOP_GRACE_S:g} s",
        hint=f"kill {view.pid}",
        pid=view.pid,
    )


def _to_stop(shell: Shell) -> StatusView | None:
    """The status of the daemon that is to be stopped. One that comes up or goes away at this moment is waited for."""
    end = time.monotonic() + STOP_GRACE_S
    while True:
        try:
            view: StatusView = shell.call(GetStatus())
            return view
        except DaemonDownError as error:
            shell.hang_up()
            down = shell.held(error)
        if "pid" not in down.detail:
            return None
        if down.detail.keys() & {"listens_at", "held_for"} or time.monotonic() >= end:
            raise not_stopped(down)
        time.sleep(POLL_S)


def _accepts(shell: Shell) -> bool:
    try:
        shell.dial().close()
    except DaemonDownError:
        return False
    return True


def describe(view: StatusView) -> dict[str, Any]:
    """The facts of a running daemon that `up` tells in JSON."""
    return {"pid": view.pid, "socket": view.socket, "started_at": rfc3339(view.started_at), "problems": view.problems}
