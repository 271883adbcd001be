"""Schedules: what the clock starts, and when. Pure: the time is an argument, and so is the calendar.

A schedule has one mark, `after`: every time up to it has been dealt with, for good. What is due lies behind it, so neither a
restart nor a clock that is set can deal with a time twice or lose one. A turn moves the mark, and what it starts commits with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from wfctl.values.schedule import Overlap, ScheduleSpec

# Times that wait for the run before them; one more is skipped.
MOST_WAITING = 100
# What one turn starts at most: another follows.
MOST_RUNS = 20
KEPT_RUNS = 10


class Calendar(Protocol):
    """A timetable that can be asked. Times are whole seconds in UTC epoch ms."""

    def next_after(self, at: int) -> int | None:
        """The first time later than `at`; None where none comes."""

    def passed(self, after: int, until_at: int) -> int:
        """How many times are later than `after` and not later than `until_at`; beyond some thousand it may stop counting."""


class Fired(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run that was started for the time `at`; `by_hand` where somebody wanted it just then."""

    at: int
    workflow_id: str
    run_id: str
    key: int
    started_at: int
    by_hand: bool = False


class Schedule(msgspec.Struct, frozen=True, omit_defaults=True):
    """`waiting` are times that come when the runs of `open` have closed. `clocked` counts the runs that the clock started, `runs`
    are the newest of all, the oldest first. `spec.input` are keyword arguments."""

    id: str
    spec: ScheduleSpec
    created_at: int
    changed_at: int
    after: int
    paused: bool = False
    note: str = ""
    waiting: tuple[int, ...] = ()
    open: tuple[Fired, ...] = ()
    runs: tuple[Fired, ...] = ()
    started: int = 0
    clocked: int = 0
    skipped: int = 0
    missed: int = 0
    skipped_at: int | None = None
    missed_at: int | None = None


class Turn(msgspec.Struct, frozen=True):
    """What one look decided: the schedule as it is then, and the times for which a run is to be started in the same commit."""

    schedule: Schedule
    start: tuple[int, ...] = ()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Schedule).decode
_with = msgspec.structs.replace


def dump(schedule: Schedule) -> str:
    return _encode(schedule).decode()


def parse(text: str) -> Schedule:
    return _decode(text)


def next_time(schedule: Schedule, calendar: Calendar) -> int | None:
    """Its next time, late or to come, whether or not it is paused; None where no more comes."""
    if _left(schedule) == 0:
        return None
    at = calendar.next_after(schedule.after)
    return at if at is None or at <= _end(schedule, at) else None


def wakes_at(schedule: Schedule, calendar: Calendar) -> int | None:
    """When the clock has to look at it again."""
    return None if schedule.paused else next_time(schedule, calendar)


def turn(schedule: Schedule, now: int, calendar: Calendar, is_open: Callable[[Fired], bool]) -> Turn | None:
    """What is to be done now; None where nothing is. To be asked again until it is None.

    `is_open` tells whether a run that the schedule started is. Of several times that are late where only one run may be open, the
    newest is kept: it is the one that is still of use.
    """
    if schedule.paused:
        return None
    running = tuple(filter(is_open, schedule.open))
    if schedule.waiting and not running:
        first, *rest = schedule.waiting
        return Turn(_with(schedule, waiting=tuple(rest), open=()), (first,))
    if schedule.spec.catch_up_ms < now - schedule.after and (lost := _lost(schedule, now, calendar)) is not None:
        return Turn(lost)
    oldest, end = next_time(schedule, calendar), _end(schedule, now)
    if oldest is None or oldest > end:
        return None
    schedule = _with(schedule, open=running)
    match schedule.spec.overlap:
        case Overlap.ALLOW:
            start = _times(schedule, end, calendar, MOST_RUNS)
            return Turn(_with(schedule, after=start[-1]), tuple(start))
        case Overlap.QUEUE:
            return _queued(schedule, now, end, calendar)
        case Overlap.SKIP | Overlap.CANCEL | Overlap.TERMINATE:
            return _newest_alone(schedule, now, _newest(oldest, end, calendar), calendar)


def _left(schedule: Schedule) -> int | None:
    """How many more runs the clock may start; None: any number."""
    times = schedule.spec.times
    return None if times is None else max(times - schedule.clocked - len(schedule.waiting), 0)


def _end(schedule: Schedule, at: int) -> int:
    """No time later than that is of interest at `at`."""
    until = schedule.spec.timetable.until_at
    return at if until is None else min(at, until)


