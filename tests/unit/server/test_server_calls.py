"""Calls side by side on one connection: what is finished, what is given up, and who is made to wait."""

from __future__ import annotations

import asyncio

import pytest

from support.fake_backend import FakeBackend, entry
from support.raw_peer import Peer
from support.waiting import a_moment, until
from wfctl.protocol import rpc
from wfctl.protocol.calls import CALLS, PROTOCOL_MAX, GetTree, Hello, List, Result, Send, Start, Tail, Watch
from wfd.server import Server, session
from wfd.server.route import Kind
from wfd.server.router import routes


def test_every_verb_has_a_route_and_those_that_change_something_are_commands() -> None:
    served = routes()
    assert set(served) == set(CALLS) - {"hello"}
    commands = {name for name, route in served.items() if route.kind is Kind.COMMAND}
    of_schedules = {"schedule_add", "schedule_pause", "schedule_run", "schedule_remove"}
    assert commands == {"start", "send", "cancel", "retry", "terminate", "down"} | of_schedules
    streams = {name for name, route in served.items() if route.kind is Kind.STREAM}
    assert streams == {name for name, call in CALLS.items() if call.item is not None}


async def test_the_handshake_tells_who_answers(server: Server) -> None:
    peer = await Peer.connect(server.path)
    welcome = (await peer.ask(Hello()))["result"]
    assert (welcome["protocol"], welcome["version"], welcome["schema"]) == (PROTOCOL_MAX, "9.9.9", 1)
    assert welcome["limit_bytes"] == 100_000
    await peer.close()


async def test_a_slow_call_does_not_hold_up_the_next(peer: Peer, backend: FakeBackend) -> None:
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    waiting = peer.send(Result(id="a"))
    assert "result" in await peer.ask(GetTree())
    backend.close("a", result=5)
    answer = await peer.read()
    assert (answer["id"], answer["result"]["result"]) == (waiting, 5)


