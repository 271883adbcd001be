"""A start that is made again under a workflow ID that has a closed run, as when its answer was lost: `if_closed`."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from spec.conftest import Serve
from support.checker import broken_promises
from support.faults import Disk, evict
from support.waiting import a_moment, until
from wfctl import (
    Context,
    Directive,
    InvalidPayloadError,
    RunFailedError,
    UnknownWorkflowTypeError,
    Workflow,
    WorkflowAlreadyClosed,
    WorkflowAlreadyRunning,
)
from wfctl.protocol import calls
from wfctl.values.status import Status
from wfd.engine.commands import Commands
from wfd.testing import WorkflowEnvironment


class Plan(msgspec.Struct):
    """A type of the user's own, which only a worker knows."""

    at: str


def quick(workflow_type: str = "Quick") -> Workflow:
    wf = Workflow(workflow_type)

    @wf.start()
    async def begin(ctx: Context, n: int = 0) -> Directive:
        return ctx.next.complete(n)

    return wf


def waits() -> Workflow:
    wf = Workflow("Waits")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @wf.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete("done")

    return wf


def planned() -> Workflow:
    wf = Workflow("Planned")

    @wf.start()
    async def begin(ctx: Context, plan: Plan) -> Directive:
        return ctx.next.complete(plan.at)

    return wf


def asked(**more: Any) -> calls.Start:
    return calls.Start(**{"workflow_type": "Waits", "workflow_id": "x", "if_closed": "use", **more})


async def ids(env: WorkflowEnvironment) -> list[str]:
    """Of all runs, the newest first."""
    return [run.run_id for run in await env.client.list()]


async def test_a_closed_run_is_used_refused_or_followed_by_another(serve: Serve) -> None:
    env = await serve(quick())
    assert await env.client.run("Quick", workflow_id="q", workflow_input=1, if_closed="use") == 1
    (first,) = await ids(env)
    used = await env.client.start("Quick", workflow_id="q", workflow_input=2, if_closed="use")
    assert used.run_info is not None
    assert (used.run_info.id, await used.result()) == (first, 1)
    assert await env.client.run("Quick", workflow_id="q", workflow_input=2, if_closed="use") == 1
    with pytest.raises(WorkflowAlreadyClosed, match=rf"'q' has a closed run: {first} \(completed\)") as caught:
        await env.client.start("Quick", workflow_id="q", if_closed="fail")
    assert (caught.value.exit_status, caught.value.code) == (5, "already_closed")
    assert (caught.value.detail["run_id"], caught.value.detail["status"]) == (first, "completed")
    assert "--if-closed=use" in str(caught.value.hint)
    assert await ids(env) == [first]
    assert await env.client.run("Quick", workflow_id="q", workflow_input=3) == 3
    assert await env.client.run("Quick", workflow_id="q", workflow_input=4, if_closed="use") == 3
    assert len(await ids(env)) == 2


@pytest.mark.parametrize("if_closed", ["use", "fail"])
async def test_an_id_without_a_run_and_a_start_without_an_id_begin_one(serve: Serve, if_closed: Any) -> None:
    env = await serve(quick())
    assert await env.client.run("Quick", workflow_id="q", workflow_input=1, if_closed=if_closed) == 1
    assert await env.client.run("Quick", workflow_input=2, if_closed=if_closed) == 2
    assert not env.engine.sought


async def test_the_handle_tells_whether_the_run_was_there_before(serve: Serve) -> None:
    env = await serve(waits())

    async def existing(**more: Any) -> bool:
        handle = await env.client.start("Waits", workflow_id="w", if_running="use", **more)
        return handle.existing

    assert not await existing(dry_run=True)
    assert not await existing()
    assert await existing()
    handle = env.client.handle("w")
    assert not handle.existing
    await handle.send("finish")
    assert await handle.result() == "done"
    assert await existing(if_closed="use")
    assert not await existing()


async def test_the_result_of_a_closed_run_that_failed_is_its_failure(serve: Serve) -> None:
    wf = Workflow("Fails")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.fail("no card")

    env = await serve(wf)
    for _ in range(2):
        with pytest.raises(RunFailedError, match="no card"):
            await env.client.run("Fails", workflow_id="f", if_closed="use")
    assert len(await ids(env)) == 1


