"""A real worker process on a real socketpair; the test plays the daemon, blocking."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from support import leftovers
from wfctl.protocol.channel import GiveBack, Load, Loaded, OpRecord, RunStep, ToWorker, Trial, to_daemon_frames
from wfctl.protocol.frames import pack
from wfctl.values.runinfo import RunInfo, encode

leftovers.watch()


def run_step(
    token: int, kind: str, handler: str, kwargs: Any = None, *, ops: Sequence[OpRecord] = (), **options: Any
) -> RunStep:
    run = RunInfo("RUN-1", "one", options.pop("workflow_type", "Order"))
    body = msgspec.json.encode(kwargs or {})
    return RunStep(
        token, run.workflow_type, encode(run), kind, handler, body, options.pop("store", {}), list(ops), **options
    )


class WorkerProcess:
    """Use as a context manager. `stderr()` may be asked once the process has ended."""

    def __init__(self, project: Path, errors: Path, *, beside: bool = False) -> None:
        self._mine, theirs = socket.socketpair()
        self._beside, theirs_beside = socket.socketpair()
        for one in (self._mine, self._beside):
            one.settimeout(20)
        more = ["--beside", str(theirs_beside.fileno())] if beside else []
        self._errors = errors
        self.project = project
        with errors.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "wfd.worker", "--fd", str(theirs.fileno()), *more],
                pass_fds=[theirs.fileno(), theirs_beside.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=project,
            )
        theirs.close()
        theirs_beside.close()
        self._frames = to_daemon_frames()
        self._come: deque[Any] = deque()

    def __enter__(self) -> WorkerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._mine.close()
        self._beside.close()
        self.process.kill()
        self.process.wait()

    def send(self, *messages: ToWorker) -> None:
        self._mine.sendall(b"".join(pack(message) for message in messages))

    def ask_back(self, steps: list[tuple[int, int]]) -> list[Any]:
        """What the worker gives back of these steps, by number and token: the first that it says of that."""
        self._beside.sendall(pack(GiveBack(steps=steps)))
        return to_daemon_frames().feed(self._beside.recv(1 << 16))

    def send_bytes(self, data: bytes) -> None:
        self._mine.sendall(data)

    def hang_up(self) -> None:
        self._mine.close()

    def receive(self, kind: Any = object) -> Any:
        """The next message of `kind`; others are passed over. EOFError when the worker has gone."""
        while True:
            while not self._come:
                data = self._mine.recv(1 << 16)
                if not data:
                    raise EOFError("the worker has closed its end")
                self._come.extend(self._frames.feed(data))
            message = self._come.popleft()
            if isinstance(message, kind):
                return message

    def load(self, *modules: str, path: tuple[str, ...] = (".",), trial: bool = False) -> Loaded:
        first = Trial if trial else Load
        self.send(first(str(self.project), list(modules), list(path), 1))
        loaded: Loaded = self.receive(Loaded)
        return loaded

    def step(self, token: int, kind: str, handler: str, kwargs: Any = None, **options: Any) -> None:
        self.send(run_step(token, kind, handler, kwargs, **options))

    def wait(self) -> int:
        return self.process.wait(20)

    def stderr(self) -> str:
        return self._errors.read_text()
