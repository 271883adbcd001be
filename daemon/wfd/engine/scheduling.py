"""What clients ask about schedules. Changes are decided in memory and answered once on disk; what is shown is read from there."""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Callable, Iterable
from operator import attrgetter

import msgspec

from wfctl.errors import (
    InvalidArgumentError,
    ScheduleExistsError,
    ScheduleNotFoundError,
    UnknownWorkflowTypeError,
)
from wfctl.protocol import schedules as p
from wfctl.values.commands import command
from wfctl.values.ids import check_new_id
from wfctl.values.numbers import MOST
from wfctl.values.schedule import MAX_SCHEDULE_ID_CHARS, ScheduleSpec, Timetable
from wfctl.values.status import Status
from wfctl.values.times import MAX_MS, rfc3339
from wfd.core import schedules as core
from wfd.core.schedules import Fired, Schedule
from wfd.core.state import Raw
from wfd.engine.arguments import bind_any, check_timeout, rebound
from wfd.engine.batch import Batch
from wfd.engine.commands import Commands
from wfd.engine.engine import Engine
from wfd.engine.schedules import Held, blocked, check_read, held, understood
from wfd.runtime.calendar import calendar_of, local_text, moments, with_end, zone_of
from wfd.runtime.clock import Clock
from wfd.store.reader import Reader
from wfd.supervisor import Catalog

MOST_SHOWN = 1_000


class ScheduleReads:
    """What is shown of schedules, from committed rows alone. Without a `catalog` (no daemon runs) nobody knows what is blocked."""

    def __init__(self, reader: Reader, clock: Clock, catalog: Callable[[], Catalog] | None = None) -> None:
        self._reader = reader
        self._clock = clock
        self._catalog = catalog

    async def list(self, call: p.ListSchedules) -> p.ScheduleList:
        found, aside = understood(await self._reader.schedules())
        statuses = await self._statuses([one.schedule for one in found.values()])
        items = [self._view(one, statuses) for one in found.values()]
        items += [
            p.ScheduleView(schedule_id=id, status="blocked", workflow_type=unread.type, problem=unread.why)
            for id, unread in aside.items()
        ]
        return p.ScheduleList(items=sorted(items, key=attrgetter("schedule_id")))

    async def show(self, call: p.ShowSchedule) -> p.ScheduleDetail:
        """Raises ScheduleNotFoundError with the nearest."""
        one = await self._find(call.schedule_id)
        schedule = one.schedule
        statuses = await self._statuses([schedule])
        return p.ScheduleDetail(
            schedule=self._view(one, statuses),
            next=self.upcoming(one, call.shown),
            runs=[_run(fired, statuses) for fired in reversed(schedule.runs)],
        )

    async def next(self, call: p.ScheduleNext) -> p.NextTimes:
        """Of a paused schedule, what would come if it were not. Raises InvalidArgumentError for a timetable that is none."""
        after = self._clock.now_ms() if call.after_at is None else call.after_at
        if (call.schedule_id is None) == (call.timetable is None):
            raise InvalidArgumentError(
                "the next times of a schedule or of a timetable: one of them", hint="leave out the other"
            )
        number = _number(call.shown)
        if call.timetable is not None:
            return p.NextTimes(tz=call.timetable.tz, items=_times(call.timetable, after, number))
        one = await self._find(call.schedule_id or "")
        schedule = one.schedule
        timetable = schedule.spec.timetable
        items = [] if _ended(one) else _times(timetable, max(after, schedule.after), _few(schedule, number))
        return p.NextTimes(tz=timetable.tz, items=items)

    def upcoming(self, one: Held, number: int) -> builtins.list[p.TimeView]:
        """Its next times, late ones first; none while it is paused."""
        schedule = one.schedule
        if schedule.paused or _ended(one):
            return []
        return _times(schedule.spec.timetable, schedule.after, _few(schedule, _number(number)))

    async def _find(self, id: str) -> Held:
        found, aside = understood(await self._reader.schedules())
        check_read(id, aside)
        if id not in found:
            raise unknown(id, list(found))
        return found[id]

    async def _statuses(self, schedules: Iterable[Schedule]) -> dict[str, str]:
        runs = {fired.run_id for one in schedules for fired in (*one.open, *one.runs)}
        return await self._reader.statuses_of(runs) if runs else {}

    def _view(self, one: Held, statuses: dict[str, str]) -> p.ScheduleView:
        schedule = one.schedule
        spec, timetable = schedule.spec, schedule.spec.timetable
        problem = blocked(one, self._catalog()) if self._catalog is not None else one.problem or None
        status = standing(one, problem)
        next_at = one.wakes_at if status in ("active", "blocked") else None
        zone = zone_of(timetable.tz) if one.calendar is not None else zone_of("UTC")
        return p.ScheduleView(
            schedule_id=schedule.id, status=status, workflow_type=spec.workflow_type, cron=timetable.cron,
            every_ms=timetable.every_ms, offset_ms=timetable.offset_ms, tz=timetable.tz, until_at=timetable.until_at,
            times=spec.times, overlap=spec.overlap, catch_up_ms=spec.catch_up_ms, timeout_ms=spec.timeout_ms,
            input=spec.input, next_at=next_at, next_local=None if next_at is None else local_text(next_at, zone),
            last=_run(schedule.runs[-1], statuses) if schedule.runs else None,
            started=schedule.started, skipped=schedule.skipped, missed=schedule.missed,
            skipped_at=schedule.skipped_at, missed_at=schedule.missed_at,
            waiting=[p.TimeView(at=at, local=local_text(at, zone)) for at in schedule.waiting],
            open_runs=[run.workflow_id for run in schedule.open if _is_open(statuses.get(run.run_id))],
            problem=problem if status == "blocked" else None, note=schedule.note,
            created_at=schedule.created_at, changed_at=schedule.changed_at,
        )  # fmt: skip


