"""The daemon's log: `2026-11-23T03:00:01.204Z INFO server listening on ...`, a file that rotates, and stderr.

Every part logs to `logging.getLogger("wfd.<component>")`; a worker's own output is logged there too, as
`wfd.worker[4121]`. This module alone decides where the lines go.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

from wfctl.values.causes import cannot
from wfctl.values.times import rfc3339

ROTATE_BYTES = 10 << 20
KEPT_FILES = 3
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class LineFormatter(logging.Formatter):
    """Every line of the file begins with time, level and component, those of a traceback too: `grep` finds them all.

    Control characters are written as `\\x1b`, so that no logged text can draw on a terminal or fake a line.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        at_ms = int(record.created * 1_000)
        head = f"{rfc3339(at_ms)} {record.levelname} {record.name.removeprefix('wfd.')}"
        return "\n".join(f"{head} {_CONTROL.sub(_visible, line)}" for line in text.split("\n"))


def _visible(match: re.Match[str]) -> str:
    return f"\\x{ord(match[0]):02x}"


class _File(RotatingFileHandler):
    """Writes to what is at its path: where that was moved or deleted, as by another program that rotates logs, to a new file."""

    def emit(self, record: logging.LogRecord) -> None:
        before = self.stream
        if before is not None and not self._in_place(before):
            # Where the whole folder was moved, on with the file that is open.
            with contextlib.suppress(OSError):
                self.stream = self._open()
                before.close()
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        # A line that a full disk has no room for is lost, and is no news: what else is kept there fails too.
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)

    def _in_place(self, file: TextIO) -> bool:
        try:
            return os.path.samestat(os.stat(self.baseFilename), os.fstat(file.fileno()))
        except FileNotFoundError:
            return False
        except OSError:
            return True  # nobody can say


class DaemonLog:
    """The handlers of the `wfd` loggers, from `open` to `close`."""

    def __init__(self, path: Path, *, stderr: bool) -> None:
        self._path = path
        self._logger = logging.getLogger("wfd")
        self._to_stderr: logging.Handler | None = logging.StreamHandler(sys.stderr) if stderr else None
        self._to_file: _File | None = None

    def open(self) -> None:
        """Begin to log; DeniedError or StorageError where the file cannot be written."""
        try:
            self._to_file = _File(
                self._path, maxBytes=ROTATE_BYTES, backupCount=KEPT_FILES, encoding="utf-8", errors="backslashreplace"
            )
        except OSError as error:
            raise cannot("write the log", self._path, error, otherwise="name another `state` in wfctl.toml") from None
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False
        for handler in (self._to_file, self._to_stderr):
            if handler is not None:
                handler.setFormatter(LineFormatter())
                self._logger.addHandler(handler)

    def leave_stderr(self) -> None:
        """Log to the file only from now on: the terminal may go away."""
        if self._to_stderr is not None:
            self._logger.removeHandler(self._to_stderr)
            self._to_stderr = None

    def close(self) -> None:
        self.leave_stderr()
        if self._to_file is not None:
            self._logger.removeHandler(self._to_file)
            self._to_file.close()
            self._to_file = None
        self._logger.propagate = True
