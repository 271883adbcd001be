"""Bars of running steps at the end of what a follower prints, on a terminal: they stay below while lines go by above."""

from __future__ import annotations

import time
from types import TracebackType

import msgspec

from wfctl.cli.live import Region
from wfctl.cli.render.progress import progress_lines
from wfctl.cli.render.text import Line
from wfctl.cli.screen import Screen
from wfctl.protocol.runs import HistoryEntry, ProgressView
from wfctl.values.kinds import PROGRESS

EVERY_S = 0.25
MOST = 5


class Bars:
    """Give it every entry that is followed, and the lines to print. On a screen that is no terminal it only prints.

    It draws at most four times a second; who polls for entries waits no longer than `due_s`, and calls `draw` when that is over.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._region: Region | None = None
        self._bars: dict[str, tuple[str, ProgressView]] = {}
        self._drawn_at = 0.0
        self._stale = False

    def __enter__(self) -> Bars:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def clear(self) -> None:
        """Take the bars away, as before something else is written to the terminal; the next report brings them back."""
        self._bars.clear()
        self.draw()

    @property
    def due_s(self) -> float | None:
        """Seconds until something is to be drawn; None when nothing is."""
        return max(self._drawn_at + EVERY_S - time.monotonic(), 0.0) if self._stale else None

    def take(self, entry: HistoryEntry) -> None:
        """Notice what the entry says of the progress of its run, or of the end of the step that reported it."""
        if not self._screen.live:
            return
        if entry.kind == PROGRESS:
            self._bars[entry.run_id] = entry.workflow_id, msgspec.convert(entry.data, ProgressView)
            self._stale = True
        elif entry.kind.startswith(("step.", "run.")) and self._bars.pop(entry.run_id, None) is not None:
            self._stale = True
        if self.due_s == 0.0:
            self.draw()

    def print(self, line: Line) -> None:
        """A line that stays, above the bars."""
        if self._region is None:
            self._screen.line(line)
        else:
            self._region.above([line])
        # Somebody may be watching, or reading the other end of a pipe line by line.
        self._screen.flush()

    def draw(self) -> None:
        self._stale = False
        if not self._bars and self._region is None:
            return
        if self._region is None:
            self._region = Region(self._screen)
            self._region.__enter__()
        columns = self._screen.columns
        self._region.draw(progress_lines(self._bars, columns, MOST), columns)
        self._drawn_at = time.monotonic()
        if not self._bars:
            self._region.__exit__(None, None, None)
            self._region = None
