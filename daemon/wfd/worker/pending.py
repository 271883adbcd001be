"""What a handler has asked of the daemon and waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from wfctl.errors import ErrorData, WfctlError, from_data

# What the daemon may refuse; all else it answers without an error.
REFUSABLE = frozenset({"child", "event", "parent_event", "child_result", "child_cancel", "child_terminate"})
# Whose answer may take long and commits nothing: a cancellation does not wait for it.
PATIENT = frozenset({"sleep", "resume", "task_attempt_failed", "child_result"})
ENDED_BY_CANCELLATION = frozenset({"resume", "child_result"})


class Pending(msgspec.Struct, eq=False):
    """An operation on its way. `answer` is its value (JSON), or the error that it is refused with, as a value: an error that a
    future raises into a coroutine under an `except` or a `finally` loses, on Python 3.11, the frames that say where it was
    asked. It is done before its time where whoever asked has given it up."""

    key: str
    answer: asyncio.Future[Any]
    patient: bool

    def settle(self, value: bytes, error: ErrorData | None) -> None:
        self.answer.set_result(value if error is None else from_data(error))


# How a child has ended: what the daemon was asked and has not answered, by its key.
Questions = dict[str, list[Pending]]


def taken_up(questions: Questions, key: str) -> asyncio.Future[Any] | None:
    """The answer to what was asked before and given up: the daemon still has the question, and asking it again and again for as
    long as a child runs would pile up here and there."""
    for asked in questions.get(key, ()):
        if asked.answer.cancelled():
            asked.answer = asked.answer.get_loop().create_future()
            return asked.answer
    return None


def answered(questions: Questions, waiting: Pending) -> None:
    """It is no question any more, if it was one."""
    asked = questions.get(waiting.key)
    if asked is not None:
        asked.remove(waiting)
        if not asked:
            del questions[waiting.key]


async def told(answer: asyncio.Future[Any]) -> bytes:
    """The value of an operation that may be refused; raises the error that it is refused with."""
    value = await answer
    if isinstance(value, WfctlError):
        raise value
    assert isinstance(value, bytes)
    return value
