"""A user's exception as data: what is recorded, shown and raised again elsewhere."""

from __future__ import annotations

import msgspec


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a run or step failed.

    `type` is the short exception name shown to people, `qualified` its importable name, `frame` the innermost line of
    the user's own code (`flows/orders.py:12 in charge`), `traceback` the whole text.
    """

    type: str
    message: str
    qualified: str = ""
    frame: str = ""
    traceback: str = ""
    detail: dict[str, object] = {}

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type

    @property
    def hint(self) -> str:
        """The remedy, where it is one of wfctl's own errors and has one."""
        hint = self.detail.get("hint")
        return hint if isinstance(hint, str) else ""
