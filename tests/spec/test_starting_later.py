"""Runs that begin later than they are started: there from now on, and as durable as any other."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from spec.conftest import Serve
from support.checker import broken_promises
from support.history import kinds
from support.project import WFCTL
from wfctl import (
    Context,
    Directive,
    InvalidArgumentError,
    RunCancelledError,
    RunTimedOutError,
    Workflow,
    WorkflowAlreadyRunning,
)
from wfctl.protocol import calls

MINUTE = timedelta(minutes=1)


def report() -> Workflow:
    wf = Workflow("Report")

    @wf.start()
    async def begin(ctx: Context, name: str = "") -> Directive:
        if name:
            return ctx.next.complete(name)
        return ctx.next.wait_for_event()

    @wf.event()
    async def go(ctx: Context, what: str) -> Directive:
        return ctx.next.complete(what)

    return wf


@pytest.mark.parametrize("dry_run", [True, False])
async def test_a_run_that_begins_after_no_time_begins_at_once(serve: Serve, dry_run: bool) -> None:
    env = await serve(report())
    started = await env.client._link.call(calls.Start(workflow_type="Report", delay_ms=0, dry_run=dry_run))
    assert (started.status, started.begins_at) == ("running", None)


async def test_a_run_that_begins_later_is_there_sleeps_and_then_begins(serve: Serve) -> None:
    env = await serve(report())
    handle = await env.client.start("Report", workflow_id="r", workflow_input={"name": "ann"}, delay=10 * MINUTE)
    run = (await handle.describe()).run
    assert (run.status, run.step) == ("sleeping", "begin")
    assert run.wake_at == run.started_at + 600_000
    assert await kinds(handle) == ["run.started"]
    with pytest.raises(WorkflowAlreadyRunning):
        await env.client.start("Report", workflow_id="r")
    await env.advance(9 * MINUTE)
    assert (await handle.describe()).run.status == "sleeping"
    await env.advance(MINUTE)
    assert await handle.result() == "ann"
    tree = await env.client._link.call(calls.GetTree(id="r"))
    assert [(step.kind, step.name, step.status) for step in tree.roots[0].steps] == [
        ("sleep", "begin", "completed"), ("start", "begin", "completed"),
    ]  # fmt: skip
    assert broken_promises(env.store.path) == []


async def test_it_begins_after_a_crash_too_and_at_once_when_its_time_has_passed(serve: Serve) -> None:
    env = await serve(report())
    at = env.now + 10 * MINUTE
    handle = await env.client.start("Report", workflow_input={"name": "ann"}, at=at)
    await env.crash()
    assert (await handle.describe()).run.status == "sleeping"
    await env.advance(11 * MINUTE)
    assert await handle.result() == "ann"
    past = await env.client.start("Report", workflow_input={"name": "bob"}, at=datetime(2001, 1, 1, tzinfo=UTC))
    assert await past.result() == "bob"


async def test_it_can_be_cancelled_before_and_events_wait_for_it(serve: Serve) -> None:
    env = await serve(report())
    first = await env.client.start("Report", workflow_id="r", delay=MINUTE)
    await first.cancel()
    with pytest.raises(RunCancelledError):
        await first.result()
    second = await env.client.start("Report", workflow_id="r", delay=MINUTE)
    sent = await second.send("go", "now")
    assert (sent.dispatched, sent.position) == (False, 1)
    await env.advance(MINUTE)
    assert await second.result() == "now"


async def test_its_timeout_counts_from_its_beginning(serve: Serve) -> None:
    env = await serve(report())
    handle = await env.client.start("Report", delay=10 * MINUTE, workflow_timeout=MINUTE)
    await env.advance(10 * MINUTE + timedelta(seconds=59))
    assert (await handle.describe()).run.status == "waiting"
    await env.advance(timedelta(seconds=1))
    with pytest.raises(RunTimedOutError, match="its timeout of 1m"):
        await handle.result()


async def test_one_whose_time_was_up_before_it_could_begin_goes_on_when_it_is_retried(serve: Serve) -> None:
    env = await serve(report())
    handle = await env.client.start(
        "Report", workflow_input={"name": "ann"}, delay=10 * MINUTE, workflow_timeout=MINUTE
    )
    env.clock._now += 20 * 60_000  # as if nothing had run meanwhile
    await env.crash()
    await env.advance(timedelta(seconds=1))
    with pytest.raises(RunTimedOutError):
        await handle.result()
    assert "step.started" not in await kinds(handle)
    await handle.retry()
    await env.advance(timedelta(seconds=1))
    assert await handle.result() == "ann"
    assert broken_promises(env.store.path) == []


async def test_what_open_runs_need_of_the_code_counts_those_that_have_not_begun(serve: Serve) -> None:
    env = await serve(report())
    await env.client.start("Report", delay=MINUTE)
    (item,) = (await env.client.workflows()).items
    assert (item.open_runs, item.missing) == (1, [])


async def test_two_times_are_an_error(serve: Serve) -> None:
    env = await serve(report())
    with pytest.raises(InvalidArgumentError, match="not both"):
        await env.client.start("Report", at=env.now, delay=MINUTE)
    with pytest.raises(InvalidArgumentError, match="100 years"):
        await env.client.start("Report", at=datetime(9999, 1, 1, tzinfo=UTC))


async def test_a_time_that_no_run_can_have_is_refused_with_a_remedy(serve: Serve) -> None:
    env = await serve(report())
    start, schedule = env.client.start, env.client.schedules.create
    refused: list[tuple[str, str | None]] = []
    for call in (
        start("Report", at=datetime(9999, 1, 1, tzinfo=UTC)),
        start("Report", delay=-MINUTE),
        start("Report", delay=timedelta(days=50_000)),
        start("Report", workflow_timeout=timedelta()),
        schedule("s" * 201, "Report", every=MINUTE),
        schedule("s", "Report", every=MINUTE, until=datetime(2020, 1, 1, tzinfo=UTC)),
    ):
        with pytest.raises(InvalidArgumentError) as caught:
            await call
        refused.append((caught.value.message.partition(":")[0][:40], caught.value.hint))
    assert refused == [
        ("a run begins within 100 years", "give an earlier time"),
        ("delay is negative", "give one of nothing or more"),
        ("delay is over 100 years", "give a shorter one"),
        ("a timeout must be longer than nothing", "give a longer one, or none"),
        ("a schedule ID has at most 200 characters", "give a shorter one"),
        ("it never comes", "give a later end, or none"),
    ]


async def test_who_follows_a_run_that_has_not_begun_waits_until_it_does(serve: Serve) -> None:
    """Rule 6 of the command line, tail: wait until it starts."""
    env = await serve(report())
    handle = await env.client.start("Report", workflow_id="r", workflow_input={"name": "ann"}, delay=10 * MINUTE)
    following = await asyncio.create_subprocess_exec(
        *WFCTL, "tail", "-f", "r", "-o", "jsonl", stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "WFCTL_SOCKET": str(env.client._link.path)},
    )  # fmt: skip
    assert following.stdout is not None
    first = json.loads(await following.stdout.readline())
    assert (first["kind"], following.returncode) == ("run.started", None)
    await env.advance(10 * MINUTE)
    assert await handle.result() == "ann"
    rest, _ = await following.communicate()
    kinds = [json.loads(line)["kind"] for line in rest.splitlines()]
    assert (kinds[0], kinds[-2:]) == ("step.started", ["run.completed", "end"])
    assert following.returncode == 0
