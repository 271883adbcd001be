"""Names in error messages: the nearest match, and what there is instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
