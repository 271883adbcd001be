"""A connection that asks for more than there is room for waits, is told of, and holds nobody else up."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from support.fake_backend import FakeBackend, entry
from support.raw_peer import Peer
from support.waiting import until
from wfctl.protocol import rpc
from wfctl.protocol.calls import Call, GetTree, List, Result, RunPage, Start, Tail
from wfd.server import Server, backlog, connections, session
from wfd.server.connections import Connections


def hold_lists(backend: FakeBackend, gate: asyncio.Event, monkeypatch: pytest.MonkeyPatch) -> list[List]:
    """Nobody's runs are listed before the gate opens; who has asked for that."""
    asked: list[List] = []
    pages = backend.list

    async def held(call: List) -> RunPage:
        asked.append(call)
        await gate.wait()
        return await pages(call)

    monkeypatch.setattr(backend, "list", held)
    return asked


async def test_a_flood_on_one_connection_is_taken_a_part_at_a_time_and_all_of_it(
    server: Server, peer: Peer, backend: FakeBackend
) -> None:
    backend.gate = asyncio.Event()
    ids = [peer.send(Start(workflow_type="Order")) for _ in range(2_000)]
    await until(lambda: len(backend.calls) == connections.ALL_CALLS)
    other = await Peer.greeted(server.path)
    assert "result" in await other.ask(GetTree())
    assert len(backend.calls) == connections.ALL_CALLS
    assert ["waiting" in line for line in server._host.pressure.lines()] == [True]
    backend.gate.set()
    assert [(await peer.read())["id"] for _ in ids] == ids
    assert server._host.pressure.lines() == []
    await other.close()


