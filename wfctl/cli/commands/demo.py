"""`wfctl demo`: the whole story in a folder that is gone afterwards, told with the commands a person would type."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import WfctlError
from wfctl.values.project import MAX_SOCKET_PATH_BYTES

EXAMPLES = """
  wfctl demo
"""
FILES = ("wfctl.toml", "orders.py")
ORDER = "order-1"
SEND_AFTER_S = 0.8
COMMAND_TIMEOUT_S = 30.0


def run(ctx: typer.Context) -> int:
    """Play a sample order, start to result.

    In a temporary project with a daemon of its own. Nothing of it is left behind.
    """
    shell = shell_of(ctx)
    began = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="wfctl-demo-"))
    demo = Demo(shell, folder)
    try:
        for name in FILES:
            source = files("wfctl.cli").joinpath("demo", name)
            (folder / name).write_bytes(source.read_bytes())
        demo.play()
    finally:
        demo.clean_up()
    if shell.json:
        facts = {"seconds": round(time.monotonic() - began, 1), "commands": demo.typed, "result": demo.result}
        shell.document("demo", facts)
    elif shell.output is Output.ID:
        shell.out.write(ORDER)
    else:
        demo.say("That was all of it: the daemon is stopped, its folder is gone.")
        demo.say("Your own: 'wfctl init' in a folder of yours, then 'wfctl up'.")
    return exit.OK


class Demo:
    """The play: what is typed, in which order, and what is cleared away however it ends."""

    def __init__(self, shell: Shell, folder: Path) -> None:
        self._shell = shell
        self._folder = folder
        self._told = shell.output is Output.TABLE
        self.typed: list[str] = []
        self.result: str | None = None
        # A project and socket of its own, whatever the surroundings say.
        foreign = ("WFCTL_PROJECT", "WFCTL_OUTPUT", "WFCTL_SOCKET")
        self._environment = {key: value for key, value in os.environ.items() if key not in foreign}
        socket = folder / "wfd.sock"
        if len(os.fsencode(socket)) <= MAX_SOCKET_PATH_BYTES:
            self._environment["WFCTL_SOCKET"] = str(socket)

    def play(self) -> None:
        self.say(f"A temporary project in {self._folder}: {' and '.join(FILES)}.")
        self.type("up")
        self.type("start", "Order", "--id", ORDER, "order_id=1", "amount=9.99")
        self.say(f"The order waits. In another terminal somebody types: wfctl send {ORDER} start_payment")
        self._watch()
        self.type("history", ORDER)
        self.result = self.type("result", ORDER, keep=True).strip()

    def _watch(self) -> None:
        """The live tree, and meanwhile the event that makes something happen in it."""
        sender = threading.Timer(SEND_AFTER_S, self._send)
        sender.daemon = True
        sender.start()
        try:
            self.type("tree", "-f", ORDER)
        finally:
            sender.cancel()
            sender.join(COMMAND_TIMEOUT_S)

    def _send(self) -> None:
        self.typed.append(f"wfctl send {ORDER} start_payment")
        # Its words would be written into the middle of the tree.
        self._call(["send", ORDER, "start_payment"], capture=True)

    def type(self, *arguments: str, keep: bool = False) -> str:
        """Show and run one command; what it prints is seen, and with `keep` returned too."""
        text = f"wfctl {shlex.join(arguments)}"
        self.typed.append(text)
        if self._told:
            self._shell.out.line([("", "")])
            self._shell.out.line([("$ ", "dim"), (text, "bold")])
            self._shell.out.flush()
        done = self._call(list(arguments), capture=keep or not self._told)
        if done.returncode != exit.OK:
            said = (done.stderr or "").strip().splitlines()
            raise WfctlError(
                f"'{text}' exited with {done.returncode}" + (f"\n{said[0]}" if said else ""), hint="wfctl demo"
            )
        if keep and self._told:
            self._shell.out.stream.write(done.stdout)
            self._shell.out.flush()
        return done.stdout or ""

    def _call(self, arguments: list[str], *, capture: bool) -> subprocess.CompletedProcess[str]:
        color = ["--color", self._shell.settings.color] if self._shell.settings.color else []
        return subprocess.run(
            [sys.executable, "-P", "-m", "wfctl.cli.main", *color, "--project", str(self._folder), *arguments],
            env=self._environment,
            text=True,
            capture_output=capture,
            timeout=COMMAND_TIMEOUT_S,
        )

    def say(self, text: str) -> None:
        if self._told and not self._shell.quiet:
            self._shell.out.line([("", "")])
            self._shell.out.line([(text, "italic")])
            self._shell.out.flush()

    def clean_up(self) -> None:
        """Stop the daemon and remove the folder; a second Ctrl-C does not hinder it."""
        import signal

        before: Any = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._call(["down", "--timeout", "2s"], capture=True)
        except subprocess.TimeoutExpired:
            pass
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            signal.signal(signal.SIGINT, before)
