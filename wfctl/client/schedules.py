"""Schedules, for programs: the same calls as `wfctl schedule` makes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from wfctl.client.connection import Link
from wfctl.client.handle import ClientHandle
from wfctl.errors import InvalidArgumentError
from wfctl.protocol import schedules as views
from wfctl.values import codec
from wfctl.values.ids import check_name, check_new_id
from wfctl.values.runinfo import RunInfo, ScheduleInfo
from wfctl.values.schedule import CATCH_UP_MS, Overlap, ScheduleSpec, Timetable
from wfctl.values.times import from_ms, moment_ms, to_ms
from wfctl.values.zones import local_zone

OverlapName = Literal["skip", "queue", "allow", "cancel", "terminate"]
_CATCH_UP = from_ms(CATCH_UP_MS)
Views = list[views.ScheduleView]


class Schedules:
    """`client.schedules`. Each change returns when it is on disk; an ID that is unknown raises ScheduleNotFoundError."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def create(
        self,
        schedule_id: str,
        workflow_type: str,
        *,
        workflow_input: Any = None,
        cron: str | None = None,
        every: timedelta | None = None,
        offset: timedelta = timedelta(0),
        tz: str | None = None,
        overlap: OverlapName = "skip",
        catch_up: timedelta = _CATCH_UP,
        workflow_timeout: timedelta | None = None,
        until: datetime | None = None,
        times: int | None = None,
        paused: bool = False,
        note: str = "",
        replace: bool = False,
        dry_run: bool = False,
    ) -> views.ScheduleView:
        """Start a run of `workflow_type` at every time of `cron` by the clocks of `tz` (default: this machine's), or `every` so
        often, counted from 1970 in UTC and moved by `offset`.

        The run of a time has the workflow ID `SCHEDULE-2026-11-27T09:00:00Z`, and finds that time in `ctx.run.schedule`. `overlap`
        says what becomes of a time that comes while a run of this schedule is open; a time that could not be kept is made
        good for `catch_up`. Nothing is started after `until` (local time where it has no zone), or once `times` runs were.
        Where there is one of that ID: ScheduleExistsError, or with `replace` it is changed. Also raises InvalidArgumentError,
        UnknownWorkflowTypeError and InvalidPayloadError; nothing is written then, nor with `dry_run`.
        """
        check_name(workflow_type, "workflow type")
        data = codec.encode(workflow_input, f"input of workflow {workflow_type!r}")
        spec = ScheduleSpec(
            workflow_type=workflow_type,
            timetable=_timetable(cron, every, offset, tz, until),
            input=msgspec.Raw(data),
            overlap=_overlap(overlap),
            catch_up_ms=to_ms(catch_up, "catch_up"),
            timeout_ms=None if workflow_timeout is None else to_ms(workflow_timeout, "workflow_timeout"),
            times=times,
        )
        added: views.ScheduleAdded = await self._link.call(
            views.ScheduleAdd(
                schedule_id=check_new_id(schedule_id, "schedule ID"),
                spec=spec,
                paused=paused,
                note=note,
                replace=replace,
                dry_run=dry_run,
                positional=codec.one_argument(workflow_input, data),
            )
        )
        return added.schedule

    async def list(self) -> Views:
        """All schedules, by ID."""
        found: views.ScheduleList = await self._link.call(views.ListSchedules())
        return found.items

    async def describe(self, schedule_id: str, *, shown: int = 5) -> views.ScheduleDetail:
        """One schedule with its next `shown` times and the newest runs that it started."""
        detail: views.ScheduleDetail = await self._link.call(
            views.ShowSchedule(schedule_id=check_name(schedule_id, "schedule ID"), shown=shown)
        )
        return detail

    async def next_times(
        self,
        schedule_id: str | None = None,
        *,
        cron: str | None = None,
        every: timedelta | None = None,
        offset: timedelta = timedelta(0),
        tz: str | None = None,
        until: datetime | None = None,
        after: datetime | None = None,
        shown: int = 5,
    ) -> views.NextTimes:
        """The `shown` times that come next, after the moment `after` (default: now), of a schedule, or of a timetable as `create`
        takes it. Each has `at` in UTC epoch milliseconds, `local` as the clocks of `tz` show it, and `dst` where these are changed.
        """
        own = None
        if schedule_id is None:
            own = _timetable(cron, every, offset, tz, until)
        elif any(given is not None for given in (cron, every, tz, until)) or offset:
            raise InvalidArgumentError(
                "a schedule has a timetable of its own", hint="leave out its ID, or the timetable"
            )
        else:
            check_name(schedule_id, "schedule ID")
        found: views.NextTimes = await self._link.call(
            views.ScheduleNext(
                schedule_id=schedule_id, timetable=own, shown=shown,
                after_at=None if after is None else moment_ms(after, "after"),
            )
        )  # fmt: skip
        return found

    async def pause(self, schedule_id: str, *, note: str = "") -> views.ScheduleChanged:
        """Start nothing until it is resumed. Runs that are open go on."""
        return await self._set(schedule_id, True, note)

    async def resume(self, schedule_id: str) -> views.ScheduleChanged:
        """Go on from now; the times of the pause are not made good."""
        return await self._set(schedule_id, False, "")

    async def _set(self, schedule_id: str, paused: bool, note: str) -> views.ScheduleChanged:
        changed: views.ScheduleChanged = await self._link.call(
            views.PauseSchedule(schedule_id=check_name(schedule_id, "schedule ID"), paused=paused, note=note)
        )
        return changed

    async def trigger(self, schedule_id: str) -> ClientHandle:
        """Start a run of it now, whatever the time, whether it is paused, and whatever of it is open."""
        ran: views.ScheduleRan = await self._link.call(
            views.RunSchedule(schedule_id=check_name(schedule_id, "schedule ID"))
        )
        run = ran.run
        info = RunInfo(
            run.run_id, run.workflow_id, ran.workflow_type, None, run.run_id, 1, run.started_at,
            ScheduleInfo(ran.schedule_id, run.at),
        )  # fmt: skip
        return ClientHandle(self._link, run.workflow_id, info)

    async def delete(self, schedule_id: str, *, dry_run: bool = False) -> views.ScheduleChanged:
        """Take it away. The runs that it started go on. With `dry_run` the answer is what would have been."""
        changed: views.ScheduleChanged = await self._link.call(
            views.RemoveSchedule(schedule_id=check_name(schedule_id, "schedule ID"), dry_run=dry_run)
        )
        return changed


def _timetable(
    cron: str | None, every: timedelta | None, offset: timedelta, tz: str | None, until: datetime | None
) -> Timetable:
    return Timetable(
        cron=cron,
        every_ms=None if every is None else to_ms(every, "every"),
        offset_ms=to_ms(offset, "offset"),
        tz=local_zone() if tz is None else tz,
        until_at=None if until is None else moment_ms(until, "until"),
    )


def _overlap(given: OverlapName) -> Overlap:
    try:
        return Overlap(given)
    except ValueError:
        raise InvalidArgumentError(f"overlap is one of {', '.join(Overlap)}, not {given!r}") from None
