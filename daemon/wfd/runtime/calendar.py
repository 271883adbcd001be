"""Timetables: when a cron expression or an interval comes, by the clocks of a time zone. Alone names cronsim and zoneinfo.

Where clocks change it is as in Debian's cron: a time of day that they jump over comes right after the jump, one that they show
twice comes the first time; what comes more often than that (`*` or `*/n` as minute or hour) goes by elapsed time.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import re
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

import msgspec
from cronsim import CronSim, CronSimError

from wfctl.errors import InvalidArgumentError
from wfctl.values.schedule import SHORTEST_EVERY_MS, Timetable
from wfctl.values.times import MAX_MS, format_duration

# How many times of a cron expression are counted at most: each minute of the longest day, which is how long times are made good
# where nothing else is said.
MOST_COUNTED = 1_500
# No time comes later: calendars end with the year 9999, in each zone.
LAST_AT = 253_402_128_000_000
# Nor can a `datetime` say one that is later, in any zone.
_LATEST = LAST_AT + 3 * 86_400_000
_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = {
    "minute": "0 to 59, such as 30, */15 or 0,30",
    "hour": "0 to 23, such as 9, 9-17 or */2",
    "day-of-month": "1 to 31, such as 1, 1,15, or L for the last",
    "month": "1 to 12 or jan to dec, such as 1-6 or jan,jul",
    "day-of-week": "0 to 7 or sun to sat, such as mon-fri, sat,sun, 5L or 1#2",
}


class Moment(NamedTuple):
    """A time as the clocks of its zone show it; `dst` as in `TimeView`."""

    at: int
    local: str
    dst: str


class Every:
    """An interval: it is counted from 1970, so that it does not depend on when somebody began it."""

    def __init__(self, every_ms: int, offset_ms: int) -> None:
        self._every = every_ms
        self._offset = offset_ms

    def next_after(self, at: int) -> int | None:
        found = ((max(at, 0) - self._offset) // self._every + 1) * self._every + self._offset
        return found if found <= LAST_AT else None

    def passed(self, after: int, until_at: int) -> int:
        return max((until_at - self._offset) // self._every - (after - self._offset) // self._every, 0)


class _Exact(CronSim):
    """CronSim goes from hour to hour by elapsed time, and so past a full hour where clocks change by half an hour, or at a quarter
    past one. On the days on which they change, this goes from minute to minute. It also begins a day at midnight where clocks jump
    over midnight; here such a day begins after the jump."""

    def advance_hour(self) -> bool:
        if self.dt.hour == 0 and self._jumped_over():
            while self._jumped_over():
                self.dt += timedelta(minutes=1)
            return True
        if self.dt.hour in self.hours or self._steady():
            return super().advance_hour()
        day = self.dt.date()
        while self.dt.hour not in self.hours and self.dt.date() == day:
            self._next_minute()
        return True

    def advance_minute(self) -> bool:
        if self.dt.minute in self.minutes or self._steady():
            return super().advance_minute()
        hour = self.dt.hour
        while self.dt.minute not in self.minutes and self.dt.hour == hour:
            self._next_minute()
        return True

    def _steady(self) -> bool:
        """Whether no clock is changed on the way to the next day, or was just now."""
        return (self.dt - timedelta(hours=4)).utcoffset() == (self.dt + timedelta(hours=30)).utcoffset()

    def _jumped_over(self) -> bool:
        """Whether the clocks never show this time; a time without a zone is put right when it is found."""
        there = self.dt.tzinfo
        return there is not None and self.dt.astimezone(UTC).astimezone(there) != self.dt

    def _next_minute(self) -> None:
        elapsed = self.dt.replace(second=0).astimezone(UTC) + timedelta(minutes=1)
        self.dt = elapsed.astimezone(self.dt.tzinfo)


class Cron:
    """A cron expression of five fields, by the clocks of `zone`."""

    def __init__(self, expression: str, zone: tzinfo) -> None:
        self._expression = expression
        self._zone = zone

    def _from(self, at: int) -> CronSim:
        return _Exact(self._expression, datetime.fromtimestamp(at // 1_000, UTC).astimezone(self._zone))

    def _times(self, after: int) -> Iterator[int]:
        if after >= LAST_AT:
            return
        with contextlib.suppress(OverflowError):  # it looks for one after the year 9999
            for moment in self._from(max(after, 0)):
                at = round(moment.timestamp()) * 1_000
                if at > LAST_AT:
                    return
                # In the second of two equal hours it looks back to the first one: what it finds there is over.
                if at > after:
                    yield at

    def next_after(self, at: int) -> int | None:
        return next(self._times(at), None)

    def passed(self, after: int, until_at: int) -> int:
        times = itertools.takewhile(lambda at: at <= until_at, self._times(after))
        return sum(1 for _ in itertools.islice(times, MOST_COUNTED))

    def dst(self, at: int) -> str:
        local = datetime.fromtimestamp(at // 1_000, UTC).astimezone(self._zone)
        simulated = self._from(at)
        if local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset():
            return "both" if simulated.fixup_tz is None else "first"
        meant = local.minute in simulated.minutes and local.hour in simulated.hours
        return "" if meant else "gap"


AnyCalendar = Every | Cron


def calendar_of(timetable: Timetable) -> AnyCalendar:
    """The timetable, checked. Raises InvalidArgumentError that names what is wrong in it, and what to write."""
    zone = zone_of(timetable.tz)
    if (timetable.cron is None) == (timetable.every_ms is None):
        raise InvalidArgumentError(
            "a schedule comes by a cron expression or every so often: one of them", hint="--cron '0 9 * * mon-fri'"
        )
    if timetable.cron is not None:
        if timetable.offset_ms:
            raise InvalidArgumentError("an offset moves an interval, not a cron expression", hint="write it as --every")
        return Cron(_checked(timetable.cron), zone)
    every, offset = timetable.every_ms or 0, timetable.offset_ms
    if not SHORTEST_EVERY_MS <= every <= MAX_MS or every % 1_000:
        raise InvalidArgumentError(
            f"an interval is whole seconds, from 1s to 100 years, not {format_duration(every)}", hint="--every 15m"
        )
    if not 0 <= offset < every or offset % 1_000:
        raise InvalidArgumentError(
            f"an offset is whole seconds and shorter than its interval of {format_duration(every)}, "
            f"not {format_duration(offset)}",
            hint="--every 1h --offset 5m",
        )
    return Every(every, offset)


def with_end(timetable: Timetable) -> Timetable:
    """The timetable with an end that the clocks of each zone can show. Raises InvalidArgumentError for one that no calendar has."""
    until = timetable.until_at
    if until is None or 0 <= until <= LAST_AT:
        return timetable
    if not 0 <= until <= _LATEST:
        raise InvalidArgumentError(
            "the end of a schedule (--until) is a time from 1970 to the year 9999",
            hint="leave it out, and there is no end",
        )
    return msgspec.structs.replace(timetable, until_at=LAST_AT)


def zone_of(name: str) -> tzinfo:
    """The time zone of that name; InvalidArgumentError with the nearest one."""
    if name == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        pass
    known = zoneinfo.available_timezones()
    if not known:
        raise InvalidArgumentError(
            f"no time zone {name!r}: this machine has no list of them", hint="pip install tzdata, or --tz UTC"
        )
    named = {one.lower(): one for one in known} | {one.lower().rpartition("/")[2]: one for one in sorted(known)}
    near = difflib.get_close_matches(name.lower(), named, n=1, cutoff=0.6)
    raise InvalidArgumentError(
        f"no time zone {name!r}" + (f"; did you mean {named[near[0]]!r}?" if near else ""),
        hint=f"--tz {named[near[0]]}" if near else "--tz Europe/Paris",
        value=name,
    )


def _checked(expression: str) -> str:
    """The expression in five fields, or InvalidArgumentError."""
    text = " ".join(expression.split())
    if text.startswith("@"):
        if text.lower() in _NICKNAMES:
            return _NICKNAMES[text.lower()]
        near = difflib.get_close_matches(text.lower(), _NICKNAMES, n=1, cutoff=0.6)
        raise InvalidArgumentError(
            f"cron expression {expression!r} is none" + (f"; did you mean {near[0]!r}?" if near else ""),
            hint=f"use one of {', '.join(_NICKNAMES)}",
            value=expression,
        )
    fields = text.split(" ") if text else []
    if len(fields) != len(_FIELDS):
        more = "; for what comes within a minute use --every" if len(fields) == 6 else ""
        raise InvalidArgumentError(
            f"cron expression {expression!r} has {len(fields)} fields, not 5{more}",
            hint="give minute, hour, day-of-month, month and day-of-week: '0 9 * * mon-fri'",
            value=expression,
        )
    try:
        simulated = CronSim(text, datetime(2024, 1, 1, tzinfo=UTC))
        next(simulated)
    except CronSimError as error:
        raise _bad_field(expression, fields, str(error)) from None
    except (StopIteration, ValueError, AssertionError):
        raise InvalidArgumentError(
            f"cron expression {expression!r} never comes", hint="correct its day or month", value=expression
        ) from None
    return text


def _bad_field(expression: str, fields: list[str], said: str) -> InvalidArgumentError:
    found = re.fullmatch(r"Bad (\S+)", said)
    name = found[1] if found else ""
    if name not in _FIELDS:
        return InvalidArgumentError(
            f"cron expression {expression!r} is wrong: {said}", hint="'0 9 * * mon-fri'", value=expression
        )
    value = fields[list(_FIELDS).index(name)]
    return InvalidArgumentError(
        f"cron expression {expression!r}: {value!r} is no {name}", hint=f"{name} is {_FIELDS[name]}", value=expression
    )


def moments(timetable: Timetable, after: int, number: int) -> list[Moment]:
    """The next `number` times after `after`, fewer where there are no more."""
    calendar, zone = calendar_of(timetable), zone_of(timetable.tz)
    found: list[Moment] = []
    at = calendar.next_after(after)
    while at is not None and len(found) < number and (timetable.until_at is None or at <= timetable.until_at):
        dst = calendar.dst(at) if isinstance(calendar, Cron) else ""
        found.append(Moment(at, local_text(at, zone), dst))
        at = calendar.next_after(at)
    return found


def local_text(at: int, zone: tzinfo) -> str:
    """`2026-11-27T09:00:00+01:00`."""
    return datetime.fromtimestamp(at // 1_000, UTC).astimezone(zone).isoformat(timespec="seconds")
