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
# What one turn looks at, and starts, at most: another follows.
MOST_TIMES = 200
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
    return _bounded(schedule, calendar.next_after(schedule.after))


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
    due = _due(schedule, now, calendar)
    if not due:
        return None
    return _decided(_with(schedule, open=running), now, due)


def _left(schedule: Schedule) -> int | None:
    """How many more runs the clock may start; None: any number."""
    times = schedule.spec.times
    return None if times is None else max(times - schedule.clocked - len(schedule.waiting), 0)


def _bounded(schedule: Schedule, at: int | None) -> int | None:
    until = schedule.spec.timetable.until_at
    return None if at is None or (until is not None and at > until) else at


def _lost(schedule: Schedule, now: int, calendar: Calendar) -> Schedule | None:
    """The schedule without the times that are over for too long to be made good; None where there are none."""
    limit = now - schedule.spec.catch_up_ms - 1
    at = next_time(schedule, calendar)
    if at is None or at > limit:
        return None
    until = schedule.spec.timetable.until_at
    number = calendar.passed(schedule.after, limit if until is None else min(limit, until))
    return _with(schedule, after=limit, missed=schedule.missed + number, missed_at=now)


def _due(schedule: Schedule, now: int, calendar: Calendar) -> list[int]:
    due: list[int] = []
    at = next_time(schedule, calendar)
    while at is not None and at <= now and len(due) < MOST_TIMES:
        due.append(at)
        at = _bounded(schedule, calendar.next_after(at))
    return due


def _decided(schedule: Schedule, now: int, due: list[int]) -> Turn:
    """What becomes of the times that are `due`, by the schedule's overlap."""
    left = _left(schedule)
    busy = bool(schedule.open or schedule.waiting)
    match schedule.spec.overlap:
        case Overlap.ALLOW:
            start = due[: min(MOST_RUNS, len(due) if left is None else left)]
            return Turn(_with(schedule, after=start[-1]), tuple(start))
        case Overlap.QUEUE:
            start = [] if busy else due[:1]
            rest = due[len(start) :]
            room = MOST_WAITING - len(schedule.waiting)
            kept = rest[: room if left is None else min(room, left - len(start))]
            # Once the last run that `times` allows is started or waits, nothing later counts as skipped.
            over = 0 if left is not None and len(start) + len(kept) == left else len(rest) - len(kept)
            moved = _with(schedule, after=due[-1], waiting=(*schedule.waiting, *kept))
            return Turn(_skip(moved, over, now), tuple(start))
        case Overlap.SKIP:
            start = [] if busy else due[-1:]
            return Turn(_skip(_with(schedule, after=due[-1]), len(due) - len(start), now), tuple(start))
        case Overlap.CANCEL | Overlap.TERMINATE:
            if not busy:
                return Turn(_skip(_with(schedule, after=due[-1]), len(due) - 1, now), (due[-1],))
            moved = _with(schedule, after=due[-1], waiting=(due[-1],))
            return Turn(_skip(moved, len(due) - 1 + len(schedule.waiting), now))


def _skip(schedule: Schedule, number: int, now: int) -> Schedule:
    return _with(schedule, skipped=schedule.skipped + number, skipped_at=now) if number else schedule


def started(schedule: Schedule, fired: Fired) -> Schedule:
    """The schedule with a run that was started for it."""
    watched = schedule.spec.overlap is not Overlap.ALLOW
    return _with(
        schedule,
        open=(*schedule.open, fired) if watched else (),
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
