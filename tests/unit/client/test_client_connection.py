"""When there is no daemon, the wrong one, or one that goes away."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from enum import Enum, EnumMeta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.fake_backend import FakeBackend, entry, held_lock, server_for
from support.waiting import until
from wfctl.client import Client
from wfctl.client.connection import Connection
from wfctl.errors import (
    ConfigError,
    DaemonDownError,
    DeniedError,
    IncompatibleError,
    PayloadTooLargeError,
    UnknownWorkflowTypeError,
    UsageError,
    WfctlError,
)
from wfctl.protocol import rpc
from wfctl.protocol.calls import Welcome
from wfd.server import Server

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def daemon_that(path: Path, talk: Talk) -> AsyncIterator[None]:
    """Something that listens at `path` and treats each connection by `talk`, then hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await talk(reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    yield
    server.close()
    await server.wait_closed()


def welcome(**changes: int) -> Welcome:
    values: dict[str, int] = {"protocol": 1, "protocol_min": 1, "protocol_max": 1, "limit_bytes": 1_000, **changes}
    return Welcome(version="0.0.0", schema=1, project="", pid=1, **values)


async def refused(path: Path, error: type[WfctlError]) -> WfctlError:
    with pytest.raises(error) as caught:
        await Client.connect(path)
    return caught.value


async def test_no_socket_is_daemon_down_with_the_remedy(folder: Path) -> None:
    error = await refused(folder / "wfd.sock", DaemonDownError)
    assert (error.exit_status, error.hint, error.detail["stale"]) == (3, "wfctl up", False)
    assert error.detail["socket"] == str(folder / "wfd.sock")


async def test_a_stale_socket_is_daemon_down_and_says_so(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "wfd.sock"))
    error = await refused(folder / "wfd.sock", DaemonDownError)
    assert error.detail["stale"] is True
    assert "is stale" in error.message


async def test_a_path_that_is_too_long_is_a_configuration_error(folder: Path) -> None:
    await refused(folder / ("x" * 120), ConfigError)


@pytest.mark.skipif(os.getuid() == 0, reason="root may use every socket")
async def test_a_socket_of_another_user_is_denied(server: Server) -> None:
    server.path.chmod(0)
    await refused(server.path, DeniedError)


async def test_the_uid_that_the_daemon_refuses_is_denied(folder: Path, backend: FakeBackend) -> None:
    lock = held_lock(folder)
    server = server_for(backend, folder, lock, uid=os.getuid() + 1)
    await server.start()
    await refused(server.path, DeniedError)
    await server.stop()
    lock.release()


async def test_a_daemon_of_an_older_protocol_is_not_asked_what_it_would_take_for_something_else(folder: Path) -> None:
    asked: list[bytes] = []

    async def older(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(rpc.response(1, welcome(protocol=1)))
        while line := await reader.readline():
            asked.append(line)
            writer.write(rpc.failure(rpc.parse(line).id, UnknownWorkflowTypeError("asked")))

    async with daemon_that(folder / "d.sock", older), Client.connect(folder / "d.sock") as client:
        for if_closed in ("use", "fail"):
            with pytest.raises(IncompatibleError, match="too old for this 'start': it speaks protocol 1") as caught:
                await client.start("Order", workflow_id="o", if_closed=if_closed)  # type: ignore[arg-type]
            assert str(caught.value.hint).startswith("wfctl down && wfctl up")
        assert asked == []
        with pytest.raises(UnknownWorkflowTypeError, match="asked"):
            await client.start("Order", workflow_id="o", if_running="use")


async def test_a_daemon_that_chooses_another_protocol_is_incompatible(folder: Path) -> None:
    async def newer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(rpc.response(1, welcome(protocol=7)))
        await reader.read()

    async with daemon_that(folder / "d.sock", newer):
        error = await refused(folder / "d.sock", IncompatibleError)
    assert "this wfctl is the older side" in error.message


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b'{"id":1,"result":{"protocol":"x"}}\n'])
async def test_something_that_is_no_daemon_is_incompatible(folder: Path, said: bytes) -> None:
    async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read()

    async with daemon_that(folder / "d.sock", stranger):
        await refused(folder / "d.sock", IncompatibleError)


async def test_a_daemon_that_hangs_up_on_the_handshake_is_down(folder: Path) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()

    async with daemon_that(folder / "d.sock", rude):
        error = await refused(folder / "d.sock", DaemonDownError)
    assert "in the middle of 'hello'" in error.message


async def test_a_daemon_that_says_nothing_is_down_after_a_while(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wfctl.client import connection

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with daemon_that(folder / "d.sock", mute):
        with pytest.raises(DaemonDownError, match="does not accept connections"):
            await connection.Connection.open(folder / "d.sock", timeout_s=0.05)


async def test_calls_under_way_fail_when_the_daemon_goes_away(folder: Path) -> None:
    leave = asyncio.Event()

    async def leaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(rpc.response(1, welcome()))
        await leave.wait()

    async with daemon_that(folder / "d.sock", leaving):
        async with Client.connect(folder / "d.sock") as client:
            waits = [asyncio.ensure_future(call()) for call in (client.workflows, client.status, client.workflows)]
            await until(lambda: len(client._link._connection._calls) == 3)  # type: ignore[union-attr]
            leave.set()
            errors = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(error) for error in errors] == [DaemonDownError] * 3
    assert len(set(map(id, errors))) == 3
    assert all(isinstance(error, WfctlError) and error.detail["dropped"] for error in errors)
    assert "in the middle of 'status'" in str(errors[1])


