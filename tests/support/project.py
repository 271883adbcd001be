"""A project in a folder of its own, run as people run it: real commands, a real daemon, real workers.

Tests that kill often start the daemon as their own child with `serve` and `end`, which costs no command line each time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from support import forked, leftovers
from support.waiting import wait_until

leftovers.watch()

WFCTL = [sys.executable, "-m", "wfctl.cli.main"]
SAMPLES = Path(__file__).parents[2] / "samples"


class Project:
    """`stop` ends every process it started. The socket stays inside the folder, so projects never meet.

    It has as few processes as it can: one worker, and no spare for a reload, where a test does not ask for more.
    """

    def __init__(
        self, folder: Path, modules: dict[str, str], *, daemon: str = "workers = 1", workflows: str = "reload = false"
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in modules.items():
            self.write(name, text)
        names = json.dumps(list(modules))
        config = f"[daemon]\n{daemon}\n[workflows]\nmodules = {names}\n{workflows}\n"
        self.write("wfctl.toml", config)
        self.socket = folder / "d.sock"
        self.database = folder / ".wfctl" / "wfctl.db"
        self.daemon: subprocess.Popen[bytes] | forked.Daemon | None = None
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WFCTL_")},
            "WFCTL_SOCKET": str(self.socket),
            "NO_COLOR": "1",
        }

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run(self, *words: str, input: str | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """`wfctl WORDS`, whatever comes of it."""
        return forked.run(words, self.folder, self.environment, input, timeout)

    def ok(self, *words: str, input: str | None = None) -> str:
        """What `wfctl WORDS` prints; it must succeed."""
        done = self.run(*words, input=input)
        assert done.returncode == 0, f"wfctl {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str) -> Any:
        return json.loads(self.ok(*words, "-o", "json"))

    def up(self) -> None:
        self.ok("up")

    def pid(self) -> int:
        return int(self.json("status")["pid"])

    def kill(self) -> None:
        """`kill -9` of the daemon."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid))

    def workers(self) -> list[int]:
        return [worker["pid"] for worker in self.json("status")["workers"]]

    def stop(self) -> None:
        self.run("down", "--timeout", "1s")
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
            self.daemon = None

    # -- the daemon as a child of the test -------------------------------------------------------

    def serve(self) -> None:
        """Start the daemon and return when it accepts, or has died of something before that."""
        if self.daemon is not None:
            self.daemon.wait(timeout=20)
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as pipe, (self.folder / "daemon.err").open("ab") as errors:
            try:
                self.daemon = forked.daemon(
                    ("--project", str(self.folder)), self.folder, self.environment, errors.fileno(), writer
                )
            finally:
                os.close(writer)
            said = json.loads(pipe.readline() or "{}")
        assert "error" not in said, said

    def end(self) -> None:
        """`kill -9` of that daemon; returns when it is gone."""
        assert self.daemon is not None
        self.daemon.kill()
        self.daemon.wait()

    def children(self) -> list[int]:
        """The processes that the daemon has started and that are still there, ready or not."""
        assert self.daemon is not None
        listed = Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children")
        return [int(pid) for pid in listed.read_text().split()] if listed.exists() else []


def alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    state, *fields = stat.rsplit(")", 1)[1].split()
    # As long as other threads of it end, what it has open is open.
    return state != "Z" or int(fields[16]) > 1
