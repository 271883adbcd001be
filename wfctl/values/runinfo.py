"""Who a run is: the facts about it that never change, plus its parent."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class ParentInfo(msgspec.Struct, frozen=True, gc=False):
    id: str
    workflow_id: str
    workflow_type: str


class ScheduleInfo(msgspec.Struct, frozen=True):
    """The schedule that started a run, and for which time: `at_ms` is that time in UTC epoch milliseconds. A time that was made
    good lies before the run's start."""

    id: str
    at_ms: int


class RunInfo(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """`ctx.run` and `handle.run_info`.

    `id` is the run ID (a ULID), `workflow_id` the caller's stable name. `attempt` counts the executions
    of the current step, from 1; outside a handler it is 1. `started_at_ms` is UTC epoch milliseconds. `schedule` is set where
    a schedule started it.
    """

    id: str
    workflow_id: str
    workflow_type: str
    parent: ParentInfo | None = None
    root_id: str = ""
    attempt: int = 1
    started_at_ms: int = 0
    schedule: ScheduleInfo | None = None


class _Started(msgspec.Struct):
    records_ends: bool = False


encode: Callable[[RunInfo], bytes] = msgspec.json.Encoder().encode
decode: Callable[[bytes], RunInfo] = msgspec.json.Decoder(RunInfo).decode
_started = msgspec.json.Decoder(_Started).decode


def started(info: bytes) -> bytes:
    """What the start of a child is answered with, and replays to: its run, as JSON."""
    return info[:-1] + b',"records_ends":true}'


def records_ends(value: bytes) -> bool:
    """Whether a step that got this `value` has it recorded when it ends that child: older versions did not do so."""
    return _started(value).records_ends
