"""The worker's end of the channel on an asyncio loop: frames in, messages out, a write or a few for each turn of the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol, cast

from wfctl.errors import IncompatibleError
from wfctl.protocol.channel import ToDaemon, ToWorker
from wfctl.protocol.frames import FrameBuffer, encode, frames

_DRAIN_S = 0.005
# What is said in one turn of the loop leaves at once where it is so much: the daemon begins with it while this goes on.
MOST_UNSENT = 32
_log = logging.getLogger("wfd.worker")


class Receiver(Protocol):
    def __call__(self, *messages: ToWorker) -> None: ...


class Link(asyncio.Protocol):
    """`receive` gets the messages in order, as its arguments; `lost` is called once, when the daemon is gone."""

    receive: Receiver  # set before there is a connection

    def __init__(self, lost: Callable[[], None], frames: FrameBuffer, loop: asyncio.AbstractEventLoop) -> None:
        self._lost: Callable[[], None] | None = lost
        self._frames = frames
        self._transport: asyncio.WriteTransport | None = None
        self._out: list[bytes] = []
        self._flushing = False
        self._loop = loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not by isinstance: uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._frames.feed(data)
        except IncompatibleError as error:
            _log.critical("the daemon's messages are not understood (%s); is it of another version?", error)
            self._gone()
            return
        self.receive(*messages)
        # Behind what these have woken, so that its answers leave in the same turn of the loop.
        if messages and not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def eof_received(self) -> None:
        self._gone()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone()

    def _gone(self) -> None:
        if self._lost is not None:
            lost, self._lost = self._lost, None
            lost()

    def send(self, message: ToDaemon) -> None:
        """Queue one message; what is said in this turn of the loop leaves in one write, or in a few, in order."""
        self._out.append(encode(message))
        if len(self._out) >= MOST_UNSENT:
            self._write()
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        self._flushing = False
        if self._out:
            self._write()

    def _write(self) -> None:
        if self._transport is not None:
            data = frames(self._out)
            self._out.clear()
            if not self._transport.is_closing():
                self._transport.write(data)

    async def finish(self) -> None:
        """Write everything that is queued. The channel stays open until the process ends: its end is what the daemon sees."""
        self._lost = None
        self.flush()
        while self._transport is not None and self._transport.get_write_buffer_size() > 0:
            await asyncio.sleep(_DRAIN_S)
