"""`wfctl demo`: the whole story in a folder that is gone afterwards, told with the commands a person would type."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import WfctlError
from wfctl.values.project import MAX_SOCKET_PATH_BYTES
from wfctl.values.status import Status

EXAMPLES = """
  wfctl demo
"""
FILES = ("wfctl.toml", "shop.py")
ORDER = "order-1"
BUG, CURE = 'customer.split(",")', "customer.split()"
SEND_AFTER_S = 0.8
COMMAND_TIMEOUT_S = 60.0
# A terminal that is closed tells the command that runs as well; that gets so long to end by itself, and as long when asked to.
LAST_WORDS_S = 1.0
# Its Ctrl-C goes to that command too, which would say that the run goes on: only the demo knows that nothing does. It is kept back
# until the command has got here.
_DEAF = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from wfctl.cli.main import main; main()"
GONE_S = 3.0
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run(ctx: typer.Context) -> int:
    """Play a sample order: its payment, a failure, its cure.

    In a throw-away project with a daemon of its own: nothing of it is left behind, however it ends.
    """
    shell = shell_of(ctx)
    began = time.monotonic()
    ends = Ends()
    demo = Demo(shell, ends)
    try:
        with ends:
            try:
                try:
                    demo.set_up()
                    demo.play()
                finally:
                    _ignore_ends()
            finally:
                demo.clean_up()
    except KeyboardInterrupt:
        shell.note("the demo ends here: its daemon is stopped, its folder is gone")
        raise
    if shell.json:
        facts = {"seconds": round(time.monotonic() - began, 1), "commands": demo.typed, "result": demo.result}
        shell.document("demo", facts)
    elif shell.output is Output.ID:
        shell.out.write(ORDER)
    else:
        demo.say("That was all of it: the daemon is stopped, its folder is gone.")
        demo.say(f"Your own: {_own()}")
    return exit.OK


def _own() -> str:
    """What begins a project in the user's shell, which need not find this wfctl."""
    here, found = Path(sys.executable).with_name("wfctl"), shutil.which("wfctl")
    begin = "wfctl init shop && cd shop && wfctl up"
    if found is None and here.exists():
        begin = f'export PATH="{here.parent}:$PATH" && {begin}'
    return begin


class Ends:
    """The first Ctrl-C, SIGTERM or hang-up ends the play as everywhere; those after it find a demo that cleans up already."""

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._keeps = False
        self._kept: int | None = None

    def __enter__(self) -> None:
        self._before = {number: signal.getsignal(number) for number in _ENDS}
        for number, was in self._before.items():
            if was != signal.SIG_IGN:
                signal.signal(number, self._end)

    def __exit__(self, *_: object) -> None:
        for number, was in self._before.items():
            signal.signal(number, was)

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self._keeps:
            self._kept = number
            return
        _ignore_ends()
        if not callable(self._before[number]):
            raise KeyboardInterrupt
        self._before[number](number, frame)

    @contextmanager
    def kept_back(self) -> Iterator[None]:
        """One that comes inside is raised at the end of it. To be used by the main thread, which is where Python handles signals,
        also those that the system has given to another thread."""
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False
            kept, self._kept = self._kept, None
            if kept is not None:
                self._end(kept, None)


def _ignore_ends() -> None:
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)


