"""What the step of an open run is at: tasks that run or wait for their next attempt, sleeps. Read from the newest records.

Data for programs, and a line each for people.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from wfctl.cli.render.history import failure_text
from wfctl.cli.render.text import Line, clean
from wfctl.cli.render.times import when
from wfctl.protocol.runs import HistoryEntry


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """A task (`attempt` runs since `begun_at`, or failed with `error` and is followed by another at `retry_at`), or a sleep."""

    kind: str
    name: str
    begun_at: int
    attempt: int = 1
    max_attempts: int | None = None
    retry_at: int | None = None
    wake_at: int | None = None
    error: dict[str, Any] | None = None


def pending(entries: Iterable[HistoryEntry], now_ms: int) -> list[Pending]:
    """What was begun in the newest step of `entries` (oldest first) and has no outcome, in the order it was begun."""
    found: dict[str, Pending] = {}
    for entry in entries:
        data, key = entry.data, str(entry.data.get("key", ""))
        if entry.kind.startswith("step.") and entry.kind != "step.interrupted":
            found.clear()
        elif entry.kind == "run.resumed" and "phase" in data:
            # What had failed or was cut short is done anew; sleeps go on.
            found = {} if "from_step" in data else {key: one for key, one in found.items() if one.kind == "sleep"}
        elif entry.kind in ("task.started", "task.attempt_failed"):
            found[key] = Pending(
                kind="task",
                name=str(data.get("name", "")),
                begun_at=entry.at,
                attempt=data.get("attempt", 1),
                # What begins does not say how many there are at most; what has failed before did.
                max_attempts=data.get("max_attempts") or (found[key].max_attempts if key in found else None),
                retry_at=data.get("retry_at"),
                error=data.get("error"),
            )
        elif entry.kind in ("task.completed", "task.failed"):
            found.pop(key, None)
        elif entry.kind == "sleep.recorded":
            found[key] = Pending(kind="sleep", name="", begun_at=entry.at, wake_at=data.get("wake_at"))
    # That a sleep is over is not recorded: its time has come, that is all.
    return [one for one in found.values() if one.wake_at is None or one.wake_at > now_ms]


def pending_line(one: Pending, now_ms: int, *, person: bool) -> Line:
    """`charge: attempt 2 of 5 failed, next in 4.0s  CardDeclined: limit exceeded`"""
    if one.wake_at is not None:
        return [(f"wakes {_instant(one.wake_at, now_ms, person)}", "")]
    attempt = f"attempt {one.attempt}" if one.max_attempts is None else f"attempt {one.attempt} of {one.max_attempts}"
    text = f"{clean(one.name)}: {attempt}"
    if one.retry_at is None:
        return [(f"{text} runs {_since(one.begun_at, now_ms, person)}", "")]
    text = f"{text} failed, next {_instant(one.retry_at, now_ms, person)}"
    return [(f"{text}  {clean(failure_text(one.error))}" if one.error else text, "yellow")]


def _instant(at_ms: int, now_ms: int, person: bool) -> str:
    if person and at_ms <= now_ms:
        return "now"
    shown = when(at_ms, now_ms, relative=person)
    return shown if shown.startswith("in ") else f"at {shown}"


def _since(at_ms: int, now_ms: int, person: bool) -> str:
    shown = when(min(at_ms, now_ms), now_ms, relative=person)
    return f"for {shown.removesuffix(' ago')}" if shown.endswith(" ago") else f"since {shown}"
