"""What a schedule decides, over many histories: no time before it has come, none twice, none lost that is to be made good."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings, strategies as st

from wfctl.values.schedule import Overlap, ScheduleSpec, Timetable
from wfd.core import schedules as core
from wfd.core.schedules import Fired, Schedule
from wfd.runtime.calendar import Every, calendar_of

EVERY = 60_000
START = 1_800_000_000_000


def schedule(overlap: Overlap, catch_up_ms: int, times: int | None = None, every_ms: int = EVERY) -> Schedule:
    spec = ScheduleSpec(
        workflow_type="Report",
        timetable=Timetable(every_ms=every_ms),
        overlap=overlap,
        catch_up_ms=catch_up_ms,
        times=times,
    )
    return Schedule("s", spec, START, START, START)


class World:
    """A schedule that is saved with what it starts; runs close when they are told to, and the daemon dies at any time."""

    def __init__(self, made: Schedule) -> None:
        self.saved = core.dump(made)
        self.calendar = calendar_of(made.spec.timetable)
        self.open: set[int] = set()
        self.fired: list[tuple[int, int]] = []
        # The clock may be set back: what had come by then stays so.
        self.latest = 0

    @property
    def schedule(self) -> Schedule:
        return core.parse(self.saved)

    def is_open(self, fired: Fired) -> bool:
        return fired.key in self.open

    def look(self, now: int, survives: int) -> None:
        """Look at the clock, and die after `survives` commits."""
        current = self.schedule
        self.latest = max(self.latest, now)
        for _ in range(survives):
            turn = core.turn(current, now, self.calendar, self.is_open)
            if turn is None:
                return
            current = turn.schedule
            for at in turn.start:
                assert at <= self.latest, "a run was started before its time"
                key = len(self.fired) + 1
                current = core.started(current, Fired(at, f"s-{at}", f"run-{key}", key, now), self.is_open)
                self.fired.append((at, now))
                self.open.add(key)
            self.saved = core.dump(current)


MOVES = st.lists(
    st.tuples(st.integers(-5 * EVERY, 40 * EVERY), st.integers(0, 60), st.booleans()), min_size=1, max_size=25
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(list(Overlap)), st.integers(0, 20 * EVERY), MOVES)
def test_every_time_is_dealt_with_once_and_counted(
    overlap: Overlap, catch_up_ms: int, moves: list[tuple[int, int, bool]]
) -> None:
    world, now = World(schedule(overlap, catch_up_ms)), START
    for step, survives, closes in moves:
        now += step
        if closes:
            world.open.clear()
        world.look(now, survives)
    latest = max(world.latest, START)
    world.look(latest, 10_000)
    assert core.turn(world.schedule, latest, world.calendar, world.is_open) is None
    times = [at for at, _ in world.fired]
    assert times == sorted(set(times)), "a time was started twice, or out of order"
    after = world.schedule
    came = Every(EVERY, 0).passed(START, latest)
    assert after.started == len(times)
    if overlap is not Overlap.ALLOW:
        assert sum(one.key in world.open for one in after.open) <= 1
    assert after.started + after.skipped + after.missed + len(after.waiting) == came
    if catch_up_ms >= latest - START:
        assert after.missed == 0


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(list(Overlap)), st.integers(1, 7), MOVES)
def test_no_more_runs_are_started_than_were_asked_for(
    overlap: Overlap, times: int, moves: list[tuple[int, int, bool]]
) -> None:
    world, now = World(schedule(overlap, 100 * EVERY, times)), START
    for step, survives, closes in moves:
        now += step
        if closes:
            world.open.clear()
        world.look(now, survives)
    assert len(world.fired) + len(world.schedule.waiting) <= times
    now = max(world.latest, START)
    for _ in range(2 * times):
        world.open.clear()
        now += EVERY
        world.look(now, 100)
    assert len(world.fired) == times
    assert core.next_time(world.schedule, world.calendar) is None


def test_a_late_time_is_made_good_up_to_the_millisecond_that_was_asked_for() -> None:
    for late, runs in ((5 * EVERY, 1), (5 * EVERY + 1, 0)):
        world = World(schedule(Overlap.ALLOW, 5 * EVERY, every_ms=100 * EVERY))
        due = Every(100 * EVERY, 0).next_after(START)
        assert due is not None
        world.look(due + late, 100)
        assert (len(world.fired), world.schedule.missed) == (runs, 1 - runs)


def test_what_waits_beyond_the_most_is_counted_as_skipped() -> None:
    world = World(schedule(Overlap.QUEUE, 1_000 * EVERY))
    world.look(START + 150 * EVERY, 1_000)
    after = world.schedule
    assert (after.started, len(after.waiting)) == (1, core.MOST_WAITING)
    assert after.started + len(after.waiting) + after.skipped == Every(EVERY, 0).passed(START, START + 150 * EVERY)


ONE_AT_A_TIME = (Overlap.SKIP, Overlap.CANCEL, Overlap.TERMINATE)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ONE_AT_A_TIME), st.integers(1, 3_000), st.integers(0, EVERY - 1), st.booleans())
def test_of_late_times_the_newest_is_made_good_however_many_there_are(
    overlap: Overlap, late: int, more_ms: int, busy: bool
) -> None:
    world = World(schedule(overlap, 100_000 * EVERY))
    if busy:
        world.look(START + EVERY, 1)
    before = len(world.fired)
    now = START + (before + late) * EVERY + more_ms
    world.look(now, 10)
    world.open.clear()
    world.look(now, 10)
    kept = 0 if busy and overlap is Overlap.SKIP else 1
    assert [at for at, _ in world.fired[before:]] == [now - more_ms] * kept
    assert world.schedule.skipped == late - kept


@pytest.mark.parametrize("overlap", ONE_AT_A_TIME)
def test_of_a_late_day_of_minutes_by_the_clocks_of_a_zone_the_newest_is_made_good(overlap: Overlap) -> None:
    made = schedule(overlap, 100_000 * EVERY)
    timetable = Timetable(cron="* * * * *", tz="Europe/Paris")
    world = World(msgspec.structs.replace(made, spec=msgspec.structs.replace(made.spec, timetable=timetable)))
    world.look(START + 1_440 * EVERY + 7_000, 10)
    assert [at for at, _ in world.fired] == [START + 1_440 * EVERY]
    assert world.schedule.skipped == 1_439


class Asked(Every):
    """Counts how often it is asked."""

    number = 0

    def next_after(self, at: int) -> int | None:
        self.number += 1
        return super().next_after(at)


@pytest.mark.parametrize("overlap", [one for one in Overlap if one is not Overlap.ALLOW])
@pytest.mark.parametrize("busy", [False, True])
def test_years_of_seconds_take_one_look(overlap: Overlap, busy: bool) -> None:
    asked, years = Asked(1_000, 0), 20 * 365 * 86_400_000
    made = schedule(overlap, 2 * years, every_ms=1_000)
    if busy:
        made = msgspec.structs.replace(made, open=(Fired(START, "s-1", "r", 1, START),))
    turn = core.turn(made, START + years, asked, lambda fired: True)
    assert turn is not None
    after = turn.schedule
    assert len(turn.start) + len(after.waiting) + after.skipped == years // 1_000
    assert after.after == START + years
    assert asked.number < 200


@pytest.mark.parametrize("overlap", list(Overlap))
def test_what_is_started_by_hand_is_forgotten_once_it_has_closed(overlap: Overlap) -> None:
    current = msgspec.structs.replace(schedule(overlap, EVERY), paused=True)
    for key in range(1, 100):
        current = core.started(current, Fired(START, f"s-{key}", "r", key, START, True), lambda one: one.key % 50 == 0)
    watched = [] if overlap is Overlap.ALLOW else [50, 99]
    assert [fired.key for fired in current.open] == watched
    assert current.started == 99


def test_a_schedule_is_the_same_after_it_was_saved() -> None:
    made = msgspec.structs.replace(
        schedule(Overlap.QUEUE, 5),
        waiting=(START + 1,),
        runs=(Fired(1, "s-1", "r", 7, 2, True),),
        note="why",
        paused=True,
    )
    assert core.parse(core.dump(made)) == made
