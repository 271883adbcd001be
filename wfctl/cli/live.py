"""A region of lines at the end of the terminal's text that is rewritten in place, and stays when it ends.

No alternate screen: the last frame remains in the scrollback. Only lines that changed are rewritten, in one write a
frame, so nothing flickers. The cursor is hidden meanwhile and comes back whatever ends the command
(Ctrl-\\ too), or stops it (Ctrl-Z).
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from wfctl.cli.render.text import Line, line_cells
from wfctl.cli.screen import Screen
from wfctl.cli.shell import Shell
from wfctl.client.faults import stopping
from wfctl.protocol.runs import Outcome
from wfctl.protocol.streams import Watch

if TYPE_CHECKING:
    from wfctl.client.blocking import Stream

# What the rest of an item may take that has begun to come.
_REST_S = 0.1
_HIDE, _SHOW, _ERASE_LINE, _ERASE_BELOW = "\x1b[?25l", "\x1b[?25h", "\x1b[2K", "\x1b[J"

EVERY_MS = 250


def watch(
    shell: Shell, look: Callable[[], None], *, begin: Callable[[], None] = lambda: None, tick_s: float | None = None
) -> None:
    """Call `look` at once, whenever something has changed in any run, and every `tick_s`; until somebody ends it.

    At most four times a second for changes, and on across restarts of the daemon; `begin` is called after each.
    """
    seen: int | None = None

    def attempt() -> None:
        nonlocal seen
        begin()
        with shell.dial() as beside:
            stream = beside.stream(Watch(every_ms=EVERY_MS))
            while True:
                notice = stream.poll(tick_s)
                if stream.ended:
                    raise stopping()
                if notice is not None:
                    seen = notice.rev
                look()

    shell.persist(attempt, rev=lambda: seen)


def closed(stream: Stream) -> Outcome:
    """How the run closed whose watch has ended. A watch that ended before its run did was ended by a daemon that stops."""
    outcome: Outcome | None = stream.answer
    if outcome is None or outcome.status.open:
        raise stopping()
    return outcome


class Region:
    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._shown: list[str] = []
        self._cells: list[int] = []
        self._columns = 0
        self._fd: int | None = None
        self._caught: list[int] = []
        self._writing = False

    def __enter__(self) -> Region:
        self._catch()
        self._write(_HIDE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write(_SHOW)
        while self._caught:
            signal.signal(self._caught.pop(), signal.SIG_DFL)
        self._fd = None

    def _write(self, text: str) -> None:
        self._writing = True
        self._screen.stream.write(text)
        self._screen.flush()
        self._writing = False

    def _catch(self) -> None:
        """Hear of a Ctrl-Z and a Ctrl-\\, where one would stop or end this process and there is a terminal to tidy up first."""
        if threading.current_thread() is not threading.main_thread():
            return
        with contextlib.suppress(OSError):
            self._fd = self._screen.stream.fileno()
            for number, handler in ((signal.SIGTSTP, self._stop), (signal.SIGQUIT, self._quit)):
                if signal.getsignal(number) is signal.SIG_DFL:
                    signal.signal(number, handler)
                    self._caught.append(number)

    def _show(self, fd: int) -> None:
        # Not by the stream: it may be in the middle of a write.
        with contextlib.suppress(OSError):
            os.write(fd, _SHOW.encode())

    def _quit(self, *_: object) -> None:
        """End as anybody would, by the signal and with its core file, but with the cursor back."""
        if self._fd is not None:
            self._show(self._fd)
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGQUIT)

    def _stop(self, *_: object) -> None:
        """Stop as anybody would, with the cursor back; and go on below what the shell has written meanwhile."""
        fd = self._fd
        if fd is None:
            return
        self._show(fd)
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._stop)
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(fd) != os.getpgrp():
                return  # in the background; the cursor is the shell's
            os.write(fd, _HIDE.encode())
            if not self._writing:
                self._write("".join(f"{line}\n" for line in self._shown))

    def settle(self) -> None:
        """Leave the frame as it is: something else wrote below it, and the next one starts there."""
        self._shown, self._cells = [], []

    def above(self, lines: list[Line]) -> None:
        """Write `lines` that stay, and the frame again below them."""
        columns = self._screen.columns
        text = "".join(f"{self._screen.paint(line)}\n" for line in lines)
        frame = "".join(f"{line}\n" for line in self._shown)
        rows = self._rows(columns)
        self._write((f"\x1b[{rows}A\r{_ERASE_BELOW}" if rows else "") + text + frame)
        self._columns = columns

    def _rows(self, columns: int) -> int:
        """How many rows the shown frame takes on a terminal of that width, which wraps what was drawn for another."""
        return sum(max(-(-width // columns), 1) for width in self._cells)

    def draw(self, lines: list[Line], columns: int) -> None:
        """Show `lines`, laid out for so many columns, in place of the frame before."""
        painted = [self._screen.paint(line) for line in lines]
        if painted == self._shown and columns == self._columns:
            return
        if self._shown and columns != self._columns:
            # The terminal has wrapped the old frame anew: it takes as many rows as it now needs, and goes as a whole.
            text = f"\x1b[{self._rows(columns)}A\r{_ERASE_BELOW}" + "".join(f"{line}\n" for line in painted)
        else:
            text = self._difference(painted)
        self._write(text)
        self._shown, self._columns = painted, columns
        self._cells = [line_cells(line) for line in lines]

    def _difference(self, painted: list[str]) -> str:
        """Moves and writes that turn the shown frame into `painted`; the cursor rests below the last line."""
        shown = self._shown
        first = next(
            (index for index, pair in enumerate(zip(shown, painted, strict=False)) if pair[0] != pair[1]),
            min(len(shown), len(painted)),
        )
        out = [f"\x1b[{len(shown) - first}A\r"] if len(shown) > first else []
        for index, line in enumerate(painted[first:], first):
            if index < len(shown) and shown[index] == line:
                out.append("\n")
            else:
                out.append(f"{_ERASE_LINE if index < len(shown) else ''}{line}\n")
        if len(shown) > len(painted):
            out.append(_ERASE_BELOW)
        return "".join(out)


class Resizes:
    """As long as it is entered, wakes a follower when its terminal has another size; only in the main thread."""

    def __init__(self) -> None:
        self._reading, self._writing = -1, -1
        self._before: tuple[Any, int] | None = None

    def __enter__(self) -> Resizes:
        if threading.current_thread() is threading.main_thread():
            self._reading, self._writing = os.pipe()
            os.set_blocking(self._reading, False)
            os.set_blocking(self._writing, False)
            handler = signal.signal(signal.SIGWINCH, lambda *_: None)
            self._before = handler, signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            handler, fd = self._before
            signal.set_wakeup_fd(fd)
            signal.signal(signal.SIGWINCH, handler)
            os.close(self._reading)
            os.close(self._writing)
            self._before = None

    def poll(self, stream: Stream, timeout_s: float | None) -> Any | None:
        """The next item of `stream`; None after `timeout_s`, at the end of the stream, and when the terminal was resized."""
        if self._before is None:
            return stream.poll(timeout_s)
        if not stream.ready(timeout_s, self._reading):
            with contextlib.suppress(BlockingIOError):
                while os.read(self._reading, 1 << 10):
                    pass
            return None
        return stream.poll(_REST_S)
