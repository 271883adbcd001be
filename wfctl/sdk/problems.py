"""What is wrong with the user's modules: each thing with its file, line and remedy, as data."""

from __future__ import annotations

import os
import sys

import msgspec

from wfctl.errors import RegistrationError
from wfctl.sdk.failure import MAX_MESSAGE_CHARS, describe_exception, readable, user_location
from wfctl.sdk.sources import Sources
from wfctl.values.failure import Failure


class LoadProblem(msgspec.Struct, frozen=True, kw_only=True):
    """A module that cannot be served, or not fully. `file` is relative to the project where it lies inside. `twice` is a workflow
    type that is defined twice, if it is that."""

    module: str
    message: str
    file: str = ""
    line: int = 0
    hint: str = ""
    traceback: str = ""
    twice: str = ""


class Problems:
    """`found` are those so far, `files` (absolute) the project's own that they are in."""

    def __init__(self, sources: Sources) -> None:
        self.found: list[LoadProblem] = []
        self.files: set[str] = set()
        self._sources = sources

    def add(
        self,
        module: str,
        message: str,
        *,
        file: str = "",
        line: int = 0,
        hint: str = "",
        traceback: str = "",
        twice: str = "",
    ) -> None:
        # What is said may quote the user's text, which need not be such as can be sent.
        message, hint = readable(message, MAX_MESSAGE_CHARS), readable(hint, MAX_MESSAGE_CHARS)
        shown = self._sources.show(file) if file else ""
        self.found.append(
            LoadProblem(
                module=module, message=message, file=shown, line=line, hint=hint, traceback=traceback, twice=twice
            )
        )

    def failed(self, entry: str, error: BaseException, *, file: str = "", line: int = 0) -> None:
        """The module has raised `error`, which may raise itself when it is looked at. `file` and `line` are where it can be found
        when no line of the project's is on its way."""
        failure = describe_exception(error, self._sources)
        try:
            message, hint, place = self._told(failure, error)
        except BaseException:
            message, hint = str(failure), _CORRECT
            place = user_location(error.__traceback__, self._sources)
        if place[0]:
            file, line = place
        if file and self._sources.owns(file):
            self.files.add(file)
        self.add(entry, message, file=file, line=line, hint=hint, traceback=failure.traceback)

    def _told(self, failure: Failure, error: BaseException) -> tuple[str, str, tuple[str, int]]:
        """The message, the hint, and the file and line."""
        message, hint = str(failure), ""
        file, line = user_location(error.__traceback__, self._sources)
        if isinstance(error, SyntaxError) and error.filename:
            file, line = os.path.abspath(error.filename), error.lineno or 0
            text = (error.text or "").strip()
            message = f"{failure.type}: {error.msg}" + (f": {text}" if text else "")
            hint = f"correct line {line}" if line else f"correct {self._sources.show(file)}"
        elif isinstance(error, RegistrationError):
            file, line = _detail_place(error) or (file, line)
            message, hint = str(error.detail.get("problem", error.message)), error.hint or ""
        elif isinstance(error, ModuleNotFoundError):
            hint = f"install {error.name} for {sys.executable}, or correct path = [...] under [workflows]"
        elif isinstance(error, SystemExit | KeyboardInterrupt):
            message = f"the module ended itself ({failure.type}: {failure.message})"
            hint = 'put what must not run on import under `if __name__ == "__main__":`'
        else:
            hint = failure.hint or _CORRECT
        return message, hint, (file, line)


_CORRECT = "correct the line, or remove the module from modules = [...]"


def _detail_place(error: RegistrationError) -> tuple[str, int] | None:
    file, line = error.detail.get("file"), error.detail.get("line")
    return (file, line) if isinstance(file, str) and isinstance(line, int) else None
