"""Standard input. Whoever reads it reads it to its end, so of one command line a single argument can have it."""

from __future__ import annotations

import sys
from typing import TextIO
from weakref import WeakKeyDictionary

from wfctl.errors import UsageError

_readers: WeakKeyDictionary[TextIO, str] = WeakKeyDictionary()


def stdin_for(what: str) -> TextIO:
    """Stdin, to be read to its end for `what`; UsageError where something else has read it, and nothing is left."""
    reader = _readers.setdefault(sys.stdin, what)
    if reader != what:
        raise UsageError(
            f"stdin is read for {reader} and for {what}, and can be read once", hint="give one of them as @FILE"
        )
    return sys.stdin
