"""Which run a handle means, where the run ID of one run is the workflow ID of another."""

from __future__ import annotations

from datetime import timedelta

import pytest

from spec.conftest import Serve
from wfctl import Context, Directive, NotFinishedError, RunNotFoundError, Workflow
from wfctl.client import WorkflowHandle
from wfctl.values.status import Status


def desk() -> Workflow:
    wf = Workflow("Desk")

    @wf.start()
    async def begin(ctx: Context, fail: bool = False) -> Directive:
        ctx.store.put("name", ctx.run.workflow_id)
        return ctx.next.fail("no") if fail else ctx.next.wait_for_event()

    @wf.event()
    async def note(ctx: Context, text: str) -> Directive:
        return ctx.next.wait_for_event()

    @wf.event()
    async def done(ctx: Context) -> Directive:
        return ctx.next.complete(ctx.run.workflow_id)

    @wf.query()
    async def name(ctx: Context) -> str:
        return await ctx.store.get("name", str)

    return wf


def run_id(handle: WorkflowHandle) -> str:
    assert handle.run_info is not None
    return handle.run_info.id


async def test_a_handle_of_a_start_is_that_very_run_though_another_has_its_run_id_as_workflow_id(serve: Serve) -> None:
    client = (await serve(desk())).client
    first = await client.start("Desk", workflow_id="first")
    second = await client.start("Desk", workflow_id=run_id(first))
    assert (await first.send("note", "x")).run_id == run_id(first)
    assert await first.query("name") == "first"
    with pytest.raises(NotFinishedError, match="run 'first'"):
        await first.result(timedelta(0))
    assert (await first.describe()).run.run_id == run_id(first)
    assert {entry.run_id for entry in await first.history()} == {run_id(first)}
    assert (await anext(first.watch())).run_id == run_id(first)
    assert (await first.cancel(dry_run=True)).run_id == run_id(first)
    await first.send("done")
    assert await first.result() == "first"
    assert not (await first.terminate()).changed
    assert (await second.describe()).run.status is Status.WAITING
    assert await client.list(parent=first) == []
    # Who names it by a text means a workflow ID, where it is one.
    assert (await client.handle(run_id(first)).describe()).run.run_id == run_id(second)


async def test_a_handle_of_a_start_retries_its_own_run(serve: Serve) -> None:
    client = (await serve(desk())).client
    first = await client.start("Desk", workflow_id="first", workflow_input={"fail": True})
    await client.start("Desk", workflow_id=run_id(first), workflow_input={"fail": True})
    retried = await first.retry(new=True, workflow_id="third")
    assert (retried.old_run_id, retried.workflow_id) == (run_id(first), "third")


async def test_a_handle_of_a_run_that_was_purged_is_of_none_and_not_of_one_that_is_called_so(serve: Serve) -> None:
    client = (await serve(desk())).client
    first = await client.start("Desk", workflow_id="first")
    await first.terminate()
    named = await client.start("Desk", workflow_id=run_id(first))
    begins = await client.start("Desk", workflow_id=f"{run_id(first)}-refund")
    assert (await client.purge(status="terminated")).runs == 1
    for call in (first.terminate, first.describe, first.history, first.result, lambda: first.send("done")):
        with pytest.raises(RunNotFoundError, match=f"no run '{run_id(first)}'"):
            await call()
    with pytest.raises(RunNotFoundError):
        await anext(first.watch())
    assert [(await one.describe()).run.status for one in (named, begins)] == [Status.WAITING, Status.WAITING]
