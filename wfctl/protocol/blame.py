"""What is wrong with a module that had no chance to say so: its import ended the process, or did not end."""

from __future__ import annotations

from collections.abc import Sequence

from wfctl.protocol.channel import Importing, Problem

MAX_SAID_CHARS = 200
_UNFINISHED = "is still being imported; the others are served without it"
_TAKES_LONG = "put what takes long, or waits for something, into a handler"


def ended(at: Importing, why: str, words: Sequence[str] = ()) -> Problem:
    """The process ended, for `why`, while that was imported; `words` are the lines that it has printed."""
    said = f"; it last said: {words[-1][:MAX_SAID_CHARS]}" if words else ""
    message = f"ended the process ({why}) while it was imported{said}"
    hint = 'put what must not run on import into a handler, or under `if __name__ == "__main__":`'
    return Problem(at.module, message, at.file, hint=hint)


def endless(at: Importing, limit_s: float) -> Problem:
    """It has been imported for so long."""
    return Problem(at.module, f"has not been imported after {limit_s:g} s", at.file, hint=_TAKES_LONG)


def unfinished(at: Importing) -> Problem:
    """It is being imported, and others are not kept waiting for it."""
    return Problem(at.module, _UNFINISHED, at.file, hint=_TAKES_LONG)


def is_unfinished(problem: Problem) -> bool:
    return problem.message == _UNFINISHED
