"""The socket's place: private, ours, and cleaned up only when nobody listens there."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import pytest

from support.fake_backend import FakeBackend, held_lock, server_for
from support.raw_peer import Peer
from wfctl.errors import ConfigError, ConflictError, DaemonAlreadyRunningError, DeniedError
from wfctl.protocol.calls import GetTree
from wfd.runtime.lock import StateLock
from wfd.server import Server
from wfd.server.endpoint import listen, peer as peer_of, prepare_directory


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_socket_is_0600_in_a_directory_of_0700_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    path = tmp_path / "run" / "wfctl" / "a.sock"
    path.parent.parent.mkdir()
    before = os.umask(umask)
    try:
        sock = listen(path)
    finally:
        os.umask(before)
    assert (mode(path.parent), mode(path)) == (0o700, 0o600)
    sock.close()


def test_a_directory_that_others_may_write_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o775)
    with pytest.raises(DeniedError, match="open to others") as caught:
        listen(folder / "a.sock")
    assert caught.value.hint == f"chmod 700 {folder}"
    assert caught.value.exit_status == 7


def test_a_directory_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12_345)
    with pytest.raises(DeniedError, match="not to uid 12345"):
        prepare_directory(folder)


def test_a_file_in_the_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeniedError, match="is not a directory"):
        listen(tmp_path / "file" / "a.sock")


def test_a_stale_socket_is_replaced(folder: Path) -> None:
    path = folder / "a.sock"
    listen(path).close()
    assert path.exists()
    sock = listen(path)
    sock.close()


def test_a_socket_that_somebody_listens_at_is_left_alone_and_its_pid_named(folder: Path) -> None:
    path = folder / "a.sock"
    first = listen(path)
    with pytest.raises(DaemonAlreadyRunningError, match=f"pid {os.getpid()}"):
        listen(path)
    assert path.exists()
    first.close()


def test_a_file_in_the_place_of_the_socket_is_left_alone(folder: Path) -> None:
    path = folder / "a.sock"
    path.write_text("precious")
    with pytest.raises(ConflictError, match="it is not a socket"):
        listen(path)
    assert path.read_text() == "precious"


def test_a_path_that_is_too_long_is_a_clear_error(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot listen at"):
        listen(folder / ("x" * 120))


def test_the_kernel_tells_who_is_at_the_other_end() -> None:
    one, other = socket.socketpair()
    assert peer_of(one) == (os.getpid(), os.getuid())
    one.close()
    other.close()


async def test_another_uid_is_denied(backend: FakeBackend, folder: Path) -> None:
    lock = held_lock(folder)
    server = server_for(backend, folder, lock, uid=os.getuid() + 1)
    await server.start()
    peer = await Peer.connect(server.path)
    error = (await peer.read())["error"]["data"]
    assert (error["code"], error["exit"]) == ("denied", 7)
    assert await peer.hung_up()
    await peer.close()
    await server.stop()
    lock.release()


async def test_the_server_needs_the_lock(backend: FakeBackend, folder: Path) -> None:
    server = server_for(backend, folder, StateLock(folder / "lock"))
    with pytest.raises(RuntimeError, match="needs the lock"):
        await server.start()
    assert not server.path.exists()


async def test_stopping_removes_the_socket_but_not_one_that_is_not_its_own(backend: FakeBackend, folder: Path) -> None:
    lock = held_lock(folder)
    server = server_for(backend, folder, lock)
    await server.start()
    await server.stop()
    assert not server.path.exists()
    await server.start()
    server.path.unlink()
    server.path.write_text("somebody else's")
    await server.stop()
    assert server.path.read_text() == "somebody else's"
    lock.release()


async def test_a_client_that_does_not_read_cannot_keep_the_server_from_stopping(
    backend: FakeBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfd.server.server._FINISH_S", 0.1)
    lock = held_lock(folder)
    server = server_for(backend, folder, lock)
    await server.start()
    peer = await Peer.greeted(server.path)
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    for _ in range(20_000):
        peer.send(GetTree())
    other = await Peer.greeted(server.path)
    for _ in range(20):
        await other.ask(GetTree())
    await asyncio.wait_for(server.stop(), 5)
    assert server.connections == 0
    await other.close()
    await peer.close()
    lock.release()


async def test_a_server_starts_again_where_it_stopped(server: Server) -> None:
    await server.stop()
    await server.start()
    peer = await Peer.greeted(server.path)
    assert "result" in await peer.ask(GetTree())
    await peer.close()
