"""Children: started by a stable ID, independent, and heard of again."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from spec.conftest import Serve
from support.history import kinds, records
from wfctl import (
    Context,
    Directive,
    InvalidArgumentError,
    InvalidPayloadError,
    NoParentError,
    RunFailedError,
    RunTimedOutError,
    UnknownEventError,
    UnknownWorkflowTypeError,
    Workflow,
    WorkflowAlreadyRunning,
)


def child_that_waits() -> Workflow:
    child = Workflow("Child")

    @child.start()
    async def begin(ctx: Context, amount: float = 0) -> Directive:
        ctx.store.put("amount", amount)
        return ctx.next.wait_for_event()

    @child.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete("done")

    return child


def parent_that_starts(**options: object) -> Workflow:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        handle = await ctx.start("Child", workflow_id="kid", **options)  # type: ignore[arg-type]
        ctx.store.put("run_id", handle.run_info.id)
        ctx.store.put("parent", handle.run_info.parent.workflow_id if handle.run_info.parent else None)
        return ctx.next.wait_for_event()

    @parent.event()
    async def again(ctx: Context) -> Directive:
        handle = await ctx.start("Child", workflow_id="kid")
        ctx.store.put("again", handle.run_info.id)
        return ctx.next.wait_for_event()

    @parent.event()
    async def finish(ctx: Context) -> Directive:
        return ctx.next.complete(await ctx.store.get("run_id"))

    return parent


async def test_the_handle_knows_the_childs_run(serve: Serve) -> None:
    env = await serve(parent_that_starts(), child_that_waits())
    parent = await env.client.start("Parent", workflow_id="p")
    await env.settle()
    kid = (await env.client.handle("kid").describe()).run
    await parent.send("finish")
    assert await parent.result() == kid.run_id
    assert kid.parent is not None
    assert kid.parent.workflow_id == "p"


async def test_the_same_id_from_the_same_parent_is_the_same_child_also_after_it_has_closed(serve: Serve) -> None:
    env = await serve(parent_that_starts(), child_that_waits())
    parent = await env.client.start("Parent", workflow_id="p")
    await parent.send("again")
    await env.settle()
    await env.client.handle("kid").send("finish")
    await env.settle()
    await parent.send("again")
    await env.settle()
    store = (await parent.describe()).store
    assert store["run_id"] == store["again"]
    assert [data.get("existing", False) for data in await records(parent, "child.started")] == [False, True, True]
    assert len(await env.client.list(workflow_type="Child")) == 1
    assert (await parent.describe()).run.children == 1


async def test_somebody_elses_open_id_is_an_error_in_the_handler(serve: Serve) -> None:
    env = await serve(parent_that_starts(), child_that_waits())
    await env.client.start("Child", workflow_id="kid")
    parent = await env.client.start("Parent", workflow_id="p")
    with pytest.raises(RunFailedError, match=r"WorkflowAlreadyRunning.*'kid'"):
        await parent.result()
    assert "operation.refused" in await kinds(parent)


async def test_an_id_that_could_not_be_typed_is_refused_and_stays_readable_where_there_is_one(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = Workflow("Odd")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        with pytest.raises(InvalidArgumentError, match="workflow ID '-' could not be typed"):
            await ctx.start("Child", workflow_id="-")
        return ctx.next.complete("refused")

    env = await serve(parent, child_that_waits())
    assert await env.client.run("Odd") == "refused"
    for id in ("-", "@last"):
        with pytest.raises(InvalidArgumentError, match="on a command line it means"):
            await env.client.start("Child", workflow_id=id)
    with pytest.raises(InvalidArgumentError, match="schedule ID '-' could not be typed"):
        await env.client.schedules.create("-", "Child", every=timedelta(hours=1))
    with monkeypatch.context() as before:
        before.setattr("wfctl.values.ids._TAKEN", {"workflow ID": {}})
        await env.client.start("Child", workflow_id="-")
    old = env.client.handle("-")
    assert (await old.describe()).run.workflow_id == "-"
    await old.send("finish")
    assert await old.result() == "done"


async def test_parent_and_child_run_in_parallel(serve: Serve) -> None:
    met = asyncio.Event()
    parent, child = Workflow("Parent"), Workflow("Child")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.start("Child", workflow_id="kid")
        await met.wait()
        return ctx.next.complete("met")

    @child.start()
    async def meet(ctx: Context) -> Directive:
        met.set()
        return ctx.next.complete()

    env = await serve(parent, child)
    assert await env.client.run("Parent") == "met"


async def test_a_childs_timeout_ends_it_as_timed_out_and_its_parent_hears_of_it(serve: Serve) -> None:
    env = await serve(parent_that_starts(workflow_timeout=timedelta(minutes=5)), child_that_waits())
    parent = await env.client.start("Parent", workflow_id="p")
    await env.advance(timedelta(minutes=4, seconds=59))
    assert (await env.client.handle("kid").describe()).run.status == "waiting"
    await env.advance(timedelta(seconds=1))
    with pytest.raises(RunTimedOutError, match="5m"):
        await env.client.handle("kid").result()
    assert [data["status"] for data in await records(parent, "child.closed")] == ["timed_out"]


async def test_an_unknown_type_is_an_error_that_names_the_nearest(serve: Serve) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        try:
            await ctx.start("Chlid", workflow_id="kid")
        except UnknownWorkflowTypeError as error:
            return ctx.next.complete(f"{error} {error.hint}")
        return ctx.next.complete("started")

    env = await serve(parent, child_that_waits())
    assert "Child" in await env.client.run("Parent")


async def test_input_the_child_cannot_take_is_an_error_that_says_what_it_takes(serve: Serve) -> None:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        try:
            await ctx.start("Child", workflow_id="kid", workflow_input={"amont": "x"})
        except InvalidPayloadError as error:
            return ctx.next.complete(f"{error}; {error.hint}")
        return ctx.next.complete("started")

    env = await serve(parent, child_that_waits())
    said = await env.client.run("Parent")
    assert "'amont'" in said
    assert "amount: float" in said
    assert await env.client.list(workflow_type="Child") == []


# -- events to the parent -------------------------------------------------------------------------


def child_that_reports(event: str, payload: object) -> Workflow:
    child = Workflow("Child")

    @child.start()
    async def begin(ctx: Context) -> Directive:
        try:
            await ctx.send_to_parent(event, payload)
        except (UnknownEventError, InvalidPayloadError, NoParentError) as error:
            return ctx.next.complete(f"{type(error).__name__}: {error} {error.hint or ''}")
        return ctx.next.complete("sent")

    return child


def parent_that_listens() -> Workflow:
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.start("Child", workflow_id="kid")
        return ctx.next.wait_for_event()

    @parent.event(name="reported")
    async def on_report(ctx: Context, status: str, count: int = 1) -> Directive:
        return ctx.next.complete([status, count])

    return parent


async def test_a_dict_payload_becomes_keyword_arguments(serve: Serve) -> None:
    env = await serve(parent_that_listens(), child_that_reports("reported", {"status": "paid", "count": 3}))
    assert await env.client.run("Parent") == ["paid", 3]


async def test_a_scalar_payload_becomes_one_positional_argument(serve: Serve) -> None:
    env = await serve(parent_that_listens(), child_that_reports("reported", "paid"))
    assert await env.client.run("Parent") == ["paid", 1]


async def test_an_event_the_parent_does_not_have_is_an_error_that_names_what_it_has(serve: Serve) -> None:
    env = await serve(parent_that_listens(), child_that_reports("reportd", {"status": "paid"}))
    await env.client.start("Parent", workflow_id="p")
    said = await env.client.handle("kid").result()
    assert said.startswith("UnknownEventError")
    assert "reported" in said
    assert "event.received" not in await kinds(env.client.handle("p"))


async def test_a_payload_the_parent_cannot_take_is_an_error_that_says_what_it_takes(serve: Serve) -> None:
    env = await serve(parent_that_listens(), child_that_reports("reported", {"status": 5}))
    await env.client.start("Parent", workflow_id="p")
    said = await env.client.handle("kid").result()
    assert said.startswith("InvalidPayloadError")
    assert "status: str" in said
    assert "event.received" not in await kinds(env.client.handle("p"))


async def test_without_a_parent_it_is_a_runtime_error(serve: Serve) -> None:
    env = await serve(child_that_reports("reported", None))
    assert (await env.client.run("Child")).startswith("NoParentError")
    assert issubclass(NoParentError, RuntimeError)


async def test_an_event_to_a_busy_parent_waits_in_its_inbox(serve: Serve) -> None:
    sent = asyncio.Event()
    parent = Workflow("Parent")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.start("Child", workflow_id="kid")
        await sent.wait()
        return ctx.next.wait_for_event()

    @parent.event()
    async def reported(ctx: Context, status: str) -> Directive:
        return ctx.next.complete(status)

    env = await serve(parent, child_that_reports("reported", {"status": "paid"}))
    handle = await env.client.start("Parent", workflow_id="p")
    assert await env.client.handle("kid").result() == "sent"
    assert (await handle.describe()).run.queued_events == 1
    sent.set()
    assert await handle.result() == "paid"
    assert [data["outcome"] for data in await records(env.client.handle("kid"), "parent_event.sent")] == ["queued"]


async def test_a_closed_parent_is_told_in_both_histories_and_does_not_fail_the_child(serve: Serve) -> None:
    closed = asyncio.Event()
    parent, child = Workflow("Parent"), Workflow("Child")

    @parent.start()
    async def begin(ctx: Context) -> Directive:
        await ctx.start("Child", workflow_id="kid")
        return ctx.next.complete("gone")

    @parent.event()
    async def reported(ctx: Context) -> Directive:
        return ctx.next.complete()

    @child.start()
    async def report(ctx: Context) -> Directive:
        await closed.wait()
        await ctx.send_to_parent("reported")
        return ctx.next.complete("went on")

    env = await serve(parent, child)
    assert await env.client.run("Parent", workflow_id="p") == "gone"
    closed.set()
    assert await env.client.handle("kid").result() == "went on"
    await env.settle()
    assert [data["outcome"] for data in await records(env.client.handle("kid"), "parent_event.sent")] == [
        "parent_closed"
    ]
    assert [data["refused"] for data in await records(env.client.handle("p"), "event.received")] == ["parent_closed"]
    assert (await env.client.handle("p").describe()).run.status == "completed"


async def test_a_run_sends_events_to_any_other(serve: Serve) -> None:
    sender = Workflow("Sender")

    @sender.start()
    async def begin(ctx: Context, to: str, event: str) -> Directive:
        await ctx.send(to, event)
        return ctx.next.complete("sent")

    env = await serve(sender, child_that_waits())
    target = await env.client.start("Child", workflow_id="kid")
    assert await env.client.run("Sender", workflow_input={"to": "kid", "event": "finish"}) == "sent"
    assert await target.result() == "done"
    for to, event, error in (("kid", "finish", "RunClosedError"), ("nobody", "finish", "RunNotFoundError")):
        with pytest.raises(RunFailedError, match=error):
            await env.client.run("Sender", workflow_input={"to": to, "event": event})
    await env.client.start("Child", workflow_id="kid-2")
    with pytest.raises(RunFailedError, match="UnknownEventError"):
        await env.client.run("Sender", workflow_input={"to": "kid-2", "event": "finsh"})


async def test_an_open_id_is_refused_to_clients_or_used(serve: Serve) -> None:
    env = await serve(child_that_waits())
    first = await env.client.start("Child", workflow_id="kid")
    with pytest.raises(WorkflowAlreadyRunning) as caught:
        await env.client.start("Child", workflow_id="kid")
    assert first.run_info is not None
    assert caught.value.detail["run_id"] == first.run_info.id
    used = await env.client.start("Child", workflow_id="kid", if_running="use")
    assert used.run_info is not None
    assert used.run_info.id == first.run_info.id
    await first.send("finish")
    await first.result()
    second = await env.client.start("Child", workflow_id="kid")
    assert second.run_info is not None
    assert second.run_info.id != first.run_info.id


async def test_plain_functions_may_wait_for_more_children_than_may_compute(serve: Serve) -> None:
    parent, child = Workflow("Parent"), Workflow("Child")

    @parent.start()
    def begin(ctx: Any) -> Directive:
        return ctx.next.complete(ctx.run_child("Child", f"{ctx.run.workflow_id}-child"))  # type: ignore[no-any-return]

    @child.start()
    def serve_it(ctx: Any) -> Directive:
        return ctx.next.complete("served")  # type: ignore[no-any-return]

    env = await serve(parent, child)
    starts = (env.client.start("Parent", workflow_id=f"p{number}") for number in range(150))
    handles = await asyncio.gather(*starts)
    assert [await handle.result(timeout=timedelta(seconds=20)) for handle in handles] == ["served"] * 150


async def test_a_plain_function_begins_in_time_while_others_sleep(serve: Serve) -> None:
    sleepy, quick = Workflow("Sleepy"), Workflow("Quick")

    @sleepy.start()
    def sleeps(ctx: Any) -> Directive:
        ctx.sleep(timedelta(hours=1))
        return ctx.next.complete()  # type: ignore[no-any-return]

    @quick.start(timeout=timedelta(seconds=3))
    def returns(ctx: Context) -> Directive:
        return ctx.next.complete("in time")

    env = await serve(sleepy, quick)
    for number in range(64):
        await env.client.start("Sleepy", workflow_id=f"s{number}")
    handle = await env.client.start("Quick")
    await env.advance(timedelta(minutes=1))
    assert await handle.result(timeout=timedelta(seconds=20)) == "in time"
