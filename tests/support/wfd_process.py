"""`wfd` as a process of its own, for a project of one module: started in the background, asked, refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from support import leftovers
from wfctl.client import Client

leftovers.watch()

FLOWS = """
import asyncio
from pathlib import Path
from wfctl import Context, Directive, Workflow

echo = Workflow("Echo")

@echo.start()
async def begin(ctx: Context, word: str = "hi") -> Directive:
    return ctx.next.complete(word)

slow = Workflow("Slow")

@slow.start()
async def crawl(ctx: Context, until: str) -> Directive:
    Path(until + ".running").touch()
    while not Path(until).exists():
        await asyncio.sleep(0.01)
    return ctx.next.complete("done")
"""


class Wfd:
    """A project of one module, and the daemons a test starts for it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.state = folder / ".wfctl"
        self.socket = self.state / "wfd.sock"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.write("wfctl.toml", '[daemon]\nworkers = 1\n[workflows]\nmodules = ["flows.py"]\nreload = false\n')
        self.write("flows.py", FLOWS)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("WFCTL_", "XDG_RUNTIME"))
        }

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def spawn(self, *arguments: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
        """A background daemon, and the line it says on its readiness pipe."""
        reader, writer = os.pipe()
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "wfd", "--ready-fd", str(writer), *arguments],
            cwd=self.folder,
            env=self.environment,
            pass_fds=(writer,),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.processes.append(process)
        os.close(writer)
        with open(reader, "rb") as pipe:
            said = pipe.read()
        assert said.count(b"\n") == 1
        line: dict[str, Any] = msgspec.json.decode(said)
        return process, line

    def up(self) -> subprocess.Popen[bytes]:
        process, said = self.spawn()
        assert "ready" in said, said
        return process

    def refused(self) -> tuple[dict[str, Any], int]:
        """The error a daemon that cannot start says, and its exit status."""
        process, said = self.spawn()
        return said["error"], process.wait(20)

    def log(self) -> str:
        return (self.state / "wfd.log").read_text()

    def end(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGTERM)
            process.wait(20)
            assert process.stderr is not None
            process.stderr.close()


def ended(process: subprocess.Popen[bytes]) -> int:
    return process.wait(20)


async def ask(wfd: Wfd) -> Any:
    async with Client.connect(wfd.socket) as client:
        return await client.run("Echo", workflow_input="hello", timeout=timedelta(seconds=20))
