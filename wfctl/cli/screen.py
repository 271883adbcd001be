"""One output stream and what may be written to it: is it a terminal, how wide, with colour, with which glyphs.

stdout and stderr are decided separately. rich is imported by the first coloured line, and not at all without colour.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from typing import TYPE_CHECKING, TextIO

from wfctl.cli.render.text import Line, plain, wrap

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_COLUMNS = 80


class Screen:
    def __init__(self, stream: TextIO, color: str = "auto") -> None:
        self.stream = stream
        self.tty = stream.isatty()
        # Whether what stands there can be written over.
        self.live = self.tty and os.environ.get("TERM") != "dumb"
        self.styled = _wants_color(color, self.tty)
        self.ascii = os.environ.get("TERM") == "dumb" or _plain_locale() or not _can_encode(stream)
        self._console: Console | None = None
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            # What a user put into a name or a log line must not end the command that shows it.
            reconfigure(errors="backslashreplace")

    @property
    def columns(self) -> int:
        return shutil.get_terminal_size((DEFAULT_COLUMNS, 24)).columns or DEFAULT_COLUMNS

    @property
    def rows(self) -> int:
        return shutil.get_terminal_size((DEFAULT_COLUMNS, 24)).lines or 24

    def write(self, text: str) -> None:
        """`text` and a line end."""
        self.stream.write(text + "\n")

    def line(self, line: Line) -> None:
        self.stream.write(self.paint(line) + "\n")

    def lines(self, lines: Iterable[Line]) -> None:
        self.stream.write("".join(self.paint(line) + "\n" for line in lines))

    def prose(self, lines: Iterable[Line]) -> None:
        """Lines that are read, not compared: on a terminal they are broken at blanks, elsewhere they are as they are."""
        self.lines(self.broken(lines))

    def broken(self, lines: Iterable[Line]) -> list[Line]:
        return [part for line in lines for part in (wrap(line, self.columns - 1) if self.tty else [line])]

    def paint(self, line: Line) -> str:
        """`line` as the characters to write: with escapes where this stream has colour."""
        if not self.styled:
            return plain(line)
        from rich.text import Text

        console = self.console()
        with console.capture() as capture:
            console.print(Text.assemble(*line, end=""), soft_wrap=True, end="")
        return capture.get()

    def console(self) -> Console:
        if self._console is None:
            from rich.console import Console

            self._console = Console(
                file=self.stream,
                force_terminal=True,
                color_system="standard",
                no_color=False,
                highlight=False,
                markup=False,
                emoji=False,
                legacy_windows=False,
            )
        return self._console

    def flush(self) -> None:
        self.stream.flush()

    def let_go(self) -> None:
        """Write into nothing from here on, where what is written is for nobody any more."""
        try:
            self.stream.flush()
        except BrokenPipeError:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.stream.fileno())
            os.close(nothing)


def _plain_locale() -> bool:
    """Whether somebody asks for ASCII; Python writes UTF-8 then all the same."""
    return os.environ.get("LC_ALL") in ("C", "POSIX")


def _can_encode(stream: TextIO) -> bool:
    try:
        "✓►└×".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _wants_color(color: str, tty: bool) -> bool:
    if color != "auto":
        return color == "always"
    if os.environ.get("FORCE_COLOR"):
        return os.environ["FORCE_COLOR"] != "0"
    if os.environ.get("NO_COLOR"):
        return False
    return tty and os.environ.get("TERM") != "dumb"