def standing(one: Held, problem: str | None) -> str:
    """The word for how a schedule stands."""
    if one.schedule.paused:
        return "paused"
    if problem is not None:
        return "blocked"
    return "ended" if _ended(one) and not one.schedule.waiting else "active"


def _ended(one: Held) -> bool:
    return one.calendar is not None and core.next_time(one.schedule, one.calendar) is None


def _few(schedule: Schedule, number: int) -> int:
    """So many times, or as many as are left of those that the clock may start."""
    times = schedule.spec.times
    return number if times is None else min(number, times - schedule.clocked - len(schedule.waiting))


def _is_open(status: str | None) -> bool:
    return status is not None and Status(status).open


def _run(fired: Fired, statuses: dict[str, str]) -> p.ScheduledRunView:
    return p.ScheduledRunView(
        at=fired.at, workflow_id=fired.workflow_id, run_id=fired.run_id, started_at=fired.started_at,
        status=statuses.get(fired.run_id), by_hand=fired.by_hand,
    )  # fmt: skip


def _times(timetable: Timetable, after: int, number: int) -> list[p.TimeView]:
    return [p.TimeView(at=at, local=local, dst=dst) for at, local, dst in moments(timetable, after, number)]


def _number(number: int) -> int:
    if not 1 <= number <= MOST_SHOWN:
        raise InvalidArgumentError(f"from 1 to {MOST_SHOWN} times are shown, not {number}", hint="-n 5")
    return number


def unknown(id: str, known: list[str]) -> ScheduleNotFoundError:
    near = difflib.get_close_matches(id, known, n=1, cutoff=0.6)
    return ScheduleNotFoundError(
        f"no schedule {id!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        hint=command("schedule show", near[0]) if near else "wfctl schedule list",
        schedule_id=id,
    )


