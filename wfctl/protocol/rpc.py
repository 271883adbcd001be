"""JSON-RPC 2.0 over a byte stream, one object a line; sans-IO, shared by both clients and the server.

A `Conversation` turns calls into lines and lines into replies; whoever owns the socket moves the bytes. A stream's items
are notifications `{"method": "stream", "params": {"id": N, "item": ...}}`; a caller that loses interest in call N sends the
notification `cancel` with that id.
"""

from __future__ import annotations

import signal
from typing import Any

import msgspec

from wfctl.errors import ErrorData, IncompatibleError, InvalidArgumentError, WfctlError, from_data
from wfctl.protocol import PROTOCOL_MAX
from wfctl.protocol.call import Call

MAX_LINE_BYTES = 4 << 20
# What a client reads to its end: no answer and no item of a stream is larger.
MAX_ANSWER_BYTES = 64 << 20


class Envelope(msgspec.Struct, omit_defaults=True, gc=False):
    """Any message. A request has method and id, a notification only a method, a response only an id."""

    jsonrpc: str = ""
    id: int | str | None = None
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    result: msgspec.Raw = msgspec.Raw(b"")  # empty: absent
    error: RpcError | None = None


class RpcError(msgspec.Struct, omit_defaults=True):
    """JSON-RPC's error object; `data` is the error of this product, whose `code` is the stable one."""

    code: int
    message: str
    data: ErrorData | None = None


class _Response(msgspec.Struct, gc=False):
    """An answer as it is written: an envelope with a result, whatever that is."""

    jsonrpc: str
    id: int | str | None
    result: Any


class StreamItem(msgspec.Struct):
    id: int | str
    item: msgspec.Raw


# JSON-RPC's own numbers for what never reached a verb; everything else is SERVER_ERROR with data.
PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
SERVER_ERROR = -32000

encoder = msgspec.json.Encoder()
# One message of a line; msgspec.DecodeError or msgspec.ValidationError where it is none.
parse = msgspec.json.Decoder(Envelope).decode
_decode_item = msgspec.json.Decoder(StreamItem).decode
_answers: dict[Any, msgspec.json.Decoder[Any]] = {}
# What ends a command from outside.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def decode_as(kind: Any, raw: msgspec.Raw) -> Any:
    decoder = _answers.get(kind)
    if decoder is None:
        decoder = _answers[kind] = _decoder(kind)
    return decoder.decode(raw)


def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    """Made with signals kept back. msgspec asks each enum for an attribute of its own, and takes whatever comes of that for "it has
    none": a KeyboardInterrupt too, and the Ctrl-C would be lost. Of a process with one thread, as a command is."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
        return msgspec.json.Decoder(kind)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class LineBuffer:
    """Bytes in, whole lines out; a line over `limit` bytes raises IncompatibleError (the peer is not one of ours)."""

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> list[bytes]:
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._parts:
            lines[0] = b"".join([*self._parts, lines[0]])
            self._parts.clear()
            self._held = 0
        if rest:
            self._parts.append(rest)
            self._held += len(rest)
        longest = max(self._held, *map(len, lines)) if lines else self._held
        if longest > self._limit:
            raise IncompatibleError(
                f"a message of over {self._limit:,} bytes", size_bytes=longest, limit_bytes=self._limit
            )
        return [line for line in lines if line.strip()]


def request(id: int, call: Call) -> bytes:
    """InvalidArgumentError where a parameter cannot be said at all; of those that can, the server finds what is wrong."""
    try:
        body = encoder.encode(call)
    except UnicodeEncodeError as error:
        char = ord(error.object[error.start])
        raise InvalidArgumentError(
            f"a text of {call.method!r} has a lone surrogate (U+{char:04X}) at position {error.start + 1}, which is no character",
            hint="decode bytes with the encoding that they are in",
            value=ascii(error.object[:80]),
        ) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgumentError(f"parameters of {call.method!r}: {error}", method=call.method) from None
    return b'{"jsonrpc":"2.0","id":%d,"method":"%b","params":%b}\n' % (id, call.method.encode(), body)


def notify(method: str, params: Any) -> bytes:
    return b'{"jsonrpc":"2.0","method":"%b","params":%b}\n' % (method.encode(), encoder.encode(params))


def response(id: int | str | None, result: Any) -> bytes:
    return encoder.encode(_Response("2.0", id, result)) + b"\n"


def stream_item(id: int | str, item: Any) -> bytes:
    return b'{"jsonrpc":"2.0","method":"stream","params":{"id":%b,"item":%b}}\n' % (
        encoder.encode(id),
        encoder.encode(item),
    )


def failure(id: int | str | None, error: WfctlError, code: int = SERVER_ERROR) -> bytes:
    return encoder.encode({"jsonrpc": "2.0", "id": id, "error": RpcError(code, error.message, error.to_data())}) + b"\n"


class Item(msgspec.Struct):
    """A stream's item, for call `id`."""

    id: int
    value: Any


class Reply(msgspec.Struct):
    """The end of call `id`: a value of its answer type, or an error to raise."""

    id: int
    value: Any = None
    error: WfctlError | None = None


class Conversation:
    """The client's half: numbers calls, remembers what each expects, decodes what comes back. `protocol` is what the handshake has
    come to."""

    def __init__(self) -> None:
        self.protocol = PROTOCOL_MAX
        self._next = 1
        self._open: dict[int, type[Call]] = {}
        self._buffer = LineBuffer(MAX_ANSWER_BYTES)

    def call(self, call: Call) -> tuple[int, bytes]:
        """IncompatibleError for what the daemon would take for something else."""
        if self.protocol < PROTOCOL_MAX and self.protocol < call.protocol:
            raise IncompatibleError(
                f"the daemon is too old for this {call.method!r}: it speaks protocol {self.protocol}, and would not see all that "
                f"is asked, which is of protocol {call.protocol}; nothing was done",
                hint="wfctl down && wfctl up (with one version of wfctl)",
                daemon_protocol=self.protocol,
            )
        id = self._next
        line = request(id, call)
        self._next += 1
        self._open[id] = type(call)
        return id, line

    def cancel(self, id: int) -> bytes:
        """Give up call `id`: what still comes for it is dropped."""
        self._open.pop(id, None)
        return notify("cancel", {"id": id})

    def feed(self, data: bytes) -> list[Item | Reply]:
        """What `data` completes. Raises IncompatibleError when the peer does not speak this protocol."""
        out: list[Item | Reply] = []
        for line in self._buffer.feed(data):
            try:
                answer = self._one(parse(line))
            except msgspec.MsgspecError as error:
                raise IncompatibleError(
                    f"the daemon's answer is not understood ({error})",
                    hint="wfctl down && wfctl up (with one version of wfctl)",
                ) from None
            if answer is not None:
                out.append(answer)
        return out

    def _one(self, envelope: Envelope) -> Item | Reply | None:
        if envelope.method == "stream":
            item = _decode_item(envelope.params)
            call = self._open.get(item.id)  # type: ignore[arg-type]
            return None if call is None else Item(int(item.id), decode_as(call.item, item.item))
        if envelope.method is not None:
            return None
        if envelope.error is not None:
            error = envelope.error
            raised = (
                from_data(error.data)
                if error.data is not None
                else IncompatibleError(f"the daemon refused the message: {error.message}")
            )
            if envelope.id is None:
                raise raised
            self._open.pop(int(envelope.id), None)
            return Reply(int(envelope.id), error=raised)
        if envelope.id is None:
            return None
        id = int(envelope.id)
        call = self._open.pop(id, None)
        if call is None or not envelope.result:
            return None
        return Reply(id, decode_as(call.answer, envelope.result))
