"""Who awaits what nothing brings any more is told so, and nobody else is."""

from __future__ import annotations

import asyncio
import itertools
import socket
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest

from spec.conftest import Serve
from wfctl import Context, Directive, NotFinishedError, RunStuckError, Workflow, task
from wfd.testing import WorkflowEnvironment

HOUR = timedelta(hours=1)


async def test_a_result_that_nothing_brings_any_more_is_an_error_and_no_wait_for_ever(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfd.testing.PATIENCE_S", 0.05)
    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.step(gone, after=HOUR)

    @wf.step()
    async def gone(ctx: Context) -> Directive:
        return ctx.next.complete("here")

    env = await serve(wf)
    with pytest.raises(NotFinishedError, match="'order' is sleeping, and nothing moves") as sleeps:
        await env.client.run("Order", workflow_id="order")
    assert "env.advance" in str(sleeps.value.hint)
    assert sleeps.value.detail["status"] == "sleeping"
    env.load([])
    await env.advance(HOUR)
    handle = env.client.handle("order")
    with pytest.raises(RunStuckError, match="'order' is stuck: workflow type 'Order'"):
        await handle.result()
    env.load([wf])
    assert await handle.result() == "here"


def at_look(monkeypatch: pytest.MonkeyPatch, number: int, then: Callable[[], object]) -> None:
    """Wait little for what does not move; `then` is called when it has been looked for so often."""
    looks, moves = itertools.count(1), WorkflowEnvironment._moves

    def look(env: WorkflowEnvironment) -> bool:
        if next(looks) == number:
            then()
        return moves(env)

    monkeypatch.setattr("wfd.testing.PATIENCE_S", 0.05)
    monkeypatch.setattr(WorkflowEnvironment, "_moves", look)


async def test_a_result_that_a_socket_of_the_tests_own_brings_is_waited_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = socket.socketpair()
    at_look(monkeypatch, 200, theirs.close)
    wf = Workflow("Order")

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        return ctx.next.wait_for_event()

    @wf.event()
    async def paid(ctx: Context) -> Directive:
        return ctx.next.complete("paid")

    env = await serve(wf)
    handle = await env.client.start("Order")
    reader, writer = await asyncio.open_connection(sock=ours)

    async def bring() -> None:
        await reader.read()
        await handle.send("paid")

    bringing = asyncio.create_task(bring())
    assert await handle.result() == "paid"
    await bringing
    writer.close()


async def test_a_result_that_a_thread_of_a_task_brings_is_waited_for_beside_a_sleep(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()
    at_look(monkeypatch, 200, gate.set)
    wf = Workflow("Order")

    @task
    def work() -> str:
        gate.wait()
        return "worked"

    @wf.start()
    async def begin(ctx: Context) -> Directive:
        late = asyncio.ensure_future(ctx.sleep(HOUR))
        first = asyncio.ensure_future(work())  # type: ignore[arg-type, var-annotated]
        done, _ = await asyncio.wait({late, first}, return_when=asyncio.FIRST_COMPLETED)
        late.cancel()
        return ctx.next.complete("late" if late in done else first.result())

    env = await serve(wf)
    assert await env.client.run("Order") == "worked"
