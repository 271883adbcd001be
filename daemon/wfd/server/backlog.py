"""What one connection has asked for and is not heard yet: read ahead so far that a note, which waits for nothing, is found."""

from __future__ import annotations

from collections import deque

import msgspec

from wfctl.errors import UsageError, WfctlError
from wfctl.protocol import rpc

# Of one connection so much is read ahead; the rest stays with its sender.
MAX_UNHEARD_BYTES = 256 << 10
UNDECODABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)


class Misread(msgspec.Struct):
    """A line that is no message, and what its sender is to be told in its turn."""

    error: WfctlError
    code: int


class CancelNote(msgspec.Struct):
    """Whose answer nobody waits for any more."""

    id: int | str


decode_cancel = msgspec.json.Decoder(CancelNote).decode


def understood(line: bytes) -> rpc.Envelope | Misread:
    try:
        if not line.isascii():
            line.decode()  # a payload is kept as it came, so nobody after us would notice
        return rpc.parse(line)
    except UNDECODABLE as error:
        invalid = isinstance(error, msgspec.ValidationError)
        what = "not a JSON-RPC 2.0 message" if invalid else "not JSON"
        return Misread(UsageError(f"{what}: {error}"), rpc.INVALID_REQUEST if invalid else rpc.PARSE_ERROR)


class Backlog:
    """Messages in the order they came, each with its size. `withdrawn` are the calls among them that nobody waits for any more."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[rpc.Envelope | Misread, int]] = deque()
        self.withdrawn: set[int | str] = set()
        self._bytes = 0
        self._ids: set[int | str] = set()

    @property
    def first(self) -> rpc.Envelope | Misread:
        """What `take` takes; there is something."""
        return self.waiting[0][0]

    @property
    def full(self) -> bool:
        return self._bytes >= MAX_UNHEARD_BYTES

    @property
    def last(self) -> bool:
        """Whether the newest is a line that is no message: at that one its sender is hung up on."""
        return bool(self.waiting) and isinstance(self.waiting[-1][0], Misread)

    def add(self, message: rpc.Envelope | Misread, size: int) -> None:
        self.waiting.append((message, size))
        self._bytes += size
        if isinstance(message, rpc.Envelope) and message.id is not None:
            self._ids.add(message.id)

    def take(self) -> rpc.Envelope | Misread:
        message, size = self.waiting.popleft()
        self._bytes -= size
        if isinstance(message, rpc.Envelope) and message.id is not None:
            self._ids.discard(message.id)
        return message

    def withdraw(self, id: int | str) -> None:
        """Who asked call `id` has lost interest in it, if it waits here."""
        if id in self._ids:
            self.withdrawn.add(id)

    def clear(self) -> None:
        self.waiting.clear()
        self._ids.clear()
        self.withdrawn.clear()
        self._bytes = 0
