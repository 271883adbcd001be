"""How a verb is served: what its parameters are decoded as, what handles it, and what its caller's leaving means."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, TypeVar

import msgspec

from wfctl.protocol.calls import Call, Start
from wfd.runtime.promise import Promise
from wfd.server.backend import Backend, Stream

CallT = TypeVar("CallT", bound=Call)
Promises = Callable[[Backend, CallT], Promise[Any] | None]


class Kind(Enum):
    COMMAND = "changes something: once begun it is finished, whoever leaves"
    QUESTION = "only asks: given up with its caller"
    STREAM = "answers with items, then an answer: given up with its caller"


class Route:
    """One verb. `handle` takes the backend and the decoded parameters; what it returns depends on `kind`. `promise` is asked
    before it: where that promises the answer, the call waits for that and costs no task of its own. `starts`: it asks
    for a run to begin."""

    __slots__ = ("call", "command", "decode", "handle", "kind", "method", "promise", "starts", "streams")

    def __init__(
        self, call: type[Call], kind: Kind, handle: Callable[[Backend, Any], Any], promise: Promises[Any] | None = None
    ) -> None:
        self.call = call
        self.method = call.method
        self.kind = kind
        self.command = kind is Kind.COMMAND
        self.streams = kind is Kind.STREAM
        self.starts = call is Start
        self.handle = handle
        self.promise = promise
        self.decode: Callable[[bytes | msgspec.Raw], Call] = msgspec.json.Decoder(call).decode


def command(
    call: type[CallT], promise: Promises[CallT] | None = None
) -> Callable[[Callable[[Backend, CallT], Awaitable[Any]]], Route]:
    return lambda handle: Route(call, Kind.COMMAND, handle, promise)


def question(
    call: type[CallT], promise: Promises[CallT] | None = None
) -> Callable[[Callable[[Backend, CallT], Awaitable[Any]]], Route]:
    return lambda handle: Route(call, Kind.QUESTION, handle, promise)


def stream(call: type[CallT]) -> Callable[[Callable[[Backend, CallT], Stream[Any, Any]]], Route]:
    return lambda handle: Route(call, Kind.STREAM, handle)
