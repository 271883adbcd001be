"""Commands and daemons as processes of their own, forked from one that has everything imported.

Starting Python and importing is most of what a command costs, and of the start of a daemon; a test runs many. Each has its own
arguments, environment, folder and streams, and nothing of wfctl looks at those while it is imported.
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
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
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
        server = _server(os.getpid(), "commands")
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


def daemon(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], errors: int, ready: int
) -> Daemon | subprocess.Popen[bytes]:
    """That daemon; one that starts an interpreter where its environment asks for what only this can give it."""
    settings = environment.get("WFCTL_TEST_SETTINGS")  # constants that others have copied once they are imported
    if settings or _at_start(environment, "PYTHONPATH") != _at_start(os.environ, "PYTHONPATH"):
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "wfd", *arguments, "--ready-fd", str(ready)], cwd=folder, env=environment,
            pass_fds=(ready,), start_new_session=True, stdin=subprocess.DEVNULL, stdout=errors, stderr=errors,
        )  # fmt: skip
    return Daemon(arguments, folder, environment, errors, ready)


class Daemon:
    """`wfd ARGUMENTS` in the background, in a session of its own; like a Popen, for what tests do with one.

    `errors` gets its stdout and stderr, `ready` what it says when it is ready.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], errors: int, ready: int
    ) -> None:
        self.returncode: int | None = None
        self._keeper, theirs = socket.socketpair()
        request = {"words": list(arguments), "cwd": str(folder), "env": dict(environment), "ready": ready}
        with theirs:
            server = _server(os.getpid(), "daemons")
            text = json.dumps(request).encode()
            socket.send_fds(server, [b"%08d" % len(text)], [errors, ready, theirs.fileno()])
            server.sendall(text)
        self.pid = int(_exactly(self._keeper, 8))

    def poll(self) -> int | None:
        """How it ended; None while it has not."""
        if self.returncode is None and select.select([self._keeper], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._keeper.settimeout(timeout)
            try:
                self.returncode = int(_exactly(self._keeper, 8))
            except TimeoutError:
                raise subprocess.TimeoutExpired("wfd", timeout or 0) from None
            self._keeper.close()
        return self.returncode

    def kill(self) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


def _at_start(environment: Mapping[str, str], apart_from: str = "") -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_AT_START) and name != apart_from}


@functools.cache
def _server(owner: int, what: str) -> socket.socket:
    """The end of the process that forks `what`, one for each process that asks."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, what, str(theirs.fileno())], pass_fds=(theirs.fileno(),), start_new_session=True
        )  # fmt: skip

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


def _serve_commands(end: socket.socket) -> None:
    """One after the other."""
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
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    sys.path[0] = cwd
    _become("wfctl.cli.main", ["wfctl", *words], cwd, env)


def _serve_daemons(end: socket.socket) -> None:
    """Beside each other, each with a process that waits for its end."""
    while True:
        size, fds, _, _ = socket.recv_fds(end, 8, 3)
        if not size:
            return
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        request = json.loads(_exactly(end, int(size)))
        if os.fork() == 0:
            end.close()
            _keep(fds, **request)
        for fd in fds:
            os.close(fd)


def _keep(fds: list[int], words: list[str], cwd: str, env: dict[str, str], ready: int) -> None:
    errors, pipe, asked = fds
    pid = os.fork()
    if pid == 0:
        os.close(asked)
        _daemon(errors, pipe, words, cwd, env)
    os.close(pipe)
    os.close(errors)
    with contextlib.suppress(OSError):  # who asked has gone
        os.write(asked, b"%08d" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(asked, b"%8d" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def _daemon(errors: int, ready: int, words: list[str], cwd: str, env: dict[str, str]) -> None:
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, fd in enumerate((nothing, errors, errors)):
        os.dup2(fd, number)
    os.close(nothing)
    os.close(errors)
    # What an interpreter that starts takes from its command line and its environment.
    sys.orig_argv = [sys.executable, "-P", "-m", "wfd", *words]
    sys.path[0:1] = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path]
    os.environ.update(env)
    sys.modules.pop("sitecustomize", None)
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("sitecustomize")
    _become("wfd", ["wfd", *words, "--ready-fd", str(ready)], cwd, env)


def _become(module: str, argv: list[str], cwd: str, env: dict[str, str]) -> None:
    """Run it as `python -m` does, and end as it does."""
    code: Any = 1
    try:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        sys.argv = argv
        code = 0
        runpy.run_module(module, run_name="__main__", alter_sys=True)
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


def _import_commands() -> None:
    import wfctl.cli.app
    import wfctl.cli.commands

    for module in pkgutil.iter_modules(wfctl.cli.commands.__path__):
        importlib.import_module(f"wfctl.cli.commands.{module.name}")


if __name__ == "__main__":
    _end = socket.socket(fileno=int(sys.argv[2]))
    if sys.argv[1] == "daemons":
        importlib.import_module("wfd.app")
        _serve_daemons(_end)
    else:
        _import_commands()
        _serve_commands(_end)
