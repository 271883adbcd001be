"""One end of a worker's socketpair: frames in, frames out, everything said in one turn of the loop in one write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from wfctl.protocol.channel import ToWorker, to_daemon_frames
from wfctl.protocol.frames import FrameWriter

log = logging.getLogger("wfd.worker")

# An end that has not read so much is crowded, at least until it has: a transport may say so only when all of that is written.
CROWD_BYTES = 8 << 20


class Link(asyncio.Protocol):
    """`received` gets the messages that have come together, `lost` is called once when the other end has gone or speaks nonsense,
    `crowded` whenever the other end has come to be that, or is not any more."""

    def __init__(
        self,
        received: Callable[[list[Any]], None],
        lost: Callable[[Exception | None], None],
        crowded: Callable[[bool], None],
    ) -> None:
        self._received = received
        self._lost = lost
        self._crowded = crowded
        self._frames = to_daemon_frames()
        self._transport: asyncio.Transport | None = None
        self._out = FrameWriter(partial(asyncio.get_running_loop().call_soon, self._flush), _unsaid)
        self.send: Callable[[ToWorker], None] = self._out.send
        self._hears = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only of their shape.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(CROWD_BYTES, CROWD_BYTES)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._frames.feed(data)
        except Exception as error:
            self.close()
            self._gone(error)
        else:
            self._received(messages)

    def pause_writing(self) -> None:
        self._crowded(True)

    def resume_writing(self) -> None:
        self._crowded(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._gone(exc)

    def _gone(self, exc: Exception | None) -> None:
        lost, self._lost = self._lost, lambda _: None
        lost(exc)

    def hear(self, on: bool) -> None:
        """Read what the other end says, or leave it unread until this is said again."""
        if on != self._hears and self._transport is not None and not self._transport.is_closing():
            self._hears = on
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    @property
    def unsent_bytes(self) -> int:
        """What the other end has not read yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def _flush(self) -> None:
        data = self._out.take()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _unsaid(message: ToWorker, error: Exception) -> None:
    log.error("a message of kind %s cannot be said: %r", type(message).__name__, error)
