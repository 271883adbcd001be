"""Durations and instants: the one place where milliseconds, `timedelta` and text are converted.

Persisted and wire values are integer milliseconds (UTC epoch for instants) and are named `*_ms` or `*_at`;
the public API takes `timedelta`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from wfctl.errors import InvalidArgumentError

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")
MAX_MS = 100 * 365 * 86_400_000


def to_ms(value: timedelta, what: str = "duration") -> int:
    """`value` in whole milliseconds, rounded up so that a positive wait is never zero; negative is refused."""
    if not isinstance(value, timedelta):
        raise InvalidArgumentError(
            f"{what} must be a timedelta, not {type(value).__name__} {value!r}", hint="from datetime import timedelta"
        )
    ms, rest = divmod(value, timedelta(milliseconds=1))
    ms += bool(rest)
    if ms < 0:
        raise InvalidArgumentError(f"{what} is negative: {value}", hint="give one of nothing or more")
    if ms > MAX_MS:
        raise InvalidArgumentError(f"{what} is over 100 years: {value}", hint="give a shorter one")
    return ms


def left_ms(value: timedelta, what: str) -> int:
    """As `to_ms`, of the time until a moment: zero where that has passed."""
    return to_ms(max(value, timedelta()) if isinstance(value, timedelta) else value, what)


def moment_ms(value: datetime, what: str, wanted: str = "datetime") -> int:
    """`value` (local time where it has no zone) in epoch milliseconds. `wanted` is what else it might have been, for errors."""
    if not isinstance(value, datetime):
        raise InvalidArgumentError(
            f"{what} must be a {wanted}, not {type(value).__name__} {value!r}", hint="from datetime import datetime"
        )
    try:
        return round(value.timestamp() * 1_000)
    except (ValueError, OverflowError, OSError):
        # The first day of the year 1, or the last of 9999: in UTC it may be in a year that there is none of.
        raise InvalidArgumentError(f"{what} is too far away: {value}") from None


def from_ms(ms: int) -> timedelta:
    return timedelta(milliseconds=ms)


def parse_duration(text: str) -> int:
    """Milliseconds of `90s`, `5m`, `1h30m`, `250ms`, `3d`; InvalidArgumentError for anything else."""
    compact = text.strip().lower()
    if not _DURATION.fullmatch(compact):
        raise InvalidArgumentError(
            f"{text!r} is not a duration", hint="write a number and a unit: 250ms, 90s, 5m, 1h30m, 3d", value=text
        )
    ms = sum(round(float(number) * _UNITS_MS[unit]) for number, unit in _PART.findall(compact))
    if ms > MAX_MS:
        raise InvalidArgumentError(f"{text!r} is over 100 years", hint="give a shorter time", value=text)
    return ms


def format_duration(ms: int) -> str:
    """At most two units: `80ms`, `1.8s`, `38.0s`, `4m12s`, `23h59m`, `3d4h`."""
    if ms < 1_000:
        return f"{max(ms, 0)}ms"
    if ms < 59_950:
        return f"{ms / 1_000:.1f}s"
    seconds = round(ms / 1_000)
    for big, small, big_s, small_s in (("m", "s", 60, 1), ("h", "m", 3_600, 60), ("d", "h", 86_400, 3_600)):
        if seconds < big_s * (24 if big == "h" else 60) or big == "d":
            high, rest = divmod(seconds, big_s)
            low = rest // small_s
            return f"{high}{big}{low}{small}" if low else f"{high}{big}"
    raise AssertionError("unreachable: days take everything")


def rfc3339(at_ms: int) -> str:
    """`2026-11-23T03:00:01.204Z`: UTC with milliseconds."""
    moment = datetime.fromtimestamp(at_ms // 1_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03d}Z"


def parse_instant(text: str, now_ms: int) -> int:
    """Epoch milliseconds of an RFC 3339 time, a date, or a duration ago (`15m`)."""
    if _DURATION.fullmatch(text.strip().lower()):
        return now_ms - parse_duration(text)
    return parse_time(text, "15m (ago), 2026-11-23 or 2026-11-23T08:00:00Z")


def parse_time(text: str, forms: str = "2026-11-23 or 2026-11-23T08:00:00Z") -> int:
    """Epoch milliseconds of an RFC 3339 time or a date, local where it has no zone; InvalidArgumentError tells the `forms`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgumentError(f"{text!r} is not a time", hint=f"write {forms}", value=text) from None
    if moment.tzinfo is None:
        try:
            moment = moment.astimezone()
        except (ValueError, OverflowError):
            # The first day of the year 1, or the last of 9999: in UTC it may be in a year that there is none of.
            raise InvalidArgumentError(f"{text!r} is too far away", hint=f"write {forms}", value=text) from None
    return round(moment.timestamp() * 1_000)
