"""What a status looks like and exits with, once: code, glyph, ASCII glyph, word and style of every `Status`.

Codes of errors are on their classes (`wfctl.errors`); this table holds those that say how an awaited run stands. Codes from 10 mean
"wfctl worked, the run did not".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from wfctl.values.status import Status

OK = 0
DOWN = 3
CONFLICT = 5
PARTIAL = 9
NOT_FINISHED = 14
# How an awaited run stands: what --exit-zero makes 0.
OUTCOMES = range(10, 16)
INTERRUPTED = 130
TERMINATED = 143


class Look(NamedTuple):
    """`exit` is the code of a command that awaited a run which stands so; `style` a rich style."""

    exit: int
    glyph: str
    ascii: str
    word: str
    style: str


LOOKS: dict[Status, Look] = {
    Status.RUNNING: Look(NOT_FINISHED, "►", ">", "running", "blue"),
    Status.WAITING: Look(NOT_FINISHED, "◌", "?", "waiting", "cyan"),
    Status.SLEEPING: Look(NOT_FINISHED, "⧖", "z", "sleeping", "cyan"),
    Status.CANCELLING: Look(NOT_FINISHED, "⊖", "-", "cancelling", "yellow"),
    Status.STUCK: Look(15, "#", "#", "stuck", "magenta"),
    Status.COMPLETED: Look(OK, "✓", "+", "completed", "green"),
    Status.FAILED: Look(10, "✗", "x", "failed", "bold red"),
    Status.CANCELLED: Look(11, "⊘", "c", "cancelled", "yellow"),
    Status.TERMINATED: Look(12, "▪", "X", "terminated", "red"),
    Status.TIMED_OUT: Look(13, "!", "!", "timed_out", "red"),
}

# Steps have words of their own besides those of runs.
STEP_LOOKS: dict[str, Look] = {
    "retrying": Look(NOT_FINISHED, "↻", "r", "retrying", "yellow"),
    "interrupted": Look(NOT_FINISHED, "↻", "r", "interrupted", "yellow"),
    "queued": Look(NOT_FINISHED, "◦", ".", "queued", "dim"),
}

# A run that closed before it reached the status that was waited for has none of the outcomes' codes: it did complete.
_SEVERITY = (15, 10, 13, 12, 11, CONFLICT, NOT_FINISHED, OK)


def look(word: str) -> Look:
    """The look of a status word; a word of a newer daemon is shown as it is."""
    try:
        return LOOKS[Status(word)]
    except ValueError:
        return STEP_LOOKS.get(word) or Look(NOT_FINISHED, "•", "*", word, "")


def worst(statuses: Iterable[Status]) -> int:
    """The exit code for several awaited runs: that of the most severe, 0 for none."""
    return most_severe(LOOKS[status].exit for status in statuses)


def most_severe(codes: Iterable[int]) -> int:
    """The same, of codes."""
    return min(codes, key=_SEVERITY.index, default=OK)
