"""Which files are the user's: for naming the line that matters in an error, and for noticing an edit."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from types import FrameType

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_IMPORTLIB = os.path.dirname(importlib.__file__) + os.sep
_INSTALLED = ("site-packages", "dist-packages", ".venv", "__pycache__")


class Sources:
    """A project's folders: the project itself and the `path` entries that modules are imported from.

    `hidden` are further folders whose frames are left out of tracebacks, beside this package's own.
    """

    def __init__(self, project: str, path: Sequence[str] = (".",), hidden: Sequence[str] = ()) -> None:
        self.project = os.path.abspath(project)
        self.path = [os.path.normpath(os.path.join(self.project, os.path.expanduser(entry))) for entry in path]
        self._roots = tuple(root.rstrip(os.sep) + os.sep for root in dict.fromkeys([self.project, *self.path]))
        self._hidden = tuple(folder.rstrip(os.sep) + os.sep for folder in (_OURS, *hidden))
        prefix = os.path.abspath(sys.prefix)
        self._environment = prefix + os.sep if prefix.startswith(self._roots) else None
        self._owned: dict[str, bool] = {}

    def owns(self, file: str) -> bool:
        """Whether `file` is the user's own: in the project or a path entry, and not an installed package."""
        known = self._owned.get(file)
        if known is None:
            known = self._owned[file] = self._is_owned(os.path.abspath(file)) and not file.startswith("<")
        return known

    def _is_owned(self, file: str) -> bool:
        if not file.startswith(self._roots) or self.hides(file):
            return False
        if self._environment is not None and file.startswith(self._environment):
            return False
        return not any(part in _INSTALLED for part in file.split(os.sep))

    def hides(self, file: str) -> bool:
        return file.startswith((*self._hidden, _IMPORTLIB, "<frozen "))

    def show(self, file: str) -> str:
        """`file` as people read it: relative to the project where it lies inside."""
        inside = self.project.rstrip(os.sep) + os.sep
        return file.removeprefix(inside)

    def place(self, file: str, line: int, function: str = "") -> str:
        """`flows/orders.py:12 in charge`."""
        return f"{self.show(file)}:{line}" + (f" in {function}" if function else "")

    def caller(self, frame: FrameType | None) -> str:
        """The place in the user's own code from which `frame` was reached, or nothing."""
        while frame is not None:
            code = frame.f_code
            if self.owns(code.co_filename):
                return self.place(code.co_filename, frame.f_lineno, code.co_name)
            frame = frame.f_back
        return ""

    def imported(self) -> list[str]:
        """The user's files among the modules imported so far: absolute, sorted."""
        files = set()
        for module in list(sys.modules.values()):
            file = file_of(module)
            if file and self.owns(file):
                files.add(os.path.abspath(file))
        return sorted(files)


def file_of(module: object) -> str:
    """The file that a module was imported from, or nothing. There are some that import on being asked, and may raise anything."""
    try:
        file = getattr(module, "__file__", None)
    except Exception:
        return ""
    return file if isinstance(file, str) else ""
