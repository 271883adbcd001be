"""A client of the socket that knows no manners: writes any bytes, reads lines."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from wfctl.protocol import rpc
from wfctl.protocol.calls import Call, Hello

PATIENCE_S = 10


class Peer:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._next = 100

    @classmethod
    async def connect(cls, path: Path) -> Peer:
        return cls(*await asyncio.open_unix_connection(str(path), limit=64 << 20))

    @classmethod
    async def greeted(cls, path: Path) -> Peer:
        peer = await cls.connect(path)
        answer = await peer.ask(Hello(version="1"))
        assert answer["result"]["version"] == "9.9.9"
        return peer

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def send(self, call: Call) -> int:
        self._next += 1
        self.write(rpc.request(self._next, call))
        return self._next

    async def read(self) -> dict[str, Any]:
        """The next message; {} when the server has hung up."""
        line = await asyncio.wait_for(self.reader.readline(), PATIENCE_S)
        message: dict[str, Any] = msgspec.json.decode(line) if line else {}
        return message

    async def ask(self, call: Call) -> dict[str, Any]:
        id = self.send(call)
        answer = await self.read()
        assert answer["id"] == id
        return answer

    async def hung_up(self) -> bool:
        return not await asyncio.wait_for(self.reader.read(), PATIENCE_S)

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except OSError:
            pass
