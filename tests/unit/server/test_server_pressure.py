"""A connection that asks for more than there is room for waits, is told of, and holds nobody else up."""

from __future__ import annotations

import asyncio

import pytest

from support.fake_backend import FakeBackend, entry
from support.raw_peer import Peer
from support.waiting import until
from wfctl.protocol import rpc
from wfctl.protocol.calls import GetTree, Result, Start, Tail
from wfd.server import Server, session


async def test_a_flood_on_one_connection_is_taken_a_part_at_a_time_and_all_of_it(
    server: Server, peer: Peer, backend: FakeBackend
) -> None:
    backend.gate = asyncio.Event()
    ids = [peer.send(Start(workflow_type="Order")) for _ in range(2_000)]
    await until(lambda: len(backend.calls) == session.MAX_CALLS)
    other = await Peer.greeted(server.path)
    assert "result" in await other.ask(GetTree())
    assert len(backend.calls) == session.MAX_CALLS
    assert ["waiting" in line for line in server._host.pressure.lines()] == [True]
    backend.gate.set()
    assert [(await peer.read())["id"] for _ in ids] == ids
    assert server._host.pressure.lines() == []
    await other.close()


async def test_those_who_wait_for_a_result_hold_up_no_command_on_their_connection(
    peer: Peer, backend: FakeBackend
) -> None:
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    waiting = [peer.send(Result(id="a")) for _ in range(2 * session.MAX_CALLS)]
    assert "result" in await peer.ask(Start(workflow_type="Order", workflow_id="b"))
    backend.close("a")
    assert sorted([(await peer.read())["id"] for _ in waiting]) == waiting


async def test_one_connection_waits_for_so_much_at_once_and_is_told(
    peer: Peer, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MAX_WAITS", 3)
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    waiting = [peer.send(Result(id="a")) for _ in range(3)]
    refused = await peer.ask(Result(id="a"))
    assert "wait on this connection already" in refused["error"]["message"]
    peer.write(rpc.notify("cancel", {"id": waiting[0]}))
    await until(lambda: backend.cancelled == ["a"])
    waiting[0] = peer.send(Result(id="a"))
    assert "result" in await peer.ask(GetTree())
    backend.close("a")
    assert sorted([(await peer.read())["id"] for _ in waiting]) == sorted(waiting)


async def test_a_client_that_does_not_read_its_answers_is_not_heard_until_it_does(
    server: Server, peer: Peer, backend: FakeBackend
) -> None:
    await peer.ask(Start(workflow_type="Order", workflow_id="x" * 50_000))
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    asked = [peer.send(Result(id="x" * 50_000, wait=False)) for _ in range(1_000)]
    (here,) = (one for one in server._host.sessions if one._greeted)
    await until(lambda: not here._reading)
    unsent = here._transport.get_write_buffer_size() + here._unsent_bytes
    assert unsent < session.MAX_UNSENT_BYTES + session.MAX_CALLS * 60_000
    other = await Peer.greeted(server.path)
    assert "result" in await other.ask(GetTree())
    await other.close()
    peer.reader._transport.resume_reading()  # type: ignore[attr-defined]
    assert [(await peer.read())["id"] for _ in asked] == asked


async def test_a_follower_that_does_not_read_costs_a_bounded_buffer(
    server: Server, peer: Peer, backend: FakeBackend
) -> None:
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    peer.send(Tail())
    await until(lambda: backend.streams)
    (stream,) = backend.streams
    for number in range(40_000):
        stream.queue.put_nowait(entry(number, backend.runs["a"]))
    (here,) = server._host.sessions
    await until(lambda: not here._writable.is_set())
    taken = stream.taken
    other = await Peer.greeted(server.path)
    assert "result" in await other.ask(GetTree())
    assert stream.taken == taken < 40_000
    await other.close()
