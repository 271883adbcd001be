"""Whatever a client says, it gets one clear error, and nobody else notices."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
from msgspec import inspect

from support.fake_backend import FakeBackend
from support.raw_peer import Peer
from support.waiting import until
from wfctl.errors import BY_CODE
from wfctl.protocol import rpc
from wfctl.protocol.calls import CALLS, PROTOCOL_MAX, GetStatus, GetTree, Hello, List, Start
from wfd.runtime.promise import Promise
from wfd.server import Server, connections


@pytest.fixture
async def stranger(server: Server) -> AsyncIterator[Peer]:
    stranger = await Peer.connect(server.path)
    yield stranger
    await stranger.close()


@pytest.fixture(autouse=True)
async def unharmed(server: Server) -> AsyncIterator[None]:
    """After each of these tests the server still answers others."""
    yield
    other = await Peer.greeted(server.path)
    assert "result" in await other.ask(GetTree())
    await other.close()
    await until(lambda: server.connections <= 2)


async def test_a_client_that_says_nothing_is_told_and_hung_up_on(stranger: Peer) -> None:
    answer = await stranger.read()
    assert answer["error"]["message"] == "no 'hello' within 0.2 s"
    assert await stranger.hung_up()


async def test_a_client_that_says_half_a_frame_is_hung_up_on(stranger: Peer) -> None:
    stranger.write(b'{"jsonrpc":"2.0","id":1,"method":"hel')
    assert "hello" in (await stranger.read())["error"]["message"]
    assert await stranger.hung_up()


async def test_half_a_frame_and_then_nobody_harms_nothing(peer: Peer, server: Server) -> None:
    peer.write(b'{"jsonrpc":"2.0","id":1,"method":"start"')
    await peer.close()
    await until(lambda: server.connections == 0)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\xfe\r\n",
        b"GET / HTTP/1.1\r\n",
        b'{"jsonrpc":"2.0","id":1,\n',
        b'{"jsonrpc":"2.0","id":1,"method":"\xff"}\n',
        b'{"jsonrpc":"2.0","id":1,"method":"start","params":{"workflow_type":"A","input":"\xff"}}\n',
        b'{"params":' + b"[" * 20_000 + b"]" * 20_000 + b"}\n",
    ],
)
@pytest.mark.parametrize("greeted", [False, True])
async def test_garbage_gets_a_parse_error_and_the_connection_ends(
    server: Server, garbage: bytes, greeted: bool
) -> None:
    peer = await (Peer.greeted if greeted else Peer.connect)(server.path)
    peer.write(garbage)
    answer = await peer.read()
    assert answer["id"] is None
    assert answer["error"]["code"] == rpc.PARSE_ERROR
    assert answer["error"]["data"]["code"] == "usage"
    assert await peer.hung_up()
    await peer.close()


@pytest.mark.parametrize(
    "line", [b"[]\n", b"3\n", b'{"id":[],"method":"tree"}\n', b'{"id":1}\n', b'{"method":3,"id":1}\n']
)
async def test_json_that_is_no_request_is_refused(peer: Peer, line: bytes) -> None:
    peer.write(line)
    answer = await peer.read()
    assert (answer["id"], answer["error"]["code"]) == (None, rpc.INVALID_REQUEST)
    assert await peer.hung_up()


async def test_what_stands_after_garbage_is_not_done(peer: Peer, backend: FakeBackend) -> None:
    peer.write(b"nonsense\n" + rpc.request(1, Start(workflow_type="Order")))
    assert (await peer.read())["error"]["code"] == rpc.PARSE_ERROR
    assert await peer.hung_up()
    assert backend.calls == []


async def test_a_line_over_the_limit_is_refused_with_both_sizes(peer: Peer) -> None:
    peer.write(b'"' + b"x" * 250_000 + b'"\n')
    answer = await peer.read()
    assert answer["error"]["data"]["code"] == "payload_too_large"
    assert answer["error"]["message"] == "the message is 250,002 bytes; the limit is 100,000"
    assert answer["error"]["data"]["detail"] == {"size_bytes": 250_002, "limit_bytes": 100_000}
    assert await peer.hung_up()


async def test_a_line_that_never_ends_is_not_read_for_ever(peer: Peer) -> None:
    peer.write(b"x" * 150_000)
    answer = await peer.read()
    assert answer["error"]["data"]["detail"]["size_bytes"] == 150_000
    assert await peer.hung_up()


async def test_a_flood_without_a_line_break_is_cut_off(stranger: Peer) -> None:
    stranger.write(b"x" * 2_000_000)
    assert (await stranger.read())["error"]["data"]["code"] == "payload_too_large"


@pytest.mark.parametrize(
    ("first", "id"), [(rpc.request(7, Start(workflow_type="Order")), 7), (rpc.notify("cancel", {"id": 7}), None)]
)
async def test_the_first_message_must_be_hello(
    stranger: Peer, backend: FakeBackend, first: bytes, id: int | None
) -> None:
    stranger.write(first)
    answer = await stranger.read()
    assert (answer.get("id"), answer["error"]["code"]) == (id, rpc.INVALID_REQUEST)
    assert answer["error"]["message"] == "the first message must be a 'hello' request"
    assert await stranger.hung_up()
    assert backend.calls == []


@pytest.mark.parametrize(
    ("low", "high", "side", "hint"),
    [(0, 0, "this wfctl is too old", "upgrade wfctl to 9.9.9"), (3, 4, "the daemon is too old", "wfctl down")],
)
async def test_another_protocol_is_refused_and_told_which_side_to_upgrade(
    stranger: Peer, low: int, high: int, side: str, hint: str
) -> None:
    error = (await stranger.ask(Hello(protocol_min=low, protocol_max=high, version="0.0.1")))["error"]["data"]
    assert (error["code"], error["exit"]) == ("incompatible", 6)
    assert error["message"].startswith(f"{side}: wfctl 0.0.1 speaks protocol")
    assert error["hint"].startswith(hint)
    assert await stranger.hung_up()


async def test_a_newer_client_that_still_speaks_ours_is_welcome(stranger: Peer) -> None:
    stranger.write(b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol_min":1,"protocol_max":7,"new":1}}\n')
    assert (await stranger.read())["result"]["protocol"] == PROTOCOL_MAX


async def test_an_unknown_method_is_named_with_the_nearest(peer: Peer) -> None:
    peer.write(b'{"jsonrpc":"2.0","id":"a","method":"strat"}\n')
    answer = await peer.read()
    assert (answer["id"], answer["error"]["code"]) == ("a", rpc.METHOD_NOT_FOUND)
    assert answer["error"]["message"] == "unknown method 'strat'; did you mean 'start'?"
    assert "result" in await peer.ask(GetTree())


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        (b"{}", "missing required field workflow_type"),
        (b'{"workflow_type":3}', "Expected str, got int"),
        (b"[1]", "Expected object, got array"),
        (b'{"workflow_type":"\\ud800"}', "surrogate"),
    ],
)
async def test_parameters_that_do_not_fit_are_an_invalid_argument(peer: Peer, params: bytes, problem: str) -> None:
    peer.write(b'{"jsonrpc":"2.0","id":1,"method":"start","params":%b}\n' % params)
    error = (await peer.read())["error"]
    if problem == "surrogate":
        assert error["code"] in (rpc.PARSE_ERROR, rpc.INVALID_PARAMS)
        return
    assert error["code"] == rpc.INVALID_PARAMS
    assert error["data"]["code"] == "invalid_argument"
    assert problem in error["message"]
    assert "result" in await peer.ask(GetTree())


@pytest.mark.parametrize("number", ["9007199254740992", "9223372036854775808", "-1" + "0" * 24, "1" + "0" * 400])
async def test_a_number_that_no_database_has_room_for_is_an_invalid_argument(
    peer: Peer, backend: FakeBackend, number: str
) -> None:
    for method, name in (("list", "limit"), ("tail", "since_rev"), ("result", "timeout_ms")):
        peer.write(b'{"jsonrpc":"2.0","id":1,"method":"%b","params":{"%b":%b}}\n' % (
            method.encode(), name.encode(), number.encode()
        ))  # fmt: skip
        error = (await peer.read())["error"]
        assert (error["code"], error["data"]["code"]) == (rpc.INVALID_PARAMS, "invalid_argument")
        assert error["message"].startswith(f"parameters of {method!r}: ")
        assert error["message"].endswith(f"at $.{name}")
    assert backend.calls == []


def _numbers(of: inspect.Type, path: str) -> Iterator[tuple[str, inspect.Type]]:
    """The numbers in a value of that type, by where they stand in it."""
    match of:
        case inspect.IntType() | inspect.FloatType():
            yield path, of
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from _numbers(field.type, f"{path}.{field.encode_name}")
        case inspect.UnionType(types=types):
            for one in types:
                yield from _numbers(one, path)
        case inspect.ListType(item_type=each) | inspect.DictType(value_type=each):
            yield from _numbers(each, f"{path}[]")


@pytest.mark.parametrize("method", sorted(CALLS))
def test_every_number_that_a_call_takes_has_bounds(method: str) -> None:
    for path, number in _numbers(inspect.type_info(CALLS[method]), method):
        assert isinstance(number, inspect.IntType), path
        assert None not in (number.ge, number.le), f"{path}: give it a type of wfctl.values.numbers"


async def test_a_notification_that_is_not_known_is_ignored(peer: Peer) -> None:
    peer.write(b'{"jsonrpc":"2.0","method":"blink"}\n{"jsonrpc":"2.0","method":"cancel","params":{"id":{}}}\n')
    assert "result" in await peer.ask(GetTree())


async def test_an_id_in_use_is_refused(peer: Peer, backend: FakeBackend) -> None:
    backend.gate = asyncio.Event()
    peer.write(rpc.request(1, Start(workflow_type="Order")) * 2)
    answer = await peer.read()
    assert (answer["id"], answer["error"]["code"]) == (1, rpc.INVALID_REQUEST)
    backend.gate.set()
    assert "result" in await peer.read()


async def test_a_bug_in_a_handler_is_an_internal_error_and_logged(peer: Peer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "wfd"):
        error = (await peer.ask(GetStatus()))["error"]["data"]
    assert (error["code"], error["message"]) == ("internal", "status: ZeroDivisionError: a bug")
    assert "Traceback" in caplog.text


@pytest.mark.parametrize(
    ("comes", "why"),
    [
        (ZeroDivisionError("a bug"), "ZeroDivisionError: a bug"),
        (object(), "TypeError: Encoding objects of type object is unsupported"),
    ],
    ids=["raised", "cannot be said"],
)
async def test_a_bug_in_an_answer_that_was_promised_is_an_internal_error_too(
    peer: Peer, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch, comes: object, why: str
) -> None:
    promise = Promise[object](asyncio.get_running_loop(), comes)
    monkeypatch.setattr(backend, "starting", lambda call: promise)
    sent = peer.send(Start(workflow_type="Order"))
    promise.end(comes if isinstance(comes, Exception) else None)
    answer = await peer.read()
    assert (answer["id"], answer["error"]["data"]["code"]) == (sent, "internal")
    assert answer["error"]["data"]["message"] == f"start: {why}"


async def test_a_bug_where_a_start_is_begun_at_once_costs_that_call_alone(
    peer: Peer, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starting(call: Start) -> None:
        if call.workflow_id == "deep":
            raise RecursionError("too deep")

    monkeypatch.setattr(backend, "starting", starting)
    backend.gate = asyncio.Event()
    busy = [peer.send(Start(workflow_type="Order", workflow_id=f"o-{n}")) for n in range(2 * connections.MAX_TASKS)]
    bad = [peer.send(Start(workflow_type="Order", workflow_id="deep")) for _ in range(3)]
    last = peer.send(List())
    backend.gate.set()
    answers = {(answer := await peer.read())["id"]: answer for _ in range(len(busy) + 4)}
    assert all("result" in answers[id] for id in [*busy, last])
    assert {answers[id]["error"]["data"]["code"] for id in bad} == {"internal"}


async def test_an_error_of_the_engine_crosses_with_its_code_and_hint(peer: Peer) -> None:
    error = (await peer.ask(Start(workflow_type="Unknown")))["error"]
    assert error["code"] == rpc.SERVER_ERROR
    assert BY_CODE[error["data"]["code"]].__name__ == "UnknownWorkflowTypeError"
    assert error["data"]["hint"] == "wfctl workflows"