async def test_a_stopping_daemon_ends_waits_with_daemon_down(
    client: Client, server: Server, backend: FakeBackend
) -> None:
    handle = await client.start("Order", workflow_id="a")
    waiting = asyncio.ensure_future(handle.result())
    watching = asyncio.ensure_future(anext(handle.watch()))
    await until(lambda: backend.streams and server.connections == 2)
    await server.stop()
    for task in (waiting, watching):
        with pytest.raises(DaemonDownError):
            await task
    with pytest.raises(DaemonDownError):
        await client.list()


async def test_the_next_call_after_a_restart_connects_again(
    client: Client, server: Server, backend: FakeBackend
) -> None:
    handle = await client.start("Order", workflow_id="a")
    await server.stop()
    await server.start()
    results = await asyncio.gather(*(handle.send("pay") for _ in range(10)))
    assert len(results) == 10
    assert server.connections == 1


async def test_a_closed_client_says_so_and_ends_its_streams(server: Server, backend: FakeBackend) -> None:
    client = await Client.connect(server.path)
    handle = await client.start("Order", workflow_id="a")
    watching = handle.watch()
    first = asyncio.ensure_future(anext(watching))
    waiting = asyncio.ensure_future(handle.result())
    await until(lambda: backend.streams)
    backend.streams[0].queue.put_nowait(entry(1))
    await first
    await client.close()
    with pytest.raises(DaemonDownError):
        await anext(watching)
    with pytest.raises(DaemonDownError):
        await waiting
    with pytest.raises(UsageError, match="this client is closed"):
        await handle.send("pay")
    with pytest.raises(UsageError, match="this client is closed"):
        await anext(handle.watch())
    await until(lambda: server.connections == 0)


async def test_a_stream_that_is_still_connecting_when_its_client_is_closed_does_not_begin(
    server: Server, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await Client.connect(server.path)
    handle = await client.start("Order", workflow_id="a")
    connect, go_on = Connection.open, asyncio.Event()

    async def late(path: Path, project: str) -> Connection:
        connection = await connect(path, project)
        await go_on.wait()
        return connection

    monkeypatch.setattr(Connection, "open", late)
    first = asyncio.ensure_future(anext(handle.watch()))
    await until(lambda: server.connections == 2)
    await client.close()
    go_on.set()
    await until(first.done)
    with pytest.raises(UsageError, match="this client is closed"):
        await first
    await until(lambda: server.connections == 0)
    assert not backend.streams


async def test_a_message_the_daemon_would_not_read_is_refused_here(folder: Path, backend: FakeBackend) -> None:
    lock = held_lock(folder)
    server = server_for(backend, folder, lock, limit_bytes=10_000)
    await server.start()
    async with Client.connect(server.path) as client:
        with pytest.raises(PayloadTooLargeError, match="the 'start' message is") as caught:
            await client.start("Order", workflow_input="x" * 20_000)
        assert caught.value.detail["limit_bytes"] == 10_000
        assert await client.list() == []
    await server.stop()
    lock.release()


async def test_an_error_that_belongs_to_no_call_ends_all_calls_with_it(server: Server, client: Client) -> None:
    handle = await client.start("Order", workflow_id="a")
    connection = await client._link.connect()
    waits = [asyncio.ensure_future(handle.result()) for _ in range(2)]
    await until(lambda: len(connection._calls) == 2)
    connection._transport.write(b"nonsense\n")
    errors = await asyncio.gather(*waits, return_exceptions=True)
    assert [str(error)[:8] for error in errors] == ["not JSON"] * 2
    assert errors[0] is not errors[1]
    assert (await client.workflows()).problems


async def test_the_daemon_of_a_project_is_found_from_below_it(
    folder: Path, backend: FakeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WFCTL_SOCKET", "WFCTL_PROJECT", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    project = folder / "shop"
    (project / ".wfctl").mkdir(parents=True, mode=0o700)
    (project / "wfctl.toml").write_text("")
    (project / "deep").mkdir()
    lock = held_lock(project / ".wfctl")
    server = server_for(backend, project / ".wfctl", lock)
    await server.start()
    monkeypatch.chdir(project / "deep")
    async with Client.connect() as client, Client.connect(project=project) as other:
        assert await client.list() == await other.list() == []
    monkeypatch.chdir(folder)
    with pytest.raises(ConfigError, match=r"no wfctl\.toml"):
        await Client.connect()
    monkeypatch.setenv("WFCTL_SOCKET", str(server.path))
    async with Client.connect() as client:
        assert await client.list() == []
    await server.stop()
    lock.release()
    monkeypatch.delenv("WFCTL_SOCKET")
    with pytest.raises(DaemonDownError, match=f"no wfctl daemon for project {project}"):
        await Client.connect(project=project)


class Interrupting(EnumMeta):
    """A Ctrl-C comes just as msgspec looks for what it keeps on an enum."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__msgspec"):
            signal.raise_signal(signal.SIGINT)
        raise AttributeError(name)


class Colour(Enum, metaclass=Interrupting):
    RED = "red"


def test_an_interrupt_that_comes_while_a_decoder_is_made_is_not_lost() -> None:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            rpc.decode_as(Colour, msgspec.Raw(b'"red"'))
    finally:
        signal.signal(signal.SIGINT, before)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == blocked
    assert rpc.decode_as(Colour, msgspec.Raw(b'"red"')) is Colour.RED
