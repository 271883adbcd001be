"""Instants and durations as people read them."""

from __future__ import annotations

from wfctl.values.times import format_duration, rfc3339


def ago(at_ms: int, now_ms: int) -> str:
    """`4m12s ago`, or `in 42m` for what is still to come."""
    if at_ms > now_ms:
        return f"in {short(at_ms - now_ms)}"
    return f"{short(now_ms - at_ms)} ago"


def short(ms: int) -> str:
    """A duration that counts up or down on a screen: whole seconds from ten seconds on."""
    return format_duration(ms if ms < 10_000 else ms // 1_000 * 1_000).replace(".0s", "s")


def when(at_ms: int, now_ms: int, *, relative: bool) -> str:
    return ago(at_ms, now_ms) if relative else rfc3339(at_ms)


def clock(at_ms: int, now_ms: int) -> str:
    """The time of day in UTC with milliseconds; with its date when that is not today's."""
    full = rfc3339(at_ms)
    return full[11:] if full[:10] == rfc3339(now_ms)[:10] else full


def clock_seconds(at_ms: int, now_ms: int) -> str:
    full = rfc3339(at_ms)
    short_form = f"{full[:19]}Z"
    return short_form[11:] if full[:10] == rfc3339(now_ms)[:10] else short_form
