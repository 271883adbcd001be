"""Who waits for nothing but a run's end waits with a future, and no task."""

from __future__ import annotations

import asyncio

import pytest

from support.waiting import until
from wfctl import Context, Directive, Workflow
from wfctl.errors import StorageError
from wfctl.protocol import calls
from wfctl.values.status import Status
from wfd.engine.commands import Commands
from wfd.testing import WorkflowEnvironment


def approval() -> Workflow:
    wf = Workflow("Approval")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event("approved")

    @wf.event()
    async def approved(ctx: Context) -> Directive:
        return ctx.next.complete("yes")

    return wf


async def test_a_result_that_was_given_up_leaves_nothing_behind_and_the_others_are_answered() -> None:
    async with WorkflowEnvironment([approval()]) as env:
        handle = await env.client.start("Approval", workflow_id="a")
        asks = [asyncio.create_task(handle.result()) for _ in range(3)]
        (key,) = env.engine.open_ids.values()
        await until(lambda: len(env.engine._waiters.get(key, ())) == 3)
        asks[0].cancel()
        await until(lambda: len(env.engine._waiters[key]) == 2)
        await handle.send("approved")
        assert await asyncio.gather(*asks[1:]) == ["yes", "yes"]
        assert not env.engine._waiters


async def test_a_result_that_waits_hears_of_the_disk_that_failed() -> None:
    async with WorkflowEnvironment([approval()]) as env:
        handle = await env.client.start("Approval", workflow_id="a")
        ask = asyncio.create_task(handle.result())
        await until(lambda: bool(env.engine._waiters))
        env.engine.fail(StorageError("the disk is gone"))
        with pytest.raises(StorageError, match="the disk is gone"):
            await ask


@pytest.mark.parametrize(
    "more", [{"wait": False}, {"timeout_ms": 5}, {"stuck": True}, {"until": [Status.WAITING]}, {"id": "nobody"}]
)
async def test_what_is_more_than_a_wait_for_the_end_has_no_such_future(more: dict[str, object]) -> None:
    async with WorkflowEnvironment([approval()]) as env:
        await env.client.start("Approval", workflow_id="a")
        commands = Commands(env.engine)
        plain = commands.closing(calls.Result(id="a"))
        assert plain is not None
        plain.cancel()
        assert commands.closing(calls.Result(**{"id": "a", **more})) is None  # type: ignore[arg-type]
