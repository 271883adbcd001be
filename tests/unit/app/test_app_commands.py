"""The daemon's parts, put together: what the server lets begin is what the engine has room for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from support.raw_peer import Peer
from support.waiting import until
from wfctl.client import Client
from wfctl.protocol import calls
from wfd.app import Daemon
from wfd.config import load
from wfd.engine import unwritten
from wfd.runtime.promise import Promise
from wfd.server import connections
from wfd.server.connections import LEAST_CALLS

FLOWS = """
from wfctl import Context, Directive, Workflow

echo = Workflow("Echo")

@echo.start()
async def begin(ctx: Context) -> Directive:
    return ctx.next.complete("hi")
"""


@pytest.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    """One that has enough to do, whatever it does."""
    monkeypatch.setattr(unwritten, "ENOUGH", -1_000)
    monkeypatch.setattr(connections, "LEAST_STARTS", 0)
    (tmp_path / "flows.py").write_text(FLOWS)
    (tmp_path / "wfctl.toml").write_text('[daemon]\nworkers = 1\n[workflows]\nmodules = ["flows.py"]\nreload = false\n')
    daemon, ready = Daemon(load(tmp_path / "wfctl.toml"), stderr=False), asyncio.Event()
    serving = asyncio.create_task(daemon.run(lambda problems: ready.set()))
    await ready.wait()
    yield daemon
    daemon.request_stop(1_000)
    await serving


async def test_a_program_that_starts_many_runs_has_no_more_begun_at_a_time_than_there_is_room_for_and_all_of_them(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting, promises, most = daemon._backend.starting, list[Promise[calls.Started]](), 0

    def counted(call: calls.Start) -> Promise[calls.Started] | None:
        nonlocal most
        promise = starting(call)
        assert promise is not None
        promises.append(promise)
        most = max(most, sum(not one.done for one in promises))
        return promise

    monkeypatch.setattr(daemon._backend, "starting", counted)
    async with Client.connect(socket=daemon._backend.config.socket) as client:
        handles = await asyncio.gather(*(client.start("Echo") for _ in range(40)))
        results: list[Any] = await asyncio.gather(*(handle.result() for handle in handles))
    assert (results, most) == (["hi"] * 40, LEAST_CALLS)


async def test_a_start_that_waits_for_room_begins_when_a_commit_makes_some_however_long_others_of_its_connection_take(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, begun, start = asyncio.Event(), [], daemon._backend.start

    async def slow(call: calls.Start) -> calls.Started:
        begun.append(call.workflow_id)
        if call.workflow_id is not None:
            await gate.wait()
        return await start(call)

    monkeypatch.setattr(daemon._backend, "starting", lambda call: None)
    monkeypatch.setattr(daemon._backend, "start", slow)
    peer = await Peer.connect(daemon._backend.config.socket)
    await peer.ask(calls.Hello(version="1"))
    long = [peer.send(calls.Start(workflow_type="Echo", workflow_id=name)) for name in "ab"]
    waiting = peer.send(calls.Start(workflow_type="Echo"))
    engine = daemon._engine
    await until(lambda: len(begun) == len(long) == LEAST_CALLS and bool(engine.pressure.lines()))
    monkeypatch.setattr(unwritten, "ENOUGH", 350)
    await engine.committed(engine.batch())
    async with asyncio.timeout(10):
        assert (await peer.read())["id"] == waiting
    gate.set()
    assert sorted([(await peer.read())["id"] for _ in long]) == long
    await peer.close()
