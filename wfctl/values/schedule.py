"""What a schedule is made of: when, what it starts, and what it does with times that overlap or were missed."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from wfctl.values.numbers import Long, Number

MAX_SCHEDULE_ID_CHARS = 200
SHORTEST_EVERY_MS = 1_000
CATCH_UP_MS = 86_400_000


class Overlap(StrEnum):
    """What becomes of a time that comes while a run of the schedule is still open."""

    SKIP = "skip"  # nothing is started
    QUEUE = "queue"  # it waits until the runs before it have closed
    ALLOW = "allow"  # a run is started beside it
    CANCEL = "cancel"  # the open run is asked to end; the new one starts when it has
    TERMINATE = "terminate"  # the open run is ended; the new one starts then


class Timetable(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """When: a `cron` expression by the clocks of the time zone `tz`, or `every_ms`, counted from 1970 in UTC and moved by
    `offset_ms`. Nothing after `until_at` (UTC epoch ms)."""

    cron: str | None = None
    every_ms: Number | None = None
    offset_ms: Number = 0
    tz: str = "UTC"
    until_at: Number | None = None


class ScheduleSpec(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is started, and when. A time that could not be kept is made good for `catch_up_ms`. `timeout_ms` is that of each run,
    `times` how many runs the clock starts at most."""

    workflow_type: str
    timetable: Timetable
    input: msgspec.Raw = msgspec.Raw(b"null")
    overlap: Overlap = Overlap.SKIP
    catch_up_ms: Number = CATCH_UP_MS
    timeout_ms: Number | None = None
    times: Long | None = None
