"""Record-or-replay bookkeeping of one step's execution. Pure: no clock, no I/O.

Operations are known by what they are, never by when they were asked: kind, name, a hash of the canonical arguments, and
how many of the very same came before. So concurrent branches find their own records whatever order they run in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from wfctl.errors import ErrorData

# Operations asked for after the handler got its cancellation carry this mark. It tells the records of the way to the
# cancellation from those of the clean-up after it, so that a re-execution is cancelled at the same place.
CLEANUP_MARK = "~"


class Record(Protocol):
    """A recorded operation: its content key, and the value (JSON) or the error it came back with."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> bytes: ...
    @property
    def error(self) -> ErrorData | None: ...


R = TypeVar("R", bound=Record)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class Replay(Generic[R]):
    """The records of earlier executions, and which of them this execution has asked for.

    `new` lists the keys asked for that no record answered, with the place in the code that asked.
    """

    __slots__ = ("_ahead", "_cleaning", "_left", "_records", "_seen", "new")

    def __init__(self, records: Iterable[R] = ()) -> None:
        self._records: dict[str, R] = {record.key: record for record in records}
        self._left = dict(self._records)
        self._seen: dict[str, int] = {}
        self._cleaning = False
        # Records of the way to the cancellation still to be asked for.
        self._ahead = sum(not key.startswith(CLEANUP_MARK) for key in self._left)
        self.new: list[tuple[str, str]] = []

    def key(self, kind: str, name: str, content: bytes) -> str:
        """The content key of this occurrence of the operation; each call counts as one."""
        base = f"{CLEANUP_MARK if self._cleaning else ''}{kind}:{name}:{digest(content)}"
        count = self._seen.get(base, 0)
        self._seen[base] = count + 1
        return f"{base}:{count}"

    def take(self, key: str) -> R | None:
        """The record of `key`, which counts as asked for; None when earlier executions did not get that far."""
        record = self._left.pop(key, None)
        if record is not None and not key.startswith(CLEANUP_MARK):
            self._ahead -= 1
        return record

    def cleaning(self) -> None:
        """The handler has got its cancellation: what it asks for from here on is clean-up."""
        self._cleaning = True

    @property
    def exhausted(self) -> bool:
        return not self._left

    @property
    def caught_up(self) -> bool:
        """Everything recorded before the cancellation (if there was one) has been asked for."""
        return self._ahead == 0

    def unused(self) -> list[R]:
        """Records not asked for, in the order they were recorded."""
        return list(self._left.values())


_WORDS = {
    "child": "start of child workflow {}",
    "parent_event": "event {} to the parent",
    "event": "event {}",
    "now": "ctx.now()",
    "random": "ctx.random()",
    "uuid": "ctx.uuid4()",
}


def in_words(key: str) -> str:
    """A content key for people: `start of child workflow 'Payment' [3f9c04aa12cd90ef]`, `(2nd time)`..."""
    head, _, count = key.removeprefix(CLEANUP_MARK).rpartition(":")
    head, _, hashed = head.rpartition(":")
    kind, _, name = head.partition(":")
    words = _WORDS.get(kind, f"{kind} {{}}").format(repr(name))
    again = f", occurrence {int(count) + 1}" if count not in ("", "0") else ""
    return f"{words} [{hashed}{again}]"