async def test_an_answer_or_item_over_the_limit_fails_its_own_call_and_no_other(
    peer: Peer, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfd.server.refusals.MAX_ANSWER_BYTES", 5_000)
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    waiting, tail = peer.send(Result(id="a")), peer.send(Tail())
    await until(lambda: backend.streams)
    monkeypatch.setattr(backend, "_view", lambda run: entry(1, data={"text": "x" * 5_000}))
    error = (await peer.ask(List()))["error"]["data"]
    assert (error["code"], error["detail"]["limit_bytes"]) == ("payload_too_large", 5_000)
    assert error["message"].startswith("what 'list' answers is 5,")
    backend.streams[0].queue.put_nowait(entry(1, data={"text": "x" * 4_000}))
    assert (await peer.read())["params"]["id"] == tail
    backend.streams[0].queue.put_nowait(entry(1, data={"text": "x" * 5_000}))
    ended = await peer.read()
    assert (ended["id"], ended["error"]["data"]["code"]) == (tail, "payload_too_large")
    assert backend.streams[0].closed
    backend.close("a")
    assert (await peer.read())["id"] == waiting


async def test_many_requests_in_one_write_are_all_answered(peer: Peer, backend: FakeBackend) -> None:
    ids = [peer.send(Start(workflow_type="Order")) for _ in range(500)]
    assert [(await peer.read())["id"] for _ in ids] == ids
    assert backend.finished == 500


async def test_a_request_that_comes_byte_by_byte_is_whole_in_the_end(peer: Peer) -> None:
    for byte in rpc.request(5, GetTree()):
        peer.write(bytes([byte]))
        await peer.writer.drain()
    assert (await peer.read())["id"] == 5


async def test_cancel_gives_up_a_wait_and_says_no_more_about_it(peer: Peer, backend: FakeBackend) -> None:
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    waiting = peer.send(Result(id="a"))
    assert "result" in await peer.ask(GetTree())
    peer.write(rpc.notify("cancel", {"id": waiting}))
    await until(lambda: backend.cancelled == ["a"])
    assert "result" in await peer.ask(GetTree())


async def test_cancel_does_not_stop_a_command(peer: Peer, backend: FakeBackend) -> None:
    backend.gate = asyncio.Event()
    id = peer.send(Start(workflow_type="Order"))
    peer.write(rpc.notify("cancel", {"id": id}))
    await until(lambda: backend.calls)
    backend.gate.set()
    assert (await peer.read())["id"] == id


async def test_who_leaves_takes_its_waits_along_but_not_its_commands(server: Server, backend: FakeBackend) -> None:
    peer = await Peer.greeted(server.path)
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    backend.gate = asyncio.Event()
    peer.send(Result(id="a"))
    peer.send(Tail())
    peer.send(Start(workflow_type="Order", workflow_id="b"))
    await until(lambda: len(backend.calls) == 2 and backend.streams)
    await peer.close()
    await until(lambda: backend.cancelled == ["a"] and backend.streams[0].closed)
    backend.gate.set()
    await until(lambda: backend.finished == 2)
    assert "b" in backend.runs


async def test_of_commands_that_have_ended_nothing_is_kept_however_they_did(
    server: Server, backend: FakeBackend
) -> None:
    host, starts = server._host, [Start(workflow_type=name) for name in ("Order", "Unknown", "Another")]
    staying, leaving = await Peer.greeted(server.path), await Peer.greeted(server.path)
    backend.gate = asyncio.Event()
    for peer in (staying, leaving):
        for start in starts:
            peer.send(start)
    await until(lambda: len(backend.calls) == 2 * len(starts))
    assert (len(host.finishing), host.connections.starts, host.connections.calling) == (6, 6, 2)
    await leaving.close()
    await until(lambda: server.connections == 1)
    backend.gate.set()
    answers = [await staying.read() for _ in starts]
    assert sorted("error" in answer for answer in answers) == [False, False, True]
    await until(lambda: not host.connections.calling)
    assert (host.finishing, host.connections.starts) == (set(), 0)
    # Nor of those that come after them, of either kind.
    backend.gate = None
    (session,) = host.sessions
    for call in (starts[0], GetTree(), starts[1]):
        await staying.ask(call)
        await until(lambda: not session._calling)
        assert (session._calls, session._tasks, session._starts) == (0, 0, 0)
        assert (host.finishing, host.connections.starts, host.connections.calling) == (set(), 0, 0)
    await staying.close()


async def test_a_stream_sends_its_items_and_then_its_answer(peer: Peer, backend: FakeBackend) -> None:
    id = peer.send(Tail())
    await until(lambda: backend.streams)
    stream = backend.streams[0]
    for seq in (1, 2):
        stream.queue.put_nowait(entry(seq))
    items = [await peer.read(), await peer.read()]
    assert [item["params"]["id"] for item in items] == [id, id]
    assert [item["params"]["item"]["seq"] for item in items] == [1, 2]
    stream.queue.put_nowait(None)
    assert (await peer.read())["result"] == {"rev": 9, "outcomes": []}
    assert stream.closed


async def test_a_stream_that_cannot_begin_or_fails_midway_ends_with_its_error(peer: Peer, backend: FakeBackend) -> None:
    assert (await peer.ask(Watch(id="x")))["error"]["data"]["code"] == "run_not_found"
    peer.send(Tail())
    await until(lambda: backend.streams)
    backend.streams[0].queue.put_nowait(ValueError("broken"))
    assert (await peer.read())["error"]["data"]["message"] == "tail: ValueError: broken"
    assert backend.streams[0].closed


async def test_a_stream_waits_for_a_slow_reader_who_gets_everything_in_the_end(
    server: Server, backend: FakeBackend
) -> None:
    slow, other = await Peer.greeted(server.path), await Peer.greeted(server.path)
    slow.reader._transport.pause_reading()  # type: ignore[attr-defined]
    slow.send(Tail())
    await until(lambda: backend.streams)
    stream = backend.streams[0]
    count = 5_000
    for seq in range(count):
        stream.queue.put_nowait(entry(seq, data={"text": "x" * 1_000}))
    stream.queue.put_nowait(None)
    for _ in range(20):
        assert "result" in await other.ask(GetTree())
    taken = stream.taken
    assert 0 < taken < count
    slow.reader._transport.resume_reading()  # type: ignore[attr-defined]
    seen = [(await slow.read())["params"]["item"]["seq"] for _ in range(count)]
    assert seen == list(range(count))
    assert (await slow.read())["result"]["rev"] == 9
    await slow.close()
    await other.close()


async def test_a_client_that_reads_no_answers_is_not_read_any_more(server: Server, backend: FakeBackend) -> None:
    greedy = await Peer.greeted(server.path)
    for number in range(3):
        await greedy.ask(Start(workflow_type="Order", workflow_id=f"run-{number}" + "x" * 200))
    greedy.reader._transport.pause_reading()  # type: ignore[attr-defined]
    asked = len(backend.calls)
    for _ in range(20_000):
        greedy.send(List())
    other = await Peer.greeted(server.path)
    for _ in range(50):
        await other.ask(GetTree())
    stalled = len(backend.calls) - asked
    assert stalled < 20_000
    greedy.reader._transport.resume_reading()  # type: ignore[attr-defined]
    for _ in range(20_000):
        assert "result" in await greedy.read()
    assert len(backend.calls) - asked == 20_000
    await greedy.close()
    await other.close()


async def test_stopping_answers_waits_with_daemon_down_and_lets_commands_finish(
    server: Server, backend: FakeBackend
) -> None:
    peer = await Peer.greeted(server.path)
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    backend.gate = asyncio.Event()
    waiting = peer.send(Result(id="a"))
    tail = peer.send(Tail())
    start = peer.send(Start(workflow_type="Order", workflow_id="b"))
    await until(lambda: len(backend.calls) == 2 and backend.streams)
    stop = asyncio.ensure_future(server.stop())
    answers = {(answer := await peer.read())["id"]: answer for _ in range(2)}
    assert set(answers) == {waiting, tail}
    assert {answer["error"]["data"]["code"] for answer in answers.values()} == {"daemon_down"}
    assert not server.path.exists()
    assert not stop.done()
    backend.gate.set()
    assert (await peer.read())["id"] == start
    assert await peer.hung_up()
    await stop
    assert backend.streams[0].closed
    await peer.close()


async def test_an_event_is_handed_over_as_it_was_written(peer: Peer, backend: FakeBackend) -> None:
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    peer.write(
        b'{"jsonrpc":"2.0","id":1,"method":"send","params":{"id":"a","event":"e","payload":{"amount":  1.50}}}\n'
    )
    assert (await peer.read())["result"]["dispatched"] is True
    (sent,) = [call for call in backend.calls if isinstance(call, Send)]
    assert bytes(sent.payload) == b'{"amount":  1.50}'


async def test_who_says_no_more_gets_its_answers_and_is_hung_up_on_then(server: Server, backend: FakeBackend) -> None:
    """As `printf ... | nc -U -N` does."""
    await backend.start(Start(workflow_type="Order", workflow_id="a"))
    peer = await Peer.connect(server.path)
    peer.write(rpc.request(1, Hello()))
    ids = [peer.send(call) for call in (List(), Start(workflow_type="Order"), Result(id="a"))]
    peer.writer.write_eof()
    answers = [await peer.read() for _ in range(3)]
    assert [answer["id"] for answer in answers if "result" in answer] == [1, *ids[:2]]
    backend.close("a", result=5)
    last = await peer.read()
    assert (last["id"], last["result"]["result"]) == (ids[2], 5)
    assert await peer.hung_up()
    await until(lambda: not server.connections)
    await peer.close()


async def test_a_follower_that_says_no_more_is_told_what_happens_until_it_is_gone(
    server: Server, peer: Peer, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LOOK_S", 0.01)
    tail = peer.send(Tail())
    peer.writer.write_eof()
    await until(lambda: backend.streams)
    backend.streams[0].queue.put_nowait(entry(1))
    assert (await peer.read())["params"]["id"] == tail
    await a_moment(0.05)
    backend.streams[0].queue.put_nowait(entry(2))
    assert (await peer.read())["params"]["id"] == tail
    await peer.close()
    await until(lambda: backend.streams[0].closed)
    assert not server.connections


async def test_who_has_gone_while_it_waited_for_a_result_is_not_kept(
    server: Server, peer: Peer, backend: FakeBackend
) -> None:
    await peer.ask(Start(workflow_type="Order", workflow_id="a"))
    peer.send(Result(id="a"))
    await peer.close()
    await until(lambda: not server.connections)
    assert server.connections == 0
