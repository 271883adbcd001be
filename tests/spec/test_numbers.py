"""Whatever numbers a call comes with: it is answered, or refused with what is wrong with them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from support.raw_peer import Peer
from wfctl import Context, Directive, Workflow
from wfctl.protocol.calls import Hello
from wfctl.values.numbers import MOST
from wfd.testing import WorkflowEnvironment

HOURLY = {"every_ms": 3_600_000}
# A call of each verb that takes numbers, and where they stand in it.
CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("list", {}, ["limit", "since_ms"]),
    ("count", {}, ["since_ms"]),
    ("history", {"id": "w"}, ["limit", "after_seq", "before_seq"]),
    ("tail", {"ids": ["w"]}, ["since_rev", "since_ms", "last"]),
    ("watch", {"id": "w", "changes": True}, ["since_rev", "every_ms"]),
    ("tree", {"id": "w"}, ["limit", "depth", "sample", "group_at"]),
    ("tree", {}, ["limit", "depth", "sample", "group_at"]),
    ("result", {"id": "w", "wait": False}, ["timeout_ms"]),
    ("start", {"workflow_type": "Waits", "dry_run": True}, ["timeout_ms", "begins_at", "delay_ms"]),
    ("purge", {"statuses": ["completed"], "dry_run": True}, ["older_than_ms", "closed_until_at", "limit"]),
    ("schedule_next", {"timetable": HOURLY}, ["shown", "after_at"]),
    ("schedule_next", {"timetable": {"cron": "0 9 * * *", "tz": "Europe/Paris"}}, ["after_at"]),
]
SPEC = {"workflow_type": "Waits", "timetable": HOURLY}


@pytest.fixture
async def env() -> AsyncIterator[WorkflowEnvironment]:
    waits = Workflow("Waits")

    @waits.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    async with WorkflowEnvironment([waits]) as env:
        await env.client.start("Waits", workflow_id="w")
        await env.settle()
        yield env


async def _first(env: WorkflowEnvironment, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """The first that is said to a call."""
    peer = await Peer.connect(env.backend.config.socket)
    await peer.ask(Hello(version="1"))
    peer.write(msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + b"\n")
    answer = await peer.read()
    await peer.close()
    return answer


@pytest.mark.parametrize("number", [-MOST, -1, 0, MOST])
@pytest.mark.parametrize(
    ("method", "params", "names"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
async def test_a_number_at_its_bounds_is_no_error_that_nobody_foresaw(
    env: WorkflowEnvironment, caplog: pytest.LogCaptureFixture, method: str, params: dict[str, Any], names: list[str], number: int
) -> None:  # fmt: skip
    with caplog.at_level(logging.ERROR):
        for name in names:
            answer = await _first(env, method, {**params, name: number})
            assert answer.get("error", {"data": {"code": "invalid_argument"}})["data"]["code"] == "invalid_argument"
    assert not caplog.records


@pytest.mark.parametrize("number", [-MOST, -(10**15), 10**15, MOST])
async def test_a_schedule_does_not_end_at_a_time_that_no_calendar_has(env: WorkflowEnvironment, number: int) -> None:
    spec = {**SPEC, "timetable": {**HOURLY, "until_at": number}}
    error = (await _first(env, "schedule_add", {"schedule_id": "s", "spec": spec}))["error"]
    assert error["data"]["code"] == "invalid_argument"
    assert error["message"].startswith("the end of a schedule (--until) is a time from 1970 to the year 9999")
    for name in ("catch_up_ms", "timeout_ms", "times"):
        answer = await _first(env, "schedule_add", {"schedule_id": "s", "spec": {**SPEC, name: -MOST}, "dry_run": True})
        assert answer["error"]["data"]["code"] == "invalid_argument"
    assert await env.client.schedules.list() == []


async def test_a_wait_that_is_refused_for_its_length_is_not_kept(env: WorkflowEnvironment) -> None:
    peer = await Peer.connect(env.backend.config.socket)
    await peer.ask(Hello(version="1"))
    peer.write(b'{"jsonrpc":"2.0","id":1,"method":"result","params":{"id":"w","timeout_ms":1%b}}\n' % (b"0" * 400))
    assert (await peer.read())["error"]["data"]["code"] == "invalid_argument"
    assert env.engine._waiters == {}
    await peer.close()
