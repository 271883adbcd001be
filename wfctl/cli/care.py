"""Asks a process of `wfd.care`, which may open the project's database where the command line may not, daemon or no daemon."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import IO, TypeVar

import msgspec

from wfctl.cli.render.status import size
from wfctl.cli.shell import Shell
from wfctl.errors import WfctlError, from_data
from wfctl.protocol.backup import Copied
from wfctl.protocol.care import Said

BAR = 20
AnswerT = TypeVar("AnswerT")


def ask(
    shell: Shell, verb: str, *arguments: str, answer: type[AnswerT], told: Callable[[Copied], object] = lambda _: None
) -> AnswerT:
    """The answer of `wfd.care VERB`; its error is raised as its own class. What it has begun ends with this command."""
    # -P: a file of the project that is named like a module of Python's must not be imported.
    command = [sys.executable, "-P", "-m", "wfd.care", verb, *arguments]
    if shell.settings.project is not None:
        command += ["--project", shell.settings.project]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            try:
                said = _listen(child.stdout, told)
            except BaseException as cut:
                child.terminate()
                # What could not be stopped any more has happened, and then that is how this command ends.
                late = None if isinstance(cut, Exception) else _listen(child.stdout, lambda _: None)
                if late is None:
                    raise
                said = late
            if said is not None:
                return msgspec.json.decode(said, type=answer)
            words = child.stderr.read().decode("utf-8", "replace").strip().splitlines()
        finally:
            child.terminate()
    # As the system tells it, or as a shell would: it clears away behind itself first.
    number = -child.returncode if child.returncode < 0 else child.returncode - 128
    if number > 0:
        raise WfctlError(f"{verb} was ended by signal {number}", hint="it can be typed again")
    raise WfctlError(
        f"wfd.care {verb} exited with {child.returncode}" + (f"\n{words[-1].strip()}" if words else ""),
        hint="report this as a bug",
        stderr=words[-20:],
    )


def _listen(stdout: IO[bytes], told: Callable[[Copied], object]) -> msgspec.Raw | None:
    """The answer, None where there is none; an error is raised as its own class."""
    for line in stdout:
        said = msgspec.json.decode(line, type=Said)
        if said.progress is not None:
            told(said.progress)
        elif said.error is not None:
            raise from_data(said.error)
        elif bytes(said.answer):
            return said.answer
    return None


class Progress:
    """How far something is, on one line of a terminal that is written over; elsewhere nothing."""

    def __init__(self, shell: Shell, doing: str) -> None:
        self._shell = shell
        self._doing = doing
        self._shown = shell.err.live and not shell.quiet and not shell.json
        self._width = 0
        self._text = ""

    def __call__(self, copied: Copied) -> None:
        if self._shown:
            percent = 100 * copied.copied // max(copied.total, 1)
            self._write(f"{self._doing} {percent}% of {size(copied.total)}")

    def share(self, done: int, total: int, told: str) -> None:
        """A bar of how many of so many things are done, with what there is to tell of them."""
        if self._shown:
            filled = BAR * done // max(total, 1)
            bar = f"[{'#' * filled}{'.' * (BAR - filled)}]"
            self._write(f"{self._doing} {bar} {100 * done // max(total, 1)}%  {told}")

    def _write(self, text: str) -> None:
        # On a line that the terminal wraps, the way back would lead to its second half.
        room = self._shell.err.columns - 1
        text = text[:room]
        if text == self._text:
            return
        self._text = text
        self._shell.err.stream.write(f"\r{text:{min(self._width, room)}}")
        self._shell.err.flush()
        self._width = len(text)

    def clear(self) -> None:
        if self._width:
            self._write("")
            self._shell.err.stream.write("\r")
            self._shell.err.flush()
