"""Messages on a stream of bytes: msgpack in frames, each an array of messages after its length in four bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from wfctl.errors import IncompatibleError

# Raised with every change of what `wfctl.protocol.channel` says: a worker of another wfctl, as where one was
# installed while the daemon runs, could take a message for something else.
CHANNEL = 2
# The last words of such a worker.
OTHER_DAEMON = "the daemon is of a version that it does not understand"
HEADER_BYTES = 4
MAX_FRAME_BYTES = 256 << 20
# What is said together shares a frame up to this size, so that the other end does not wait long for the first of it.
_FULL_FRAME_BYTES = 64 << 10

_encoder = msgspec.msgpack.Encoder()
# One message as it stands in a frame.
encode = _encoder.encode
_encode_into = _encoder.encode_into


def pack(*messages: msgspec.Struct) -> bytes:
    return frames([encode(message) for message in messages])


def frames(encoded: list[bytes]) -> bytes:
    """Encoded messages, in their order, as bytes for the channel. One frame for many costs both ends less than one for each."""
    if len(encoded) == 1:
        message = encoded[0]
        return (len(message) + 1).to_bytes(HEADER_BYTES, "big") + b"\x91" + message
    size = sum(map(len, encoded))
    if size <= _FULL_FRAME_BYTES:
        return _frame(encoded, size)
    full: list[bytes] = []
    begin = size = 0
    for at, message in enumerate(encoded):
        if size and size + len(message) > _FULL_FRAME_BYTES:
            full.append(_frame(encoded[begin:at], size))
            begin, size = at, 0
        size += len(message)
    return b"".join([*full, _frame(encoded[begin:], size)])


def _frame(encoded: list[bytes], size: int) -> bytes:
    count = len(encoded)
    # msgpack's arrays of up to 15 and of up to 65,535 items; a full frame has no room for more.
    array = bytes((0x90 | count,)) if count < 16 else b"\xdc" + count.to_bytes(2, "big")
    return b"".join(((size + len(array)).to_bytes(HEADER_BYTES, "big"), array, *encoded))


class FrameWriter:
    """Messages in, in their order; bytes for the channel out. `begun` is called where there had been none: `take` them soon, for
    they are packed only then, together, and are to stay as they are until that. `unsaid` hears of one that cannot be packed."""

    def __init__(self, begun: Callable[[], object], unsaid: Callable[[Any, Exception], None]) -> None:
        self._begun = begun
        self._unsaid = unsaid
        self._said: list[Any] = []

    def send(self, message: Any) -> None:
        said = self._said
        if not said:
            self._begun()
        said.append(message)

    def take(self) -> bytes | bytearray:
        """All that was said since the last time."""
        said, self._said = self._said, []
        frame = bytearray(HEADER_BYTES)
        try:
            _encode_into(said, frame, HEADER_BYTES)
        except Exception:  # one by one, to leave out only what cannot be said
            return frames(self._each(said))
        size = len(frame) - HEADER_BYTES
        if size > _FULL_FRAME_BYTES and len(said) > 1:
            del frame
            return frames(self._each(said))
        frame[:HEADER_BYTES] = size.to_bytes(HEADER_BYTES, "big")
        return frame

    def _each(self, said: list[Any]) -> list[bytes]:
        encoded = []
        for message in said:
            try:
                encoded.append(encode(message))
            except Exception as error:
                self._unsaid(message, error)
        return encoded


class FrameBuffer:
    """Bytes in, messages of one side out; garbage or a frame over the limit raises IncompatibleError."""

    def __init__(self, kind: Any) -> None:
        self._decode = msgspec.msgpack.Decoder(list[kind]).decode
        # The beginning of a frame as it came, joined once all of it is there: a large one comes in a thousand pieces.
        self._pieces: list[bytes] = []
        self._missing = 0

    def feed(self, data: bytes) -> list[Any]:
        if self._pieces:
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return []
            data = b"".join(self._pieces)
            self._pieces.clear()
        end = len(data)
        if int.from_bytes(data[:HEADER_BYTES], "big") + HEADER_BYTES == end <= _FULL_FRAME_BYTES:
            return self._one(data[HEADER_BYTES:])  # as nearly always: a frame, and no more
        out: list[Any] = []
        start, stop = 0, HEADER_BYTES
        while stop <= end:
            size = int.from_bytes(data[start:stop], "big")
            if size > MAX_FRAME_BYTES:
                raise IncompatibleError(f"a frame of {size:,} bytes on the worker channel")
            begin, stop = stop, stop + size
            if stop > end:
                break
            out += self._one(memoryview(data)[begin:stop])
            start, stop = stop, stop + HEADER_BYTES
        if start < end:
            self._pieces.append(data[start:])
            self._missing = stop - end
        return out

    def _one(self, frame: bytes | memoryview) -> list[Any]:
        try:
            messages: list[Any] = self._decode(frame)
        except msgspec.MsgspecError as error:
            raise IncompatibleError(f"a frame that is not understood on the worker channel: {error}") from None
        return messages