async def test_open_runs_are_a_matter_of_if_running_whatever_if_closed_says(serve: Serve) -> None:
    env = await serve(waits())
    await (await env.client.start("Waits", workflow_id="x")).terminate()
    second = await env.client.start("Waits", workflow_id="x")
    assert second.run_info is not None
    for answer in ("use", "fail"):
        with pytest.raises(WorkflowAlreadyRunning):
            await env.client.start("Waits", workflow_id="x", if_closed=answer)  # type: ignore[arg-type]
        used = await env.client.start("Waits", workflow_id="x", if_running="use", if_closed=answer)  # type: ignore[arg-type]
        assert used.run_info is not None
        assert used.run_info.id == second.run_info.id
    await second.terminate()
    with pytest.raises(WorkflowAlreadyClosed):
        await env.client.start("Waits", workflow_id="x", if_running="use", if_closed="fail")


async def test_a_closed_run_of_another_type_is_not_used(serve: Serve) -> None:
    env = await serve(quick(), waits())
    await env.client.run("Quick", workflow_id="x")
    with pytest.raises(WorkflowAlreadyClosed, match="has a closed run of type 'Quick', not 'Waits'"):
        await env.client.start("Waits", workflow_id="x", if_closed="use")
    assert len(await ids(env)) == 1


async def test_what_is_wrong_with_the_type_is_told_before_runs_are_looked_for(serve: Serve) -> None:
    env = await serve(quick())
    await env.client.run("Quick", workflow_id="q")
    with pytest.raises(UnknownWorkflowTypeError):
        await env.client.start("Quik", workflow_id="q", if_closed="use")
    with pytest.raises(InvalidPayloadError):
        await env.client.start("Quick", workflow_id="new", workflow_input={"m": 1}, if_closed="use")
    with pytest.raises(ValueError, match="if_closed is 'start', 'use' or 'fail', not 'perhaps'"):
        await env.client.start("Quick", workflow_id="q", if_closed="perhaps")  # type: ignore[arg-type]


async def test_rehearsed_and_later_starts_find_a_closed_run_too(serve: Serve) -> None:
    env = await serve(quick())
    await env.client.run("Quick", workflow_id="q")
    commands = Commands(env.engine)
    for more in ({"dry_run": True}, {"delay_ms": 1_000}):
        answer = await commands.start(asked(workflow_type="Quick", workflow_id="q", **more))
        assert (answer.existing, answer.status, answer.begins_at) == (True, Status.COMPLETED, None)
        with pytest.raises(WorkflowAlreadyClosed):
            await commands.start(asked(workflow_type="Quick", workflow_id="q", if_closed="fail", **more))
    assert (await commands.start(asked(workflow_type="Quick", workflow_id="r", dry_run=True))).run.id == ""
    assert len(await ids(env)) == 1


async def test_a_purged_run_is_not_known_any_more(serve: Serve) -> None:
    env = await serve(quick())
    await env.client.run("Quick", workflow_id="q", workflow_input=1)
    await env.client.purge(status=["completed"])
    assert await env.client.run("Quick", workflow_id="q", workflow_input=2, if_closed="use") == 2


async def test_a_run_that_is_open_again_is_no_closed_one(serve: Serve) -> None:
    wf, broken = Workflow("Fails"), [True]

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.fail("broken") if broken else ctx.next.wait_for_event()

    @wf.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete("mended")

    env = await serve(wf)
    first = await env.client.start("Fails", workflow_id="f")
    await first.wait()
    broken.clear()
    await first.retry()
    await evict(env)
    with pytest.raises(WorkflowAlreadyRunning):
        await env.client.start("Fails", workflow_id="f", if_closed="use")
    await first.send("finish")
    assert await env.client.run("Fails", workflow_id="f", if_closed="use") == "mended"


# -- before things are on the disk ------------------------------------------------------------------


