"""Commands as processes of their own, forked from one that has everything imported.

Starting Python and importing is most of what a command costs, and a test runs many. Each has its own arguments, environment,
folder and streams, and nothing of wfctl looks at those while it is imported.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Read by the interpreter itself when it starts: a process that was forked has those of its parent.
_AT_START = ("LANG", "LC_ALL", "LC_CTYPE", "PYTHON")


def run(
    words: tuple[str, ...], folder: Path, environment: Mapping[str, str], given: str | None, timeout: float
) -> subprocess.CompletedProcess[str]:
    """What `wfctl WORDS` did."""
    if _at_start(environment) != _at_start(os.environ):
        return subprocess.run(
            [sys.executable, "-m", "wfctl.cli.main", *words], cwd=folder, env=environment, input=given,
            capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        stdin.write((given or "").encode())
        stdin.seek(0)
        server = _server(os.getpid())
        request = {"words": words, "cwd": str(folder), "env": dict(environment)}
        socket.send_fds(
            server, [b"%08d" % len(text := json.dumps(request).encode())], [f.fileno() for f in (stdin, out, err)]
        )
        server.sendall(text)
        pid = int(_exactly(server, 8))
        server.settimeout(timeout)
        try:
            code = int(_exactly(server, 8))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            server.settimeout(None)
            _exactly(server, 8)
            raise subprocess.TimeoutExpired(words, timeout) from None
        finally:
            server.settimeout(None)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, code, out.read().decode(), err.read().decode())


def _at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_AT_START)}


@functools.cache
def _server(owner: int) -> socket.socket:
    """The end of the process that forks, one for each process that asks."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=(theirs.fileno(),), start_new_session=True
        )

    def end() -> None:
        if os.getpid() == owner:
            ours.close()
            process.wait()

    atexit.register(end)
    return ours


def _exactly(end: socket.socket, size: int) -> bytes:
    got = b""
    while len(got) < size:
        more = end.recv(size - len(got))
        if not more:
            raise EOFError
        got += more
    return got


# -- the process that forks ----------------------------------------------------------------------


def _serve(end: socket.socket) -> None:
    while True:
        size, fds, _, _ = socket.recv_fds(end, 8, 3)
        if not size:
            return
        request = json.loads(_exactly(end, int(size)))
        pid = os.fork()
        if pid == 0:
            end.close()
            _command(fds, **request)
        for fd in fds:
            os.close(fd)
        end.sendall(b"%08d" % pid)
        _, status = os.waitpid(pid, 0)
        end.sendall(b"%8d" % os.waitstatus_to_exitcode(status))


def _command(fds: list[int], words: list[str], cwd: str, env: dict[str, str]) -> None:
    code: Any = 1
    try:
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
            os.close(fd)
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = ["wfctl", *words]
        sys.path[0] = cwd
        code = 0
        runpy.run_module("wfctl.cli.main", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    import wfctl.cli.app
    import wfctl.cli.commands

    for module in pkgutil.iter_modules(wfctl.cli.commands.__path__):
        importlib.import_module(f"wfctl.cli.commands.{module.name}")

    _serve(socket.socket(fileno=int(sys.argv[1])))
