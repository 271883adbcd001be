"""What a handler has asked of the daemon and waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from wfctl.errors import ErrorData, from_data
from wfctl.values.opkeys import CLEANUP_MARK

# What the daemon may refuse; all else it answers without an error.
REFUSABLE = frozenset({"child", "event", "parent_event", "child_cancel", "child_terminate"})
# Whose answer may take long: a cancellation does not wait for it.
PATIENT = frozenset({"sleep", "resume", "task_attempt_failed", "child_result"})


class Pending(msgspec.Struct, eq=False):
    """An operation on its way. `answer` is its value (JSON), or the error that it is refused with, as a value: an error that a
    future raises into a coroutine under an `except` or a `finally` loses, on Python 3.11, the frames that say where it was
    asked. It is done before its time where whoever asked has given it up."""

    key: str
    answer: asyncio.Future[Any]
    patient: bool

    def settle(self, value: bytes, error: ErrorData | None) -> None:
        if not self.answer.done():
            self.answer.set_result(value if error is None else from_data(error))


class Question(Pending, eq=False):
    """How the child `of` has ended. Where whoever asked has `given_up`, its answer is for whoever asks next: the daemon still has
    the question, and records one answer to it. Asking again and again for as long as a child runs would pile up besides."""

    of: str
    given_up: bool = False

    def settle(self, value: bytes, error: ErrorData | None) -> None:
        self.renew()
        super().settle(value, error)

    def renew(self) -> None:
        if self.answer.cancelled():
            self.answer = self.answer.get_loop().create_future()


# Those whose answer nobody has heard yet, by child.
Questions = dict[str, list[Question]]


def taken_up(questions: Questions, of: str, key: str) -> Question | None:
    """What was asked before and given up, where `key` would ask the same. What cleans up asks for itself: of what was asked before
    the cancellation no answer is recorded that comes after it."""
    for asked in questions.get(of, ()):
        if asked.given_up and asked.key.startswith(CLEANUP_MARK) == key.startswith(CLEANUP_MARK):
            asked.given_up = False
            asked.renew()
            return asked
    return None


async def heard(questions: Questions, asked: Question) -> bytes:
    """The answer; from then on it is no question any more."""
    try:
        await asked.answer
    except BaseException:
        asked.given_up = True
        raise
    drop(questions, asked)
    return await told(asked.answer)


def drop(questions: Questions, asked: Question) -> None:
    of = questions[asked.of]
    of.remove(asked)
    if not of:
        del questions[asked.of]


async def told(answer: asyncio.Future[Any]) -> bytes:
    """The value of an operation that may be refused; raises the error that it is refused with."""
    value = await answer
    if type(value) is bytes:
        return value
    raise value
