"""What a handler has asked of the daemon and waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec

from wfctl.errors import ErrorData, WfctlError, from_data

# What the daemon may refuse; all else it answers without an error.
REFUSABLE = frozenset({"child", "event", "parent_event", "child_result"})


class Pending(msgspec.Struct, eq=False):
    """An operation on its way. `answer` is its value (JSON), or the error that it is refused with, as a value: an error that a
    future raises into a coroutine under an `except` or a `finally` loses, on Python 3.11, the frames that say where it was
    asked. It is done before its time where whoever asked has given it up."""

    key: str
    answer: asyncio.Future[Any]
    patient: bool

    def settle(self, value: bytes, error: ErrorData | None) -> None:
        self.answer.set_result(value if error is None else from_data(error))


def taken_up(pending: Iterable[Pending], key: str) -> asyncio.Future[Any] | None:
    """The answer to what was asked with this key and given up: the daemon still has the question, and asking it again and again for
    as long as a child runs would pile up here and there."""
    for waiting in pending:
        if waiting.key == key and waiting.answer.cancelled():
            waiting.answer = waiting.answer.get_loop().create_future()
            return waiting.answer
    return None


async def told(answer: asyncio.Future[Any]) -> bytes:
    """The value of an operation that may be refused; raises the error that it is refused with."""
    value = await answer
    if isinstance(value, WfctlError):
        raise value
    assert isinstance(value, bytes)
    return value
