"""What one connection is to be told: all that a turn of the loop has to say goes out in one write."""

from __future__ import annotations

import asyncio


class Outbox:
    """`size` is how many bytes wait for the end of this turn."""

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.WriteTransport) -> None:
        self._loop = loop
        self._transport = transport
        self._lines: list[bytes] = []
        self.size = 0

    def write(self, line: bytes) -> None:
        lines = self._lines
        if not lines:
            self._loop.call_soon(self.flush)
        lines.append(line)
        self.size += len(line)

    def flush(self) -> None:
        """Send it now."""
        if self._lines and not self._transport.is_closing():
            self._transport.write(b"".join(self._lines))
        self.clear()

    def clear(self) -> None:
        self._lines.clear()
        self.size = 0

    def close(self) -> None:
        """Hang up when all is sent."""
        self.flush()
        self._transport.close()
