"""The command line in this process: run one command, see its exit code, its stdout and its stderr."""

from __future__ import annotations

import io
import sys
from typing import NamedTuple

import msgspec
import pytest

from wfctl.cli.app import execute
from wfctl.cli.render.text import write_for


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return msgspec.json.decode(self.out)

    @property
    def lines(self) -> list[object]:
        return [msgspec.json.decode(line) for line in self.out.splitlines()]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


class Pipe(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]


class Cli:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def __call__(
        self,
        *arguments: str,
        stdin: str | bytes = "",
        tty: bool = False,
        err_tty: bool | None = None,
        keyboard: bool = False,
        columns: int = 80,
    ) -> Said:
        """`tty`: stdout is a terminal, and stderr too unless `err_tty` says otherwise; with `keyboard` stdin is one as well."""
        out = Terminal() if tty else Pipe()
        err = Terminal() if (tty if err_tty is None else err_tty) else Pipe()
        with self._patch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            data = stdin.encode() if isinstance(stdin, str) else stdin
            patch.setattr(
                sys,
                "stdin",
                Terminal(data.decode()) if keyboard else io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"),
            )
            patch.setenv("COLUMNS", str(columns))
            patch.setenv("LINES", "24")
            try:
                code = execute(list(arguments))
            finally:
                write_for("utf-8", ascii=False)
        return Said(code, out.getvalue(), err.getvalue())
