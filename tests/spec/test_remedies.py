"""Remedies are commands that do what they say, whatever ID they are about."""

from __future__ import annotations

import shlex
from datetime import timedelta

import pytest

from spec.conftest import Serve
from wfctl import ConflictError, Context, Directive, RunCancelledError, RunClosedError, Workflow
from wfctl.errors import NotFinishedError, ScheduleNotFoundError, WorkflowAlreadyRunning
from wfctl.values.commands import command, quoted

wf = Workflow("W")


@wf.start()
async def begin(ctx: Context) -> Directive:
    return ctx.next.wait_for_event("go")


@wf.event()
async def go(ctx: Context) -> Directive:
    return ctx.next.complete()


@pytest.mark.parametrize(
    ("id", "typed"), [("w", "w"), ("a b", "'a b'"), ("$(reboot)", "'$(reboot)'"), ("-lead", "-- -lead")]
)
async def test_an_id_is_named_as_it_has_to_be_typed(serve: Serve, id: str, typed: str) -> None:
    env = await serve(wf)
    handle = await env.client.start("W", workflow_id=id)
    with pytest.raises(ConflictError) as waiting:
        await handle.retry()
    assert waiting.value.hint == f"wfctl show {typed}"
    await handle.cancel()
    with pytest.raises(RunCancelledError) as cancelled:
        await handle.result()
    assert cancelled.value.hint == f"wfctl show {typed}"
    with pytest.raises(RunClosedError) as closed:
        await handle.send("go")
    assert closed.value.hint == f"wfctl show {typed}"
    with pytest.raises(ConflictError) as refused:
        await handle.retry()
    assert refused.value.hint == f"wfctl retry --new {typed}"


async def test_so_it_is_where_nobody_waits_any_longer(serve: Serve) -> None:
    env = await serve(wf)
    handle = await env.client.start("W", workflow_id="a;b")
    with pytest.raises(NotFinishedError) as late:
        await handle.result(timeout=timedelta(milliseconds=1))
    assert late.value.hint == "wfctl show 'a;b'"


async def test_so_it_is_of_schedules(serve: Serve) -> None:
    env = await serve(wf)
    await env.client.schedules.create("-every night", "W", every=timedelta(hours=1))
    with pytest.raises(ScheduleNotFoundError) as near:
        await env.client.schedules.describe("-every nigth")
    assert near.value.hint == "wfctl schedule show -- '-every night'"


async def test_a_retry_onto_an_open_id_is_not_told_to_add_an_option_of_start(serve: Serve) -> None:
    env = await serve(wf)
    old = await env.client.start("W", workflow_id="w")
    await old.terminate()
    await env.client.start("W", workflow_id="taken")
    with pytest.raises(WorkflowAlreadyRunning) as refused:
        await old.retry(new=True, workflow_id="taken")
    assert refused.value.hint == "give the new run an ID that is free: --id ID"
    with pytest.raises(WorkflowAlreadyRunning) as start:
        await env.client.start("W", workflow_id="taken")
    assert "--if-running=use" in str(start.value.hint)


def test_options_stand_before_the_dashes_that_end_them() -> None:
    assert command("history", "order 1", options="--step 2") == "wfctl history 'order 1' --step 2"
    assert command("history", "-1", options="--step 2") == "wfctl history --step 2 -- -1"
    assert command("query", "-") == "wfctl query -"
    assert shlex.split(command("send", "it's", "-go")) == ["wfctl", "send", "--", "it's", "-go"]
    assert quoted("") == "''"
