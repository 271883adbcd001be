"""Schedules in a simulated world: laid on its disk before anything happens, and what must hold of them when all is at rest."""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

from support.sim.clock import BEGIN_MS
from support.sim.disk import Disk
from support.sim.plans import TYPES
from wfctl.values.schedule import Overlap, ScheduleSpec, Timetable
from wfd.core import schedules as core
from wfd.core.records import RunStarted
from wfd.core.schedules import Schedule
from wfd.engine.schedules import Schedules
from wfd.runtime.calendar import calendar_of
from wfd.store.rows import ScheduleRow

END_MS = BEGIN_MS + 6_000


def lay_out(disk: Disk, chance: random.Random) -> None:
    """In some worlds one or two schedules, which end by themselves: a world has to come to rest."""
    for number in range(chance.choice((0, 0, 1, 2))):
        spec = ScheduleSpec(
            workflow_type=chance.choice(TYPES),
            timetable=Timetable(every_ms=chance.choice((1_000, 2_000)), until_at=END_MS),
            input=msgspec.Raw(b'{"n":"by the clock"}'),
            overlap=chance.choice(list(Overlap)),
            catch_up_ms=chance.choice((0, 500, 1_500, 86_400_000)),
            timeout_ms=chance.choice((None, 700)),
            times=chance.choice((None, None, 1, 3)),
        )
        made = Schedule(f"clock{number}", spec, BEGIN_MS, BEGIN_MS, BEGIN_MS)
        next_at = core.wakes_at(made, calendar_of(spec.timetable))
        disk.schedules[made.id] = ScheduleRow(made.id, 1, spec.workflow_type, False, next_at, core.dump(made))


def kept(disk: Disk) -> Iterator[str]:
    """Of each schedule: a run for each time that it says it started, none twice, and every other time is counted."""
    for id, row in disk.schedules.items():
        schedule = core.parse(row.state)
        started: list[int] = []
        for key in disk.runs:
            first = disk.records(key)[0][1]
            assert isinstance(first, RunStarted)
            if first.schedule is not None and first.schedule.id == id:
                started.append(first.schedule.at_ms)
        if len(set(started)) != len(started):
            yield f"schedule {id} started a run twice for one of {sorted(started)}"
        if len(started) != schedule.started:
            yield f"schedule {id} counts {schedule.started} runs, and there are {len(started)}"
        if schedule.spec.times is not None and schedule.started > schedule.spec.times:
            yield f"schedule {id} started {schedule.started} runs of {schedule.spec.times}"
        calendar = calendar_of(schedule.spec.timetable)
        came = calendar.passed(BEGIN_MS, min(schedule.after, END_MS))
        dealt = schedule.started + schedule.skipped + schedule.missed + len(schedule.waiting)
        enough = schedule.spec.times is not None and schedule.started + len(schedule.waiting) == schedule.spec.times
        if dealt != came and not (enough and dealt < came):
            yield f"schedule {id} dealt with {dealt} of {came} times: {row.state}"
        if schedule.spec.catch_up_ms == 86_400_000 and schedule.missed:
            yield f"schedule {id} missed {schedule.missed} times that it was to make good"


def at_rest(disk: Disk, schedules: Schedules) -> Iterator[str]:
    """What the engine holds is what is on disk, and nothing is due."""
    for id, row in disk.schedules.items():
        held = schedules.held[id]
        if (held.version, core.dump(held.schedule)) != (row.version, row.state):
            yield f"schedule {id} is held as {held}, on disk it is {row}"
        if held.wakes_at is not None:
            yield f"schedule {id} was due at {held.wakes_at}, and nobody looked at it"
        open_runs = [one for one in held.schedule.open if disk.open_ids.get(one.workflow_id) == one.key]
        if held.schedule.waiting and not open_runs:
            yield f"schedule {id} waits for a run that is closed"