async def test_what_needs_more_than_the_disk_is_done_so_many_at_a_time_whatever_room_there_is_for_starts(
    peer: Peer, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    asked = hold_lists(backend, gate, monkeypatch)
    backend.gate = gate
    commands = [peer.send(Start(workflow_type="Order")) for _ in range(3)]
    questions = [peer.send(List()) for _ in range(3 * connections.MAX_TASKS)]
    last = peer.send(Start(workflow_type="Order"))
    await until(lambda: len(asked) == connections.MAX_TASKS)
    assert len(backend.calls) == len(commands)
    gate.set()
    ids = [(await peer.read())["id"] for _ in range(len(questions) + 4)]
    assert sorted(ids) == [*commands, *questions, last]


async def test_a_program_with_many_connections_gets_no_more_done_at_once_than_one_with_few(
    server: Server, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ALL_CALLS", 12)
    backend.gate = asyncio.Event()
    peers = [await Peer.greeted(server.path) for _ in range(4)]
    for number, peer in enumerate(peers, start=1):
        for _ in range(20):
            peer.send(Start(workflow_type="Order"))
        # The first was alone with it, and keeps what it has begun.
        await until(lambda number=number: len(backend.calls) == (12, 18, 22, 25)[number - 1])
    backend.gate.set()
    for peer in peers:
        for _ in range(20):
            assert "result" in await peer.read()
        await peer.close()
    await until(lambda: server._host.connections.calling == 0)


def leave(server: Server, most: int) -> None:
    """So many starts keep everything busy."""
    connections = server._host.connections
    connections._left = lambda: most - connections.starts


async def test_connections_share_the_starts_that_keep_everything_busy_and_nothing_else_waits_for_that(
    server: Server, peer: Peer, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LEAST_STARTS", 0)
    leave(server, 10)
    backend.gate = asyncio.Event()
    ids = [peer.send(Start(workflow_type="Order")) for _ in range(50)]
    await until(lambda: len(backend.calls) == 10)
    assert "enough under way" in server._host.pressure.lines()[0]
    other, third = [await Peer.greeted(server.path) for _ in range(2)]
    starts = [other.send(Start(workflow_type="Order")) for _ in range(20)]
    # Of the two each has half; the first keeps what it has begun.
    await until(lambda: len(backend.calls) == 10 + 5)
    leave(server, -1_000)
    asked = [third.send(Start(workflow_type="Order")) for _ in range(connections.LEAST_CALLS)]
    asked += [third.send(List()) for _ in range(20)]
    answers = [await third.read() for _ in range(20)]
    assert [answer["id"] for answer in answers] == asked[connections.LEAST_CALLS :]
    questions = sum(isinstance(call, List) for call in backend.calls)
    asked += [third.send(Start(workflow_type="Order")), third.send(List())]
    assert "result" in await other_one(server, List())
    assert len(backend.calls) == 10 + 5 + connections.LEAST_CALLS + questions + 1, (
        "what is behind a start waits with it"
    )
    backend.gate.set()
    for connection, wanted in ((peer, ids), (other, starts)):
        assert [(await connection.read())["id"] for _ in wanted] == wanted
    assert sorted([(await third.read())["id"] for _ in range(4)]) == [*asked[:2], *asked[-2:]]
    assert (server._host.connections.starts, server._host.pressure.lines()) == (0, [])
    for connection in (other, third):
        await connection.close()


async def other_one(server: Server, call: Call) -> dict[str, Any]:
    """What another connection is answered."""
    other = await Peer.greeted(server.path)
    answer = await other.ask(call)
    await other.close()
    return answer


async def test_starts_that_wait_are_heard_when_there_is_room_whatever_else_their_connection_asks(
    server: Server, peer: Peer, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    asked = hold_lists(backend, gate, monkeypatch)
    monkeypatch.setattr(connections, "LEAST_STARTS", 0)
    leave(server, 0)
    backend.gate = gate
    ids = [peer.send(List()) for _ in range(5)]
    ids += [peer.send(Start(workflow_type="Order")) for _ in range(5)]
    # Questions that take long are no starts.
    await until(lambda: len(backend.calls) == connections.LEAST_CALLS and len(asked) == 5)
    server._host.connections.eased()
    await other_one(server, GetTree())
    assert len(backend.calls) == connections.LEAST_CALLS
    leave(server, 4)
    server._host.connections.eased()
    await until(lambda: len(backend.calls) == 4)
    gate.set()
    assert sorted([(await peer.read())["id"] for _ in ids]) == ids


async def test_some_starts_are_begun_whatever_else_is_under_way(
    server: Server, peer: Peer, backend: FakeBackend
) -> None:
    leave(server, -1_000)
    backend.gate = asyncio.Event()
    ids = [peer.send(Start(workflow_type="Order")) for _ in range(100)]
    await until(lambda: len(backend.calls) == connections.LEAST_STARTS)
    await other_one(server, GetTree())
    assert len(backend.calls) == connections.LEAST_STARTS
    backend.gate.set()
    assert [(await peer.read())["id"] for _ in ids] == ids


async def test_what_a_client_asked_before_it_hung_up_does_not_wait_for_room_to_start(
    server: Server, peer: Peer, backend: FakeBackend
) -> None:
    leave(server, -1_000)
    backend.gate = asyncio.Event()
    for _ in range(100):
        peer.send(Start(workflow_type="Order"))
    await peer.close()
    await until(lambda: len(backend.calls) == 100)
    backend.gate.set()
    await until(lambda: backend.finished == 100 and not server._host.connections.starts)


async def test_what_one_connection_does_not_use_any_more_is_there_for_others_at_once(
    server: Server, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ALL_CALLS", 4)
    one, other, third = [await Peer.greeted(server.path) for _ in range(3)]
    first = backend.gate = asyncio.Event()
    one.send(Start(workflow_type="Order"))
    await until(lambda: len(backend.calls) == 1)
    backend.gate = asyncio.Event()
    for _ in range(6):
        other.send(Start(workflow_type="Order"))
    await until(lambda: len(backend.calls) == 1 + 2)
    assert "result" in await third.ask(GetTree())
    assert len(backend.calls) == 1 + 2
    first.set()
    # None of its own has ended.
    await until(lambda: len(backend.calls) == 1 + 4)
    backend.gate.set()
    for _ in range(6):
        assert "result" in await other.read()
    assert not server._host.connections.held
    for peer in (one, other, third):
        await peer.close()


async def test_those_who_wait_for_a_result_hold_up_no_command_on_their_connection(
    peer: Peer, backend: FakeBackend
) -> None:
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    waiting = [peer.send(Result(id="a")) for _ in range(2 * connections.ALL_CALLS)]
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
    unsent = here._transport.get_write_buffer_size() + here._out.size
    assert unsent < session.MAX_UNSENT_BYTES + connections.MAX_TASKS * 60_000
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
    here.data_received(rpc.request(901, GetTree()))  # which was on its way
    assert here._unheard.waiting
    await other.close()


async def test_who_gives_a_call_up_is_heard_while_there_is_room_for_no_other(peer: Peer, backend: FakeBackend) -> None:
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    waiting = peer.send(Result(id="a"))
    await peer.ask(List())
    backend.gate = asyncio.Event()
    busy = [peer.send(Start(workflow_type="Order")) for _ in range(connections.ALL_CALLS + 10)]
    later = peer.send(List())
    peer.write(rpc.notify("cancel", {"id": waiting}))
    await until(lambda: backend.cancelled == ["a"])
    # A question that waits behind them is never asked; a command that does is carried out all the same.
    for id in (later, busy[-1]):
        peer.write(rpc.notify("cancel", {"id": id}))
    last = peer.send(List())
    backend.gate.set()
    assert sorted([(await peer.read())["id"] for _ in range(len(busy) + 1)]) == [*busy, last]
    assert sum(isinstance(call, List) for call in backend.calls) == 2


async def test_so_much_is_read_ahead_of_a_full_connection_and_no_more(
    server: Server, peer: Peer, backend: FakeBackend
) -> None:
    backend.gate = asyncio.Event()
    ids = [peer.send(Start(workflow_type="Order", workflow_id="x" * 1_000)) for _ in range(2_000)]
    (here,) = (one for one in server._host.sessions if one._greeted)
    await until(lambda: not here._reading)
    assert here._unheard._bytes < 2 * backlog.MAX_UNHEARD_BYTES
    backend.gate.set()
    assert [(await peer.read())["id"] for _ in ids] == ids


async def test_what_a_client_asked_before_it_left_is_carried_out(peer: Peer, backend: FakeBackend) -> None:
    backend.gate = asyncio.Event()
    for _ in range(3 * connections.ALL_CALLS):
        peer.send(Start(workflow_type="Order"))
    peer.writer.write_eof()
    await until(lambda: len(backend.calls) == connections.ALL_CALLS)
    backend.gate.set()
    await until(lambda: len(backend.calls) == 3 * connections.ALL_CALLS)
    while await peer.read():
        pass  # and then the connection is closed


async def test_an_id_that_was_given_up_and_is_used_again_is_answered_for_its_new_call(
    peer: Peer, backend: FakeBackend
) -> None:
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    id = peer.send(Result(id="a"))
    await peer.ask(List())
    again = rpc.request(id, List())
    peer.write(rpc.notify("cancel", {"id": id}) + again)
    answer = await peer.read()
    assert (answer["id"], "result" in answer) == (id, True)


async def test_an_id_whose_call_no_verb_took_is_no_longer_given_up(peer: Peer, backend: FakeBackend) -> None:
    backend.gate = asyncio.Event()
    busy = [peer.send(Start(workflow_type="Order")) for _ in range(connections.ALL_CALLS)]
    peer.write(b'{"jsonrpc":"2.0","id":900,"method":"no_such_verb"}\n' + rpc.notify("cancel", {"id": 900}))
    peer.write(rpc.request(900, List()))
    await until(lambda: len(backend.calls) == len(busy))
    backend.gate.set()
    answers = [await peer.read() for _ in range(len(busy) + 2)]
    assert [("result" in answer) for answer in answers if answer["id"] == 900] == [False, True]


async def test_of_lines_that_are_no_messages_only_the_first_is_looked_at(
    peer: Peer, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[bytes] = []
    understood = session.understood
    monkeypatch.setattr(session, "understood", lambda line: (looked_at.append(line), understood(line))[1])
    backend.gate = asyncio.Event()
    busy = [peer.send(Start(workflow_type="Order")) for _ in range(connections.ALL_CALLS)]
    peer.write(b"x\n" * 10_000)
    await until(lambda: len(backend.calls) == len(busy) and b"x" in looked_at)
    peer.write(b"x\n" * 10_000)
    backend.gate.set()
    answers = []
    while (answer := await peer.read()) and "error" not in answer:
        answers.append(answer["id"])
    assert looked_at.count(b"x") == 1
    assert "not JSON" in answer["error"]["message"]
    assert await peer.hung_up()


async def test_waits_that_were_given_up_count_no_more_at_once(
    peer: Peer, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MAX_WAITS", 3)
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    waiting = [peer.send(Result(id="a")) for _ in range(3)]
    await peer.ask(List())
    # In one breath: nothing of those given up has ended before the others are looked at.
    notes = b"".join(rpc.notify("cancel", {"id": id}) for id in waiting)
    peer.write(notes + b"".join(rpc.request(id, Result(id="a")) for id in (901, 902, 903)))
    await peer.ask(List())
    backend.close("a")
    answers = [await peer.read() for _ in range(3)]
    assert sorted((answer["id"], "result" in answer) for answer in answers) == [(901, True), (902, True), (903, True)]
    assert "result" in await peer.ask(Result(id="a")), "nor do those that were answered"


async def test_a_connection_too_many_is_told_why_and_what_to_do(server: Server, peer: Peer) -> None:
    server._host.connections = Connections(most=8, kept_free=2)
    server._host.connections.enter(-1)  # that of `peer`; this is one of another program
    others = [await Peer.greeted(server.path) for _ in range(5)]
    refused = await Peer.connect(server.path)
    told = (await refused.read())["error"]
    assert "6 connections to the daemon are open already, 5 of them to this program" in told["message"]
    assert "one Client" in told["data"]["hint"]
    assert await refused.hung_up()
    await refused.close()
    await others[0].close()
    await until(lambda: server.connections == 5)
    others[0] = await Peer.greeted(server.path)
    for other in others:
        await other.close()


def test_the_last_connections_are_for_programs_that_have_none() -> None:
    connections = Connections(most=10, kept_free=2)
    assert [connections.enter(1) is None for _ in range(9)] == [True] * 8 + [False]
    connections.leave(1)
    assert [connections.enter(pid) is None for pid in (2, 3, 4)] == [True, True, False]
    connections.leave(4)
    connections.leave(2)
    assert connections.enter(5) is None


def test_few_files_make_few_connections() -> None:
    connections = Connections()
    connections.limit(256)
    assert connections.most == 64
    connections.limit(1 << 20)
    assert connections.most == 64
