"""Who waits for nothing but the disk, or a run's end, has a promise, and no task."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from support.waiting import until
from wfctl import Context, Directive, Workflow
from wfctl.errors import (
    InvalidArgumentError,
    InvalidPayloadError,
    StorageError,
    UnknownWorkflowTypeError,
    WfctlError,
    WorkflowAlreadyRunning,
)
from wfctl.protocol import calls
from wfctl.values.status import Status
from wfd.engine.commands import Commands
from wfd.testing import WorkflowEnvironment


class Plan(msgspec.Struct):
    """A type of the user's own, which only a worker knows."""

    at: str


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
        assert not env.engine._waiters


async def test_who_waits_for_more_than_the_end_hears_of_the_disk_that_failed_too() -> None:
    async with WorkflowEnvironment([approval()]) as env:
        await env.client.start("Approval", workflow_id="a")
        ask = asyncio.create_task(Commands(env.engine).result(calls.Result(id="a", stuck=True)))
        await until(lambda: bool(env.engine._waiters))
        await env.settle()  # it has looked, and waits for something to change
        env.engine.fail(StorageError("the disk is gone"))
        with pytest.raises(StorageError, match="the disk is gone"):
            await asyncio.wait_for(ask, 5)


@pytest.mark.parametrize(
    "more", [{"wait": False}, {"timeout_ms": 5}, {"stuck": True}, {"until": [Status.WAITING]}, {"id": "nobody"}]
)
async def test_what_is_more_than_a_wait_for_the_end_has_no_such_promise(more: dict[str, object]) -> None:
    async with WorkflowEnvironment([approval()]) as env:
        await env.client.start("Approval", workflow_id="a")
        commands = Commands(env.engine)
        plain = commands.closing(calls.Result(id="a"))
        assert plain is not None
        plain.cancel()
        assert not env.engine._waiters
        assert commands.closing(calls.Result(**{"id": "a", **more})) is None  # type: ignore[arg-type]


async def test_a_start_that_needs_only_the_disk_is_promised_and_begun() -> None:
    async with WorkflowEnvironment([approval()]) as env:
        commands = Commands(env.engine)
        starting = commands.starting(calls.Start(workflow_type="Approval", workflow_id="a"))
        assert starting is not None
        assert not starting.done
        with pytest.raises(WorkflowAlreadyRunning):
            await commands.start(calls.Start(workflow_type="Approval", workflow_id="a"))
        started = await starting.future()
        assert (started.run.workflow_id, started.status, started.existing) == ("a", Status.RUNNING, False)
        assert [run.run_id for run in await env.client.list()] == [started.run.id]
        named = commands.starting(calls.Start(workflow_type="Approval"))
        assert named is not None
        assert (await named.future()).run.workflow_id.startswith("approval")


async def test_a_start_that_is_not_on_the_disk_is_answered_with_why() -> None:
    async with WorkflowEnvironment([approval()]) as env:
        starting = Commands(env.engine).starting(calls.Start(workflow_type="Approval", workflow_id="a"))
        assert starting is not None
        env.engine.fail(StorageError("the disk is gone"))
        with pytest.raises(StorageError, match="the disk is gone"):
            await starting.future()


@pytest.mark.parametrize(
    ("other", "error"),
    [
        ({"workflow_type": "Nothing"}, UnknownWorkflowTypeError),
        ({"workflow_id": "taken"}, None),
        ({"workflow_id": "taken", "if_running": "use"}, None),
        ({"workflow_id": " "}, InvalidArgumentError),
        ({"if_running": "perhaps"}, InvalidArgumentError),
        ({"timeout_ms": 0}, InvalidArgumentError),
        ({"timeout_ms": 2**63 - 1}, InvalidArgumentError),
        ({"delay_ms": -1}, InvalidArgumentError),
        ({"input": msgspec.Raw(b'{"unknown": 1}')}, InvalidPayloadError),
        ({"input": msgspec.Raw(b"[" * 2_000 + b"]" * 2_000)}, InvalidPayloadError),
        ({"workflow_type": "Listed", "text": {"of": "[" * 2_000 + "]" * 2_000}}, InvalidPayloadError),
        ({"workflow_type": "Dated", "input": msgspec.Raw(b'"2026-01-01"')}, None),
    ],
)
async def test_any_other_start_begins_nothing_there(other: dict[str, Any], error: type[WfctlError] | None) -> None:
    dated = Workflow("Dated")

    @dated.start()
    async def begin(ctx: Context, when: Plan) -> Directive:
        return ctx.next.complete(None)

    listed = Workflow("Listed")

    @listed.start()
    async def start(ctx: Context, of: list[int]) -> Directive:
        return ctx.next.complete(None)

    async with WorkflowEnvironment([approval(), dated, listed]) as env:
        await env.client.start("Approval", workflow_id="taken")
        commands = Commands(env.engine)
        call = calls.Start(**{"workflow_type": "Approval", "workflow_id": "a", **other})
        if error is None:
            assert commands.starting(call) is None
        else:
            with pytest.raises(error):
                commands.starting(call)
        assert list(env.engine.open_ids) == ["taken"]


async def test_a_rehearsed_start_begins_nothing() -> None:
    async with WorkflowEnvironment([approval()]) as env:
        starting = Commands(env.engine).starting(calls.Start(workflow_type="Approval", workflow_id="a", dry_run=True))
        assert starting is not None
        assert (await starting.future()).run.id == ""
        assert not env.engine.open_ids