class Scheduling(ScheduleReads):
    """One method a verb."""

    def __init__(self, engine: Engine, commands: Commands) -> None:
        super().__init__(engine.store.reader, engine.clock, lambda: engine.workers.catalog)
        self._e = engine
        self._commands = commands

    async def add(self, call: p.ScheduleAdd) -> p.ScheduleAdded:
        """Raises InvalidArgumentError, UnknownWorkflowTypeError, InvalidPayloadError, ScheduleExistsError."""
        engine = self._e
        await self._taking()
        spec = msgspec.structs.replace(call.spec, timetable=with_end(call.spec.timetable))
        _check(call, spec, engine.clock.now_ms())
        type = engine.workers.catalog.type_of(spec.workflow_type)
        self._check_free(call)
        given = rebound(type.start, spec.input, call.positional)
        kwargs = await bind_any(engine.workers, type, type.start, given, call.text)
        await self._taking()
        self._check_free(call)  # somebody may have made one meanwhile
        batch = engine.batch()
        schedule = Schedule(
            id=call.schedule_id, spec=msgspec.structs.replace(spec, input=Raw(kwargs)), created_at=batch.now,
            changed_at=batch.now, after=batch.now, paused=call.paused, note=call.note if call.paused else "",
        )  # fmt: skip
        before = engine.schedules.held.get(schedule.id)
        if before is not None:
            schedule = core.replaced(before.schedule, schedule)
        one = held(schedule, 1)
        answer = p.ScheduleAdded(
            schedule=self._view(one, await self._statuses([schedule]) if call.dry_run else {}),
            next=_times(spec.timetable, batch.now, _few(schedule, _number(call.shown))),
            replaced=before is not None,
            dry_run=call.dry_run,
        )
        if not call.dry_run:
            engine.schedules.put(batch, schedule)
            await self._done(batch)
        return answer

    def _check_free(self, call: p.ScheduleAdd) -> None:
        check_read(call.schedule_id, self._e.schedules.aside)
        before = self._e.schedules.held.get(call.schedule_id)
        if before is not None and not call.replace:
            raise ScheduleExistsError(
                f"there is a schedule {call.schedule_id!r} already, of {before.schedule.spec.workflow_type!r}",
                hint="add --replace to change it, or use another ID",
                schedule_id=call.schedule_id,
            )

    async def pause(self, call: p.PauseSchedule) -> p.ScheduleChanged:
        await self._taking()
        before = self._held(call.schedule_id).schedule
        batch = self._e.batch()
        if call.paused:
            after = core.paused(before, call.note)
        else:
            after = core.resumed(before, batch.now) if before.paused else before
        changed = after != before
        if changed:
            self._e.schedules.put(batch, after)
        answer = self._changed(self._held(call.schedule_id), changed=changed)
        await self._done(batch)
        return answer

    async def run(self, call: p.RunSchedule) -> p.ScheduleRan:
        """Raises UnknownWorkflowTypeError while its type is not loaded."""
        await self._taking()
        engine = self._e
        before = self._held(call.schedule_id).schedule
        type = engine.workers.catalog.types.get(before.spec.workflow_type)
        if type is None:
            raise UnknownWorkflowTypeError(
                engine.workers.catalog.missing(before.spec.workflow_type, "start", ""),
                hint="wfctl workflows",
                workflow_type=before.spec.workflow_type,
            )
        batch = engine.batch()
        at = batch.now
        while f"{before.id}-{rfc3339(at)}" in engine.open_ids:  # two in one millisecond
            at += 1
        after = engine.schedules.start(batch, before, type, at, by_hand=True)
        engine.schedules.put(batch, after)
        fired = after.runs[-1]
        status = next(change.decision.run.status for change in batch.changes if change.live.run.key == fired.key)
        await self._done(batch)
        return p.ScheduleRan(
            schedule_id=before.id,
            workflow_type=before.spec.workflow_type,
            run=_run(fired, {fired.run_id: str(status)}),
        )

    async def remove(self, call: p.RemoveSchedule) -> p.ScheduleChanged:
        await self._taking()
        if call.schedule_id in self._e.schedules.aside:
            answer = p.ScheduleChanged(
                schedule_id=call.schedule_id, status="blocked", changed=True, dry_run=call.dry_run
            )
        else:
            answer = self._changed(self._held(call.schedule_id), changed=True, dry_run=call.dry_run)
        if not call.dry_run:
            batch = self._e.batch()
            self._e.schedules.remove(batch, call.schedule_id)
            await self._done(batch)
        return answer

    async def _taking(self) -> None:
        self._commands.check_taking()
        while not await self._e.schedules.ready():
            self._commands.check_taking()
        self._commands.check_taking()

    async def _done(self, batch: Batch) -> None:
        await self._e.committed(batch)
        self._e.schedules.look_soon()

    def _held(self, id: str) -> Held:
        check_read(id, self._e.schedules.aside)
        found = self._e.schedules.held.get(id)
        if found is None:
            raise unknown(id, list(self._e.schedules.held))
        return found

    def _changed(self, one: Held, *, changed: bool, dry_run: bool = False) -> p.ScheduleChanged:
        view = self._view(one, {})
        return p.ScheduleChanged(
            schedule_id=view.schedule_id, status=view.status, changed=changed, next_at=view.next_at,
            next_local=view.next_local, tz=view.tz, dry_run=dry_run,
        )  # fmt: skip


def _check(call: p.ScheduleAdd, spec: ScheduleSpec, now: int) -> None:
    """Everything about it but its input."""
    check_new_id(call.schedule_id, "schedule ID")
    if len(call.schedule_id) > MAX_SCHEDULE_ID_CHARS:
        raise InvalidArgumentError(
            f"a schedule ID has at most {MAX_SCHEDULE_ID_CHARS} characters, for its runs are named after it, "
            f"not {len(call.schedule_id)}",
            hint="give a shorter one",
        )
    calendar = calendar_of(spec.timetable)
    _number(call.shown)
    until = spec.timetable.until_at
    first = calendar.next_after(now)
    if until is not None and (first is None or first > until):
        raise InvalidArgumentError(
            "it never comes: its first time is after its end (--until)",
            hint="give a later end, or none", until=rfc3339(until),
        )  # fmt: skip
    _check_limits(spec)


def _check_limits(spec: ScheduleSpec) -> None:
    if not 0 <= spec.catch_up_ms <= MAX_MS:
        raise InvalidArgumentError(f"times are made good for 0s to 100 years, not {spec.catch_up_ms} ms", hint="1d")
    check_timeout(spec.timeout_ms)
    if spec.times is not None and spec.times < 1:
        raise InvalidArgumentError(f"a schedule starts at least one run, not {spec.times}", hint="--times 1")
    # Not where it is decoded: one of an older daemon may be kept with more.
    if spec.times is not None and spec.times > MOST:
        raise InvalidArgumentError(
            f"a schedule starts at most {MOST:,} runs, not {spec.times}", hint="leave out --times"
        )