async def test_a_run_that_closes_in_the_same_turn_is_found_and_told_of_once_that_is_on_disk(serve: Serve) -> None:
    env = await serve(waits())
    first = await env.client.start("Waits", workflow_id="x")
    await env.settle()
    commands, disk = Commands(env.engine), Disk(env)
    disk.hold()
    asks = [
        asyncio.ensure_future(commands.terminate(calls.Terminate(id="x"))),
        asyncio.ensure_future(commands.start(asked())),
        asyncio.ensure_future(commands.start(asked(if_closed="fail"))),
    ]
    await until(disk.held.is_set)
    assert not any(ask.done() for ask in asks)
    disk.let_go()
    _, used, refused = await asyncio.gather(*asks, return_exceptions=True)
    assert first.run_info is not None
    assert isinstance(used, calls.Started)
    assert (used.run.id, used.existing, used.status) == (first.run_info.id, True, Status.TERMINATED)
    assert isinstance(refused, WorkflowAlreadyClosed)
    assert broken_promises(env.store.path) == []


async def test_a_run_that_began_and_closed_in_the_same_turn_is_found(serve: Serve) -> None:
    env = await serve(waits())
    commands = Commands(env.engine)
    begun, _, used = await asyncio.gather(
        commands.start(asked(if_closed="start")), commands.terminate(calls.Terminate(id="x")), commands.start(asked())
    )
    assert (used.run.id, used.existing, used.status) == (begun.run.id, True, Status.TERMINATED)
    assert len(await ids(env)) == 1


async def test_of_several_starts_of_an_id_in_one_turn_one_begins_it(serve: Serve) -> None:
    env = await serve(waits(), planned())
    commands = Commands(env.engine)
    for workflow_type, data in (("Waits", b"null"), ("Planned", b'{"plan": {"at": "noon"}}')):
        call = asked(workflow_type=workflow_type, workflow_id=workflow_type, input=msgspec.Raw(data), if_running="use")
        answers = await asyncio.gather(*(commands.start(call) for _ in range(5)))
        assert sorted(answer.existing for answer in answers) == [False, True, True, True, True]
        assert len({answer.run.id for answer in answers}) == 1
    assert len(await ids(env)) == 2


async def test_a_run_that_began_and_closed_while_the_disk_was_asked_is_found(serve: Serve) -> None:
    env = await serve(quick())
    commands = Commands(env.engine)
    reader = env.store.reader
    look, looks = reader.newest_of, 0

    async def meanwhile(workflow_id: str) -> int | None:
        nonlocal looks
        looks += 1
        found = await look(workflow_id)
        if looks == 1:
            assert found is None
            assert await env.client.run("Quick", workflow_id="q", workflow_input=1) == 1
        return found

    reader.newest_of = meanwhile  # type: ignore[method-assign]
    answer = await commands.start(asked(workflow_type="Quick", workflow_id="q"))
    assert (answer.existing, answer.status, looks) == (True, Status.COMPLETED, 2)
    assert len(await ids(env)) == 1


async def test_who_asks_later_waits_for_who_asks_already(serve: Serve) -> None:
    """A second look must not take over the mark of the first, which a run that began meanwhile has taken away."""
    env = await serve(quick())
    commands, reader, later = Commands(env.engine), env.store.reader, []
    look = reader.newest_of

    async def stale(workflow_id: str) -> int | None:
        found = await look(workflow_id)
        if not later:
            await env.client.run("Quick", workflow_id="q")
            later.append(asyncio.ensure_future(commands.start(asked(workflow_type="Quick", workflow_id="q"))))
            await a_moment(0.05)
        else:
            await a_moment(0.2)
        return found

    reader.newest_of = stale  # type: ignore[method-assign]
    first = await commands.start(asked(workflow_type="Quick", workflow_id="q"))
    assert (first.existing, (await later[0]).existing) == (True, True)
    assert len(await ids(env)) == 1


async def test_a_start_that_does_not_ask_for_closed_runs_asks_the_disk_nothing(serve: Serve) -> None:
    env = await serve(quick())
    await env.client.run("Quick", workflow_id="q")

    async def never(workflow_id: str) -> int | None:
        raise AssertionError("nobody wanted to know")

    env.store.reader.newest_of = never  # type: ignore[method-assign]
    commands = Commands(env.engine)
    begun = commands.starting(asked(workflow_type="Quick", workflow_id="q", if_closed="start"))
    assert begun is not None
    assert not (await begun.future()).existing
    assert commands.starting(asked(workflow_type="Quick", workflow_id="q")) is None
