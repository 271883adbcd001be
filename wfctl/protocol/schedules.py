"""The verbs about schedules: workflows that the clock starts."""

from __future__ import annotations

import msgspec

from wfctl.protocol.call import Call
from wfctl.values.numbers import Number
from wfctl.values.schedule import Overlap, ScheduleSpec, Timetable


class TimeView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A time to come: `at` in UTC epoch ms, `local` as the clocks of its zone show it. `dst` is "gap" where the clocks jump over
    the time that was meant, and it comes right after the jump. Where the clocks show it two times that day it is "first" or "both":
    it comes the first time, or both."""

    at: int
    local: str
    dst: str = ""


class ScheduledRunView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A run that a schedule started for the time `at`. `status` is None where the run was purged. `by_hand`: with `run-now`."""

    at: int
    workflow_id: str
    run_id: str
    started_at: int
    status: str | None = None
    by_hand: bool = False


class ScheduleView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One schedule as every listing shows it.

    `status` is active, paused, blocked (`problem` says by what: its times wait, as long as `catch_up_ms` allows) or ended (it has
    no times to come). `next_at` is its next time, in the past where that is late. `started`, `skipped` and `missed` count times:
    the skipped met a run that was open, the missed were over for longer than they are made good. `waiting` are times that come when
    the runs before have closed, `open_runs` the workflow IDs of those it looks at for that. `note` is that of a pause.

    One that is set aside, because its row holds what no daemon has written, is blocked, and nothing more is known of it than its
    type: `tz` is empty, and `overlap`, `catch_up_ms`, `created_at` and `changed_at` are None.
    """

    schedule_id: str
    status: str
    workflow_type: str
    cron: str | None = None
    every_ms: int | None = None
    offset_ms: int = 0
    tz: str = ""
    until_at: int | None = None
    times: int | None = None
    overlap: Overlap | None = None
    catch_up_ms: int | None = None
    timeout_ms: int | None = None
    input: msgspec.Raw = msgspec.Raw(b"null")
    next_at: int | None = None
    next_local: str | None = None
    last: ScheduledRunView | None = None
    started: int = 0
    skipped: int = 0
    missed: int = 0
    skipped_at: int | None = None
    missed_at: int | None = None
    waiting: list[TimeView] = []
    open_runs: list[str] = []
    problem: str | None = None
    note: str = ""
    created_at: int | None = None
    changed_at: int | None = None


class ScheduleDetail(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A schedule with its next times and the newest runs that it started, the newest first."""

    schedule: ScheduleView
    next: list[TimeView] = []
    runs: list[ScheduledRunView] = []


class ScheduleAdded(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`replaced`: there was one of that ID. With `dry_run` nothing was written."""

    schedule: ScheduleView
    next: list[TimeView] = []
    replaced: bool = False
    dry_run: bool = False


class ScheduleAdd(Call, frozen=True):
    """Make a schedule, from now on. The input is checked against the type's signature, `text` and `positional` as in `start`.

    Where there is one of that ID: schedule_exists, or with `replace` it is changed to this and keeps its past. `shown` is how many
    of the next times are answered. With `dry_run` nothing is written.
    """

    method = "schedule_add"
    answer = ScheduleAdded
    schedule_id: str
    spec: ScheduleSpec
    text: dict[str, str] = {}
    paused: bool = False
    note: str = ""
    replace: bool = False
    dry_run: bool = False
    shown: Number = 5
    positional: bool = False


class ScheduleList(msgspec.Struct, frozen=True, kw_only=True):
    items: list[ScheduleView]


class ListSchedules(Call, frozen=True):
    """All schedules, by ID."""

    method = "schedule_list"
    answer = ScheduleList


class ShowSchedule(Call, frozen=True):
    method = "schedule_show"
    answer = ScheduleDetail
    schedule_id: str
    shown: Number = 5


class NextTimes(msgspec.Struct, frozen=True, kw_only=True):
    tz: str
    items: list[TimeView]


class ScheduleNext(Call, frozen=True):
    """The next `shown` times after `after_at` (None: now) of a schedule, or of a timetable of which there is none yet."""

    method = "schedule_next"
    answer = NextTimes
    schedule_id: str | None = None
    timetable: Timetable | None = None
    shown: Number = 5
    after_at: Number | None = None


class ScheduleChanged(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """`changed` is false where it was so already. With `dry_run` all of it is what would have been."""

    schedule_id: str
    status: str
    changed: bool
    next_at: int | None = None
    next_local: str | None = None
    tz: str = "UTC"
    dry_run: bool = False


class PauseSchedule(Call, frozen=True):
    """Pause it (`paused`), or let it go on: from now on, for the times between are not made good."""

    method = "schedule_pause"
    answer = ScheduleChanged
    schedule_id: str
    paused: bool
    note: str = ""


class ScheduleRan(msgspec.Struct, frozen=True, kw_only=True):
    schedule_id: str
    workflow_type: str
    run: ScheduledRunView


class RunSchedule(Call, frozen=True):
    """Start a run of it now, whatever the time, whether it is paused, and whatever of it is open."""

    method = "schedule_run"
    answer = ScheduleRan
    schedule_id: str


class RemoveSchedule(Call, frozen=True):
    """Take it away. The runs that it started go on."""

    method = "schedule_remove"
    answer = ScheduleChanged
    schedule_id: str
    dry_run: bool = False
