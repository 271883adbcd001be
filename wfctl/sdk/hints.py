"""What to write instead, in error messages: the nearest of some names, all of them, or a call without `await`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NoReturn

from wfctl.errors import UsageError


class Done:
    """What a call returns that has nothing to return and nothing to wait for: an `await` before it is told so."""

    __slots__ = ("_call",)

    def __init__(self, call: str) -> None:
        self._call = call

    def __await__(self) -> NoReturn:
        raise UsageError(f"{self._call}(...) is done when it returns: leave out `await`")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the nearest of `known`, else nothing: to append to a message."""
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


def listing(names: Iterable[str], *, none: str = "none", limit: int = 20) -> str:
    """`a, b, c`, sorted; over `limit` of them, how many more."""
    ordered = sorted(names)
    if not ordered:
        return none
    more = len(ordered) - limit
    return ", ".join(ordered[:limit]) + (f" and {more} more" if more > 0 else "")
