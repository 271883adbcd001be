"""A server with a fake backend in a private folder, and a raw peer that says whatever a test wants."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.fake_backend import FakeBackend, held_lock, server_for
from support.raw_peer import Peer
from wfd.server import Server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    private = tmp_path / "state"
    private.mkdir(mode=0o700)
    return private


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
async def server(backend: FakeBackend, folder: Path) -> AsyncIterator[Server]:
    lock = held_lock(folder)
    server = server_for(backend, folder, lock, handshake_s=0.2, limit_bytes=100_000)
    await server.start()
    yield server
    await server.stop()
    lock.release()


@pytest.fixture
async def peer(server: Server) -> AsyncIterator[Peer]:
    peer = await Peer.greeted(server.path)
    yield peer
    await peer.close()