class Demo:
    """The play: what is typed, in which order, and what is cleared away however it ends."""

    def __init__(self, shell: Shell, ends: Ends) -> None:
        self._shell = shell
        self._ends = ends
        self._told = shell.output is Output.TABLE
        self._place = Path(tempfile.gettempdir()) / f"wfctl-demo-{os.urandom(4).hex()}"
        self.typed: list[str] = []
        self.result: str | None = None
        # A project and socket of its own, whatever the surroundings say.
        foreign = ("WFCTL_PROJECT", "WFCTL_OUTPUT", "WFCTL_SOCKET")
        self._environment = {key: value for key, value in os.environ.items() if key not in foreign}
        # The play goes on by itself: no pager waits for a key in the middle of it.
        self._environment["WFCTL_PAGER"] = ""
        socket = self._place / "wfd.sock"
        if len(os.fsencode(socket)) <= MAX_SOCKET_PATH_BYTES:
            self._environment["WFCTL_SOCKET"] = str(socket)

    def set_up(self) -> None:
        self._place.mkdir(mode=0o700)
        for name in FILES:
            source = files("wfctl.cli").joinpath("demo", name)
            (self._place / name).write_bytes(source.read_bytes())

    def play(self) -> None:
        self.say("A throw-away project: its files and its data are deleted at the end.", "bold")
        self.say(f"It is in {self._place}: {' and '.join(FILES)}.")
        self.type("up")
        self.type("start", "Order", "--id", ORDER, "customer=Ann Lee", "amount=42")
        self.say(f"The order waits to be paid. In another terminal somebody types: wfctl send {ORDER} pay")
        self._watch()
        self.say("The order failed. The bank, though, was asked again until it answered:")
        self.type("tail", f"payment-{ORDER}", "--kinds", "task")
        self.say("And what now?")
        self.type("show", ORDER)
        self._correct()
        self.type("retry", ORDER)
        self.type("tree", "-f", ORDER)
        self.result = self.type("result", ORDER, keep=True).strip()

    def _watch(self) -> None:
        """The live tree, and meanwhile the event that makes something happen in it."""
        sender = threading.Timer(SEND_AFTER_S, self._send)
        sender.daemon = True
        sender.start()
        try:
            self.type("tree", "-f", ORDER, expected=exit.LOOKS[Status.FAILED].exit)
        finally:
            sender.cancel()
            sender.join(COMMAND_TIMEOUT_S)

    def _send(self) -> None:
        self.typed.append(f"wfctl send {ORDER} pay")
        # Its words would be written into the middle of the tree.
        self._call(["send", ORDER, "pay"], capture=True)

    def _correct(self) -> None:
        """Save the cure. The daemon finds it by itself; that it has done so is waited for, as a person is not that fast."""
        path = self._place / "shop.py"
        text = path.read_text(encoding="utf-8")
        number = next(at for at, line in enumerate(text.splitlines(), 1) if BUG in line)
        self.say(f"Somebody corrects line {number} of shop.py and saves it, while everything runs:")
        if self._told:
            self._shell.out.line([(f"- first, last = {BUG}", "red")])
            self._shell.out.line([(f"+ first, last = {CURE}", "green")])
            self._shell.out.flush()
        path.write_text(text.replace(BUG, CURE), encoding="utf-8")
        self._call(["reload"], capture=True)

    def type(self, *arguments: str, keep: bool = False, expected: int = exit.OK) -> str:
        """Show and run one command; what it prints is seen, and with `keep` returned too."""
        text = f"wfctl {shlex.join(arguments)}"
        self.typed.append(text)
        if self._told:
            self._shell.out.line([("", "")])
            self._shell.out.line([("$ ", "dim"), (text, "bold")])
            self._shell.out.flush()
        try:
            status, printed, said = self._call(list(arguments), capture=keep or not self._told)
        except subprocess.TimeoutExpired as late:
            raise WfctlError(f"'{text}' did not end within {late.timeout:g} s", hint="wfctl demo") from None
        if status != expected:
            why = f"\n{said.strip().splitlines()[0]}" if said.strip() else ""
            raise WfctlError(f"'{text}' exited with {status}{why}", hint="wfctl demo")
        if keep and self._told:
            self._shell.out.stream.write(printed)
            self._shell.out.flush()
        return printed

    def _call(self, arguments: list[str], *, capture: bool, apart: bool = False) -> tuple[int, str, str]:
        """Exit status and, with `capture`, stdout and stderr. Ended early, it has seen the command end as well."""
        color = ["--color", self._shell.settings.color] if self._shell.settings.color else []
        quiet = ["--quiet"] if self._shell.quiet else []
        pipe = subprocess.PIPE if capture else None
        main = threading.current_thread() is threading.main_thread()
        child: subprocess.Popen[str] | None = None
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            # Ended in the middle of this, nobody would know the child, which need not have heard of it.
            with self._ends.kept_back() if main else nullcontext():
                child = subprocess.Popen(
                    [sys.executable, "-P", "-c", _DEAF, *color, *quiet, "--project", str(self._place), *arguments],
                    env=self._environment, text=True, stdout=pipe, stderr=pipe, start_new_session=apart,
                )  # fmt: skip
            signal.pthread_sigmask(signal.SIG_SETMASK, before)  # a Ctrl-C that the system has kept back comes here
            printed, said = child.communicate(timeout=COMMAND_TIMEOUT_S)
        except BaseException as cause:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            # Killed at once, `up` would leave the daemon that it has begun.
            if child is not None:
                _see_off(child, told=not isinstance(cause, KeyboardInterrupt))
            raise
        return child.returncode, printed or "", said or ""

    def say(self, text: str, style: str = "italic") -> None:
        if self._told and not self._shell.quiet:
            self._shell.out.line([("", "")])
            self._shell.out.line([(text, style)])
            self._shell.out.flush()

    def clean_up(self) -> None:
        """Stop the daemon and remove the folder."""
        try:
            if self._place.exists():
                self._call(["down", "--timeout", "2s"], capture=True, apart=True)
        except subprocess.TimeoutExpired:
            pass
        finally:
            deadline = time.monotonic() + GONE_S
            while self._place.exists() and time.monotonic() < deadline:
                shutil.rmtree(self._place, ignore_errors=True)
                time.sleep(0.02)


def _see_off(child: subprocess.Popen[str], *, told: bool) -> None:
    """Wait for its end. `told`: it may have been asked to already."""
    for number in (*([None] if told else []), signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            child.send_signal(number)
        try:
            child.communicate(timeout=LAST_WORDS_S)
            return
        except subprocess.TimeoutExpired:
            continue
