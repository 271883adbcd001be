"""A program beside a real daemon: it has the code loaded again, and goes on when the daemon is another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from support.project import Project
from support.waiting import until
from wfctl import Client
from wfctl.protocol.views import HistoryEntry

FLOW = """
from wfctl import Context, Directive, Workflow

wf = Workflow("Order")

@wf.start()
async def begin(ctx: Context) -> Directive:
    return ctx.next.wait_for_event()

@wf.event()
async def pay(ctx: Context) -> Directive:
    return ctx.next.complete({value})
"""


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path / "shop", {"flow.py": FLOW.format(value=1)})
    project.up()
    yield project
    project.stop()


async def test_a_reload_by_a_program_is_that_of_the_command(project: Project) -> None:
    async with Client.connect(project.socket) as client:
        handle = await client.start("Order")
        project.write("flow.py", FLOW.format(value=2))
        done = await client.reload()
        assert [(one.workflow_type, one.change) for one in done.types] == [("Order", "new version")]
        await handle.send("pay")
        assert await handle.result() == 2
        project.write("flow.py", "no python")
        done = await client.reload()
        assert ([one.change for one in done.types], [one.module for one in done.problems]) == (["broken"], ["flow.py"])


async def test_what_follows_goes_on_with_the_next_daemon_and_misses_nothing(project: Project) -> None:
    async with Client.connect(project.socket, reconnect=timedelta(minutes=1)) as client:
        handle = await client.start("Order")
        tail = client.tail(handle, follow=True)
        result = asyncio.ensure_future(handle.result())
        seen: list[HistoryEntry] = [await anext(tail)]
        while seen[-1].kind != "wait.started":
            seen.append(await anext(tail))
        rest = asyncio.ensure_future(_rest(tail))
        await until(lambda: client._link._connection._calls)  # type: ignore[union-attr]
        project.ok("down")
        project.up()
        project.ok("send", handle.workflow_id, "pay")
        assert await result == 1
        assert seen + await rest == await handle.history()


async def _rest(tail: AsyncIterator[HistoryEntry]) -> list[HistoryEntry]:
    return [entry async for entry in tail]
