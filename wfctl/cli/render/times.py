"""Instants and durations as people read them.

How instants are written is one choice a command line (`show_as`), as a locale is one choice a process; JSON does not ask.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum

from wfctl.values.times import format_duration, rfc3339


class Times(StrEnum):
    RELATIVE = "relative"
    UTC = "utc"
    LOCAL = "local"
    UNIX = "unix"


_chosen: Times | None = None


def show_as(times: Times | None) -> None:
    """How instants are written from here on; None: relative on a terminal, UTC elsewhere."""
    global _chosen
    _chosen = times


def was_chosen() -> bool:
    return _chosen is not None


def ago(at_ms: int, now_ms: int) -> str:
    """`4m12s ago`, or `in 42m` for what is still to come."""
    if at_ms > now_ms:
        return f"in {short(at_ms - now_ms)}"
    return f"{short(now_ms - at_ms)} ago"


def short(ms: int) -> str:
    """A duration that counts up or down on a screen: whole seconds from ten seconds on."""
    return format_duration(ms if ms < 10_000 else ms // 1_000 * 1_000).replace(".0s", "s")


def exactly(ms: int) -> str:
    """A duration as it would be typed, nothing of it rounded away: `1h30m`, `90s`."""
    parts = []
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        number, ms = divmod(ms, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def when(at_ms: int, now_ms: int, *, relative: bool) -> str:
    """An instant; `relative` to now where nothing else was chosen."""
    return ago(at_ms, now_ms) if is_relative(default=relative) else absolute(at_ms)


def is_relative(*, default: bool) -> bool:
    """Whether instants are written relative to now; the default where nothing was chosen."""
    return default if _chosen is None else _chosen is Times.RELATIVE


def absolute(at_ms: int) -> str:
    """An instant that is told by itself: in UTC, local time, or seconds since 1970."""
    if _chosen is Times.UNIX:
        return f"{at_ms // 1_000}.{at_ms % 1_000:03d}"
    if _chosen is Times.LOCAL:
        return datetime.fromtimestamp(at_ms // 1_000, UTC).astimezone().replace(
            microsecond=at_ms % 1_000 * 1_000
        ).isoformat(timespec="milliseconds")  # fmt: skip
    return rfc3339(at_ms)


def both(at_ms: int, now_ms: int) -> str:
    """An instant in full, and how long ago that is; where one way was chosen, in that alone."""
    shown = when(at_ms, now_ms, relative=False)
    return shown if _chosen else f"{shown} ({ago(at_ms, now_ms)})"


def clock(at_ms: int, now_ms: int) -> str:
    """The time of day with milliseconds and its zone; with its date when that is not today's."""
    full = when(at_ms, now_ms, relative=False)
    same_day = "T" in full and full[:10] == absolute(now_ms)[:10]
    return full[11:] if same_day else full


def clock_seconds(at_ms: int, now_ms: int) -> str:
    """The same in whole seconds."""
    shown = clock(at_ms, now_ms)
    head, point, tail = shown.partition(".")
    return head + tail[3:] if point and _chosen not in (Times.UNIX, Times.RELATIVE) else shown


def began_at(at_ms: int, now_ms: int) -> str:
    """When something began, for a column of `began_cells()`: the time of day, or as it was chosen."""
    return ago(at_ms, now_ms) if is_relative(default=False) else clock_seconds(at_ms, at_ms)


def began_cells() -> int:
    """How wide such a column is: `14:30:00Z`, `14:30:00+02:00`, `1795765463.553`, `364d23h ago`."""
    return {None: 9, Times.UTC: 9, Times.RELATIVE: 11}.get(_chosen, 14)
