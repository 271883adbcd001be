"""A pager between a long text and a terminal: WFCTL_PAGER, else PAGER, else less.

A text that fits the screen is written as it is. Once it does not, the pager gets it all; who leaves the pager has seen enough.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TextIO, cast

from wfctl.cli.screen import Screen

DEFAULT = "less -FRX"
# These print what they are given and wait for nobody.
_NONE = ("", "cat")


def command() -> list[str]:
    """The pager to start; empty where none is wanted."""
    given = os.environ.get("WFCTL_PAGER", os.environ.get("PAGER", DEFAULT))
    try:
        words = shlex.split(given)
    except ValueError:
        words = given.split()
    return [] if " ".join(words) in _NONE else words


class Paged:
    """In the place of a screen's stream while its text is written. `refused` is told why no pager could be started."""

    def __init__(self, screen: Screen, words: list[str], refused: Callable[[str], None]) -> None:
        self._refused = refused
        self._screen = screen
        self._words = words
        self._behind = screen.stream
        self._rows = max(screen.rows - 1, 1)
        self._held: list[str] = []
        self._lines = 0
        self._pager: subprocess.Popen[str] | None = None

    def __enter__(self) -> Paged:
        self._screen.stream = cast("TextIO", self)
        return self

    def write(self, text: str) -> int:
        if self._pager is not None:
            assert self._pager.stdin is not None
            self._pager.stdin.write(text)
        else:
            self._held.append(text)
            self._lines += text.count("\n")
            if self._lines > self._rows:
                self._begin()
        return len(text)

    def flush(self) -> None:
        """Nothing is held for longer than the text is being written."""

    def _begin(self) -> None:
        self._behind.flush()
        # What less does with colours and with what fits, where its user has said nothing.
        environment = {"LESS": "FRX", **os.environ}
        try:
            self._pager = subprocess.Popen(
                self._words,
                stdin=subprocess.PIPE,
                env=environment,
                text=True,
                encoding="utf-8",
                errors="backslashreplace",
            )
        except OSError as error:
            self._rows = 1 << 62
            self._release()
            self._refused(f"cannot start the pager {self._words[0]!r}: {error.strerror or error}")
            return
        held, self._held = "".join(self._held), []
        self.write(held)

    def _release(self) -> None:
        self._behind.write("".join(self._held))
        self._held = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._screen.stream = self._behind
        if self._pager is None:
            self._release()
            self._behind.flush()
            return False
        assert self._pager.stdin is not None
        if error is not None and not isinstance(error, Exception | KeyboardInterrupt):
            self._pager.terminate()
        # Ctrl-C is the pager's own key from here on; this command ends when the pager does.
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with suppress(BrokenPipeError):
                self._pager.stdin.close()
            self._pager.wait()
        finally:
            signal.signal(signal.SIGINT, before)
        return isinstance(error, BrokenPipeError | KeyboardInterrupt)
