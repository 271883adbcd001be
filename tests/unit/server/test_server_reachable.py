"""A socket that is removed from under the daemon: it listens again, and nobody who is connected notices."""

from __future__ import annotations

import asyncio
import errno
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from support.fake_backend import FakeBackend, held_lock, server_for
from support.raw_peer import Peer
from wfctl.errors import DeniedError
from wfctl.protocol.calls import GetTree
from wfd.runtime.clock import ManualClock
from wfd.server import Server
from wfd.server.reachable import LOOK_MS, Reachable


async def looked(reachable: Reachable, clock: ManualClock) -> None:
    clock.advance(LOOK_MS)
    assert reachable._task is not None
    await reachable._task


async def test_it_listens_again_and_those_who_are_connected_stay(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    reachable = Reachable(server, clock)
    await reachable.start()
    before = await Peer.greeted(server.path)
    await looked(reachable, clock)
    assert caplog.messages == []
    server.path.unlink()
    await looked(reachable, clock)
    await looked(reachable, clock)
    assert caplog.messages == [f"the socket {server.path} was removed; the daemon listens there again"]
    after = await Peer.greeted(server.path)
    for peer in (before, after):
        assert "result" in await peer.ask(GetTree())
        await peer.close()
    await reachable.stop()
    await server.stop()
    assert not server.path.exists()


async def test_what_fails_in_between_is_tried_again(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    reachable = Reachable(server, clock)
    await reachable.start()

    async def no_files(*given: Any, **options: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as full:
        full.setattr(asyncio.get_running_loop(), "create_unix_server", no_files)
        server.path.unlink()
        await looked(reachable, clock)
        await looked(reachable, clock)
    assert not server.path.exists()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "Too many open files" in caplog.text
    await looked(reachable, clock)
    assert caplog.messages[-1] == f"the socket {server.path} was removed; the daemon listens there again"
    peer = await Peer.greeted(server.path)
    await peer.close()
    await reachable.stop()
    await server.stop()


async def test_a_folder_that_is_away_is_told_once_and_waited_for(
    backend: FakeBackend, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lock, clock, login = held_lock(folder), ManualClock(), folder / "login"
    login.mkdir(mode=0o700)
    server = server_for(backend, login / "wfctl", lock)
    await server.start()
    reachable = Reachable(server, clock)
    await reachable.start()
    shutil.rmtree(login)
    await looked(reachable, clock)
    await looked(reachable, clock)
    (told,) = (record for record in caplog.records if record.levelno > logging.INFO)
    assert (told.levelno, login.exists()) == (logging.ERROR, False)
    assert "nobody can reach this daemon until it can be made again" in told.getMessage()
    login.mkdir(mode=0o700)
    await looked(reachable, clock)
    peer = await Peer.greeted(server.path)
    assert "result" in await peer.ask(GetTree())
    await peer.close()
    await reachable.stop()
    await server.stop()
    lock.release()


async def test_what_is_in_its_place_stays_and_so_does_the_place_of_a_lock_that_is_gone(
    backend: FakeBackend, folder: Path
) -> None:
    lock = held_lock(folder)
    server = server_for(backend, folder, lock)
    await server.start()
    server.path.unlink()
    server.path.write_text("somebody else's")
    assert not await server.listen_again()
    assert server.path.read_text() == "somebody else's"
    server.path.unlink()
    lock.path.unlink()
    assert not await server.listen_again()
    assert not server.path.exists()
    await server.stop()
    lock.release()


async def test_a_stale_socket_that_may_not_be_replaced_is_told_with_the_remedy(
    backend: FakeBackend, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = held_lock(folder)
    server = server_for(backend, folder, lock)
    await server.start()
    kept = folder / "kept"
    server.path.rename(kept)
    await server.stop()
    kept.rename(server.path)

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(DeniedError, match=f"cannot remove the stale socket wfd.sock from {folder}: ") as caught:
        await server.start()
    assert caught.value.hint.startswith(f"chmod u+rwx {folder}, or ")
    lock.release()
