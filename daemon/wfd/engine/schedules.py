"""Schedules at work: runs that are started when their time has come, each in one commit with its schedule's own mark.

They are all held in memory, so that nothing is read between deciding and submitting; the disk is read when the daemon begins
and after it has failed. A timer is a hint, as everywhere: what is due follows from the mark. A schedule whose type is not loaded
is left as it is, late, until a reload brings the type back; then it is as if the daemon had been down meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import msgspec

from wfctl.errors import InvalidArgumentError, StorageError
from wfctl.protocol.views import Outcome, SchedulesView
from wfctl.values.commands import command
from wfctl.values.runinfo import ScheduleInfo
from wfctl.values.schedule import Overlap
from wfctl.values.signature import TypeSpec
from wfctl.values.times import format_duration, rfc3339
from wfd.core import schedules as core
from wfd.core.schedules import Fired, Schedule
from wfd.engine.batch import Batch
from wfd.runtime.calendar import AnyCalendar, calendar_of
from wfd.runtime.clock import Clock, TimerHandle
from wfd.runtime.ids import IdSource
from wfd.runtime.promise import Promise
from wfd.store.rows import ScheduleRow
from wfd.store.store import Store
from wfd.supervisor import Catalog, Workers

log = logging.getLogger("wfd.engine")

# So many commits are submitted before one is waited for.
AHEAD = 50


class Machine(Protocol):
    """What this needs of the engine."""

    store: Store
    workers: Workers
    clock: Clock
    ids: IdSource
    open_ids: dict[str, int]

    def batch(self) -> Batch: ...
    def new_key(self) -> int: ...
    def commit(self, batch: Batch) -> None: ...
    async def committed(self, batch: Batch) -> None: ...
    def wait_closed(self, key: int) -> Promise[Outcome]: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...
    async def again(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None: ...
    async def end_each(self, children: list[tuple[int, str]], why: str) -> None: ...


class Held(msgspec.Struct):
    """A schedule in memory. `wakes_at` is when the clock has to look at it; without a `calendar`, `problem` says why."""

    schedule: Schedule
    version: int
    calendar: AnyCalendar | None
    problem: str = ""
    wakes_at: int | None = None


def held(schedule: Schedule, version: int) -> Held:
    try:
        calendar = calendar_of(schedule.spec.timetable)
    except InvalidArgumentError as error:  # the machine knew the time zone once
        return Held(schedule, version, None, error.message)
    return Held(schedule, version, calendar, wakes_at=core.wakes_at(schedule, calendar))


class Unread(msgspec.Struct, frozen=True):
    """A row that no daemon has written: it is left as it is, can only be removed, and keeps no other schedule from going on."""

    version: int
    type: str
    why: str


def understood(rows: Iterable[ScheduleRow]) -> tuple[dict[str, Held], dict[str, Unread]]:
    """Schedules by their IDs, and what is none."""
    found: dict[str, Held] = {}
    aside: dict[str, Unread] = {}
    for row in rows:
        try:
            found[row.id] = held(core.parse(row.state), row.version)
        except msgspec.MsgspecError as error:
            aside[row.id] = Unread(
                row.version, row.type, f"schedule {row.id!r} cannot be read: column state of its row: {error}"
            )
    return found, aside


def check_read(id: str, aside: Mapping[str, Unread]) -> None:
    """Raises StorageError for a schedule that is set aside."""
    if id in aside:
        raise StorageError(aside[id].why, hint=command("schedule remove", id))


def blocked(one: Held, catalog: Catalog) -> str | None:
    """Why nothing of it can be started, though it is neither paused nor over."""
    if one.calendar is None:
        return one.problem
    spec = one.schedule.spec
    if spec.workflow_type in catalog.types:
        return None
    kept = format_duration(spec.catch_up_ms)
    return f"{catalog.missing(spec.workflow_type, 'start', '')}; its times wait for that, each for {kept}"


class Schedules:
    """`load` begins and `forget` ends it, when the daemon stops or its disk has failed."""

    def __init__(self, machine: Machine) -> None:
        self._m = machine
        self.held: dict[str, Held] = {}
        self.aside: dict[str, Unread] = {}
        self._loaded = asyncio.Event()
        self._timer: TimerHandle | None = None
        self._looking = False
        self._again = False
        # Counts how often everything was forgotten: who waited across that has nothing to go on with.
        self._life = 0
        self._ahead = 0
        # Keys of open runs that others wait for, and of those that were asked to end.
        self._watched: set[int] = set()
        self._ending: set[int] = set()

    async def load(self) -> None:
        life = self._life
        rows = await self._m.store.reader.schedules()
        if life == self._life:
            self.held, self.aside = understood(rows)
            for unread in self.aside.values():
                log.error("%s; it is set aside as it is, and the other schedules go on", unread.why)
            self._loaded.set()
            self.look_soon()

    def forget(self) -> None:
        self._life += 1
        # Who waits for it learns that it does not come.
        self._loaded.set()
        self._loaded = asyncio.Event()
        self.held.clear()
        self.aside.clear()
        self._watched.clear()
        self._ending.clear()
        self._set_timer(None)

    async def ready(self) -> bool:
        """Wait for what is on disk: until then nobody knows what there is. False where all was forgotten instead."""
        loaded = self._loaded
        await loaded.wait()
        return loaded is self._loaded

    def summary(self) -> SchedulesView:
        catalog = self._m.workers.catalog
        active = {id: one for id, one in self.held.items() if not one.schedule.paused}
        problems = {id: problem for id, one in active.items() if (problem := blocked(one, catalog)) is not None}
        due = [one.wakes_at for id, one in active.items() if one.wakes_at is not None and id not in problems]
        return SchedulesView(
            total=len(self.held) + len(self.aside),
            paused=len(self.held) - len(active),
            blocked=problems | {id: unread.why for id, unread in self.aside.items()},
            next_at=min(due, default=None),
        )

    # -- changes -------------------------------------------------------------------------------

    def put(self, batch: Batch, schedule: Schedule) -> None:
        """The schedule as it is from now on, in that batch."""
        before = self.held.get(schedule.id)
        version = 0 if before is None else before.version
        now = self.held[schedule.id] = held(schedule, version + 1)
        # Two changes of one batch are one on disk.
        changed = batch.schedules or {}
        expected = changed[schedule.id][1] if schedule.id in changed else version
        row = ScheduleRow(
            schedule.id, now.version, schedule.spec.workflow_type, schedule.paused, now.wakes_at, core.dump(schedule)
        )
        batch.put_schedule(schedule.id, row, expected)

    def remove(self, batch: Batch, id: str) -> None:
        batch.put_schedule(id, None, (self.held.pop(id, None) or self.aside.pop(id)).version)

    def start(self, batch: Batch, schedule: Schedule, type: TypeSpec, at: int, *, by_hand: bool = False) -> Schedule:
        """The schedule with a run for the time `at`, which is in that batch."""
        moment = rfc3339(at)
        workflow_id = f"{schedule.id}-{moment if by_hand else moment[:-5] + 'Z'}"
        if workflow_id in self._m.open_ids:
            log.warning("schedule %s: workflow ID %s has an open run of somebody else", schedule.id, workflow_id)
            return core.could_not_start(schedule, batch.now)
        spec = schedule.spec
        live = batch.open(
            key=self._m.new_key(), run_id=self._m.ids.run_id(batch.now), workflow_id=workflow_id,
            workflow_type=spec.workflow_type, handler=type.start.name, input=bytes(spec.input),
            timeout_ms=spec.timeout_ms, schedule=ScheduleInfo(schedule.id, at),
        )  # fmt: skip
        run = live.run
        fired = Fired(at, workflow_id, run.run_id, run.key, batch.now, by_hand)
        return core.started(schedule, fired, self._is_open)

    # -- what is due ---------------------------------------------------------------------------

    def look_soon(self) -> None:
        """Look at all that may be due: time has passed, a run has closed, other code is there."""
        if self._loaded.is_set():
            self._again = True
            if not self._looking:
                self._looking = True
                self._m.spawn(self._look())

    async def _look(self) -> None:
        life = self._life
        try:
            while self._again and life == self._life:
                self._again = False
                for id in list(self.held):
                    await self._see_to(id, life)
        except StorageError:
            pass  # the engine has said so, and begins again from the disk
        finally:
            self._looking = False
            if self._again:
                self.look_soon()
        if life == self._life:
            self._arm()

    async def _see_to(self, id: str, life: int) -> None:
        while life == self._life and id in self.held and self._turn(self.held[id]):
            self._ahead += 1
            if self._ahead % AHEAD == 0:
                await self._m.committed(self._m.batch())

    def _turn(self, one: Held) -> bool:
        """Do what is due of one schedule, or a part of it; False where nothing is."""
        schedule = one.schedule
        type = self._m.workers.catalog.types.get(schedule.spec.workflow_type)
        if schedule.paused or one.calendar is None or type is None:
            return False
        now = self._m.clock.now_ms()
        if not schedule.waiting and (one.wakes_at is None or one.wakes_at > now):
            return False
        decided = core.turn(schedule, now, one.calendar, self._is_open)
        if decided is None:
            self._wait_for(schedule)
            return False
        batch, after = self._m.batch(), decided.schedule
        for at in decided.start:
            after = self.start(batch, after, type, at)
        if after.missed > schedule.missed:
            log.warning(
                "schedule %s: %d times were missed and are not made good", schedule.id, after.missed - schedule.missed
            )
        self.put(batch, after)
        self._m.commit(batch)
        return True

    def _is_open(self, fired: Fired) -> bool:
        return self._m.open_ids.get(fired.workflow_id) == fired.key

    def _wait_for(self, schedule: Schedule) -> None:
        """Go on when the runs have closed that others wait for, and see to it that they do where that is what was asked for."""
        for fired in filter(self._is_open, schedule.open if schedule.waiting else ()):
            if fired.key not in self._watched:
                self._watched.add(fired.key)
                self._m.wait_closed(fired.key).then(partial(self._closed, fired.key))
            how = schedule.spec.overlap
            if how in (Overlap.CANCEL, Overlap.TERMINATE) and fired.key not in self._ending:
                self._ending.add(fired.key)
                why = f"schedule {schedule.id} starts its next run"
                self._m.spawn(self._m.again(partial(self._m.end_each, [(fired.key, str(how))], why)))

    def _closed(self, key: int, closed: Promise[Outcome]) -> None:
        # With an error the engine stops, or begins again from the disk: then all is looked at anyway.
        if closed.error is None:
            self._watched.discard(key)
            self._ending.discard(key)
            self.look_soon()

    def _arm(self) -> None:
        catalog = self._m.workers.catalog
        due = [
            one.wakes_at
            for one in self.held.values()
            if one.wakes_at is not None and one.schedule.spec.workflow_type in catalog.types
        ]
        self._set_timer(min(due, default=None))

    def _set_timer(self, at: int | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at is None else self._m.clock.call_at(at, self.look_soon)
