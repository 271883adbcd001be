"""A client of a server with a fake backend, over a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.fake_backend import FakeBackend, held_lock, server_for
from wfctl.client import Client
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
    server = server_for(backend, folder, lock)
    await server.start()
    yield server
    await server.stop()
    lock.release()


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    async with Client.connect(server.path) as client:
        yield client