def _lost(schedule: Schedule, now: int, calendar: Calendar) -> Schedule | None:
    """The schedule without the times that are over for too long to be made good; None where there are none."""
    limit = now - schedule.spec.catch_up_ms - 1
    at = next_time(schedule, calendar)
    if at is None or at > limit:
        return None
    number = calendar.passed(schedule.after, _end(schedule, limit))
    return _with(schedule, after=limit, missed=schedule.missed + number, missed_at=now)


def _times(schedule: Schedule, end: int, calendar: Calendar, most: int) -> list[int]:
    """The first times that are due, at most so many, and none for which no more runs are left."""
    left = _left(schedule)
    most = most if left is None else min(most, left)
    found: list[int] = []
    at = calendar.next_after(schedule.after)
    while at is not None and at <= end and len(found) < most:
        found.append(at)
        at = calendar.next_after(at)
    return found


def _newest(first: int, end: int, calendar: Calendar) -> int:
    """The last time that is not later than `end`, as the time `first` is not. However many there are, few are looked at."""
    newest, high = first, end
    # Times are whole seconds, and none lies between `high` and `end`.
    while high - newest >= 1_000:
        middle = (newest + high) // 2
        found = calendar.next_after(middle)
        if found is None or found > end:
            high = middle
        else:
            newest = found
    return newest


def _queued(schedule: Schedule, now: int, end: int, calendar: Calendar) -> Turn:
    """The oldest times are started and wait, as many as there is room for; the others are skipped."""
    at_once = 0 if schedule.open or schedule.waiting else 1
    taken = _times(schedule, end, calendar, at_once + MOST_WAITING - len(schedule.waiting))
    moved = _with(
        schedule,
        after=taken[-1] if taken else schedule.after,
        waiting=(*schedule.waiting, *taken[at_once:]),
    )
    rest = calendar.next_after(moved.after)
    # Once the last run that `times` allows is started or waits, nothing later counts as skipped.
    if _left(schedule) != len(taken) and rest is not None and rest <= end:
        newest = _newest(rest, end, calendar)
        moved = _skip(_with(moved, after=newest), calendar.passed(moved.after, newest), now)
    return Turn(moved, tuple(taken[:at_once]))


def _newest_alone(schedule: Schedule, now: int, newest: int, calendar: Calendar) -> Turn:
    """The newest time is started, or what the overlap says where that cannot be; those before it are skipped."""
    moved = _skip(_with(schedule, after=newest), calendar.passed(schedule.after, newest - 1), now)
    if not (schedule.open or schedule.waiting):
        return Turn(moved, (newest,))
    if schedule.spec.overlap is Overlap.SKIP:
        return Turn(_skip(moved, 1, now))
    return Turn(_skip(_with(moved, waiting=(newest,)), len(schedule.waiting), now))


def _skip(schedule: Schedule, number: int, now: int) -> Schedule:
    return _with(schedule, skipped=schedule.skipped + number, skipped_at=now) if number else schedule


def started(schedule: Schedule, fired: Fired, is_open: Callable[[Fired], bool]) -> Schedule:
    """The schedule with a run that was started for it. It forgets those that have closed: where no time is due, as while it is
    paused, nothing else would."""
    watched = schedule.spec.overlap is not Overlap.ALLOW
    return _with(
        schedule,
        open=(*filter(is_open, schedule.open), fired) if watched else (),
        runs=(*schedule.runs, fired)[-KEPT_RUNS:],
        started=schedule.started + 1,
        clocked=schedule.clocked + (not fired.by_hand),
    )


def could_not_start(schedule: Schedule, now: int) -> Schedule:
    """The schedule after a time for which no run could be started, because somebody else's open run has its workflow ID."""
    return _skip(schedule, 1, now)


def paused(schedule: Schedule, note: str) -> Schedule:
    """Without a note one that is paused already keeps its own."""
    if schedule.paused and not note:
        return schedule
    return _with(schedule, paused=True, note=note)


def resumed(schedule: Schedule, now: int) -> Schedule:
    """It goes on with what comes from `now` on: what was meanwhile is not made good."""
    return _with(schedule, paused=False, note="", after=max(schedule.after, now))


def replaced(before: Schedule, after: Schedule) -> Schedule:
    """`after`, with the past of `before`. What waited does not come any more."""
    known = {fired.key: fired for fired in (*before.runs, *before.open)}
    kept = _with(
        after, created_at=before.created_at, runs=before.runs, started=before.started, skipped=before.skipped,
        missed=before.missed, skipped_at=before.skipped_at, missed_at=before.missed_at,
        open=() if after.spec.overlap is Overlap.ALLOW else tuple(known.values()),
    )  # fmt: skip
    return _skip(kept, len(before.waiting), after.changed_at)
