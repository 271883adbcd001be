"""The kinds of history entries, once: what a person may ask for by name is checked against them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from wfctl.errors import InvalidArgumentError

# Besides records: a line a handler logged, the progress of a running step, other code that serves.
LOG, PROGRESS, CODE = "log", "progress", "code"
RECORDS = (
    "run.started", "run.completed", "run.failed", "run.cancel_requested", "run.cancelled", "run.terminated", "run.timed_out",
    "run.stuck", "run.resumed", "step.started", "step.completed", "step.failed", "step.timed_out", "step.interrupted",
    "wait.started", "wait.timed_out", "event.received", "event.sent", "parent_event.sent", "child.started", "child.closed",
    "child.resumed", "child.cancel_requested", "child.terminated", "child.result_recorded", "task.started",
    "task.attempt_failed", "task.completed", "task.failed", "timestamp.recorded", "random.recorded", "uuid.recorded",
    "sleep.recorded", "operation.refused",
)  # fmt: skip
# The key of what stands for a payload while its handler is not there; its value is the payload. Beside it, what a command line gave
# as text.
UNBOUND, TEXT = "$unbound", "$text"


def chosen_kinds(words: Iterable[str]) -> list[str]:
    """The kinds that `words` name: one each (`task.failed`), or the first part of several (`task`).

    InvalidArgumentError for any other word, with the nearest.
    """
    chosen: dict[str, None] = {}
    for word in words:
        kinds = [kind for kind in (*RECORDS, LOG, PROGRESS, CODE) if kind == word or kind.startswith(f"{word}.")]
        if not kinds:
            raise _unknown(word)
        chosen |= dict.fromkeys(kinds)
    return list(chosen)


def _unknown(word: str) -> InvalidArgumentError:
    families = dict.fromkeys(kind.partition(".")[0] for kind in RECORDS)
    known = [*RECORDS, *families, LOG, PROGRESS, CODE]
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return InvalidArgumentError(
        f"{word!r} is no kind of history entry" + (f"; did you mean {near[0]!r}?" if near else ""),
        hint=f"use {', '.join([*families, LOG, PROGRESS])}, or one of {RECORDS[0].partition('.')[0]}'s alone, as {RECORDS[2]}",
        value=word,
        allowed=known,
    )
