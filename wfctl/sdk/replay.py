"""Record-or-replay bookkeeping of one step's execution. Pure: no clock, no I/O.

Operations are known by what they are, never by when they were asked: kind, name, a hash of the canonical arguments, and
how many of the very same came before. So concurrent branches find their own records whatever order they run in.

Tasks that are alike in all that may still have different results. Their keys also say which branch of the handler asked: a
branch gets its own record first. Which of several workers takes an item from a queue is a matter of timing, and the item's record
must be found all the same, so another branch may get it; the host says when.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import sys
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from wfctl.errors import ErrorData
from wfctl.values.failure import Failure
from wfctl.values.opkeys import BRANCH_MARK, CLEANUP_MARK, LOCAL, branch_of, call_of, in_words

# Python's own code for it: OpenSSL's takes longer to begin than to work through a call's few bytes.
sha256: Callable[[bytes], Any] = hashlib.sha256
with contextlib.suppress(ImportError):  # Python may be built without it
    sha256 = importlib.import_module("_sha2" if sys.version_info >= (3, 12) else "_sha256").sha256


class Record(Protocol):
    """A recorded operation: its content key, and the value (JSON) or the error it came back with.

    `open`: it was begun and has no outcome yet. `attempts` are those of a task that failed so far, or all when it is done;
    `failure` is what it failed with for good. `place` says when, among all records of the step, this was recorded.
    """

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> bytes: ...
    @property
    def error(self) -> ErrorData | None: ...
    @property
    def open(self) -> bool: ...
    @property
    def attempts(self) -> int: ...
    @property
    def failure(self) -> Failure | None: ...
    @property
    def place(self) -> float: ...


R = TypeVar("R", bound=Record)


class _Index:
    """The keys of the records: in their order, by base, and by base and branch; and the numbers that are taken."""

    __slots__ = ("alike", "numbers", "order", "own")

    def __init__(self, keys: Iterable[str]) -> None:
        self.order = deque(keys)
        self.alike: dict[str, deque[str]] = {}
        self.own: dict[tuple[str, str], deque[str]] = {}
        self.numbers: dict[str, set[int]] = {}
        for key in self.order:
            base, number, branch = _parts(key)
            self.alike.setdefault(base, deque()).append(key)
            self.own.setdefault((base, branch), deque()).append(key)
            self.numbers.setdefault(_counted(base, branch), set()).add(number)


_NONE = _Index(())


class Replay(msgspec.Struct, Generic[R], eq=False):
    """The records of earlier executions, and which of them this execution has asked for.

    `unasked` holds those that it has not, by key and in the order they were recorded. `new` lists the keys asked for that no
    record answered, with the place in the code that asked.
    """

    unasked: dict[str, R] = {}
    new: list[tuple[str, str]] = []
    _index: _Index = _NONE
    # Records of the way to the cancellation still to be asked for.
    _ahead: int = 0
    _seen: dict[str, int] = {}
    _cleaning: bool = False

    @classmethod
    def of(cls, records: Iterable[R]) -> Replay[R]:
        unasked = {record.key: record for record in records}
        ahead = sum(not key.startswith(CLEANUP_MARK) for key in unasked)
        return cls(unasked, _index=_Index(unasked), _ahead=ahead)

    def base(self, kind: str, name: str, content: bytes) -> str:
        """A content key without its end, which tells occurrences apart."""
        hashed = sha256(content).hexdigest()[:16]
        return f"{CLEANUP_MARK if self._cleaning else ''}{kind}:{name}:{hashed}"

    def key(self, base: str) -> str:
        """The content key of this occurrence of the operation; each call counts as one."""
        count = self._seen.get(base, 0)
        self._seen[base] = count + 1
        return f"{base}:{count}"

    def take(self, key: str) -> R | None:
        """The record of `key`, which counts as asked for; None when earlier executions did not get that far."""
        record = self.unasked.pop(key, None)
        if record is not None and not key.startswith(CLEANUP_MARK):
            self._ahead -= 1
        return record

    def take_next(self, base: str) -> R | None:
        """The record of this occurrence of the operation, which counts as one if there is."""
        return self.take(self.key(base)) if f"{base}:{self._seen.get(base, 0)}" in self.unasked else None

    def take_own(self, base: str, branch: str) -> R | None:
        """The first record of such an operation that `branch` itself asked for; it counts as asked for."""
        key = self._first(self._index.own.get((base, branch)))
        return None if key is None else self.take(key)

    def has_alike(self, base: str) -> bool:
        """Whether there is a record of such an operation that nobody has asked for, whichever branch it was."""
        return self.first_alike(base) is not None

    def first_alike(self, base: str) -> str | None:
        """The key of the first such record."""
        return self._first(self._index.alike.get(base))

    def place_alike(self, base: str) -> float:
        """Where the first of those is among the records."""
        key = self.first_alike(base)
        return 0 if key is None else self.unasked[key].place

    def take_alike(self, base: str) -> R | None:
        """The first of those records."""
        key = self.first_alike(base)
        return None if key is None else self.take(key)

    def fresh_key(self, base: str, branch: str) -> str:
        """The key of such an operation that no record is there for, under a number that no other has."""
        counted = _counted(base, branch)
        taken = self._index.numbers.get(counted, ())
        # The lowest one: what happened before a crash without being recorded gets its number again, beside any that were.
        number = self._seen.get(counted, 0)
        while number in taken:
            number += 1
        self._seen[counted] = number + 1
        return f"{base}:{number}" + (f"{BRANCH_MARK}{branch}" if branch else "")

    def difference(self) -> str:
        """What is recorded and was not asked for, and what was asked for instead, in words."""
        recorded = "; ".join(in_words(key) for key in [*self.unasked][:5])
        asked = "; ".join(in_words(key) + (f" at {place}" if place else "") for key, place in self.new[:5])
        return f"recorded and not asked for: {recorded}; asked for instead: {asked or 'nothing'}"

    def both_sides(self) -> dict[str, list[str]]:
        """The difference for programs: content keys."""
        recorded = [*self.unasked]
        return {"recorded": recorded, "asked": [key for key, _ in self.new]} if recorded else {}

    @property
    def next_key(self) -> str | None:
        """The first record, in the order they were made, that nobody has asked for yet."""
        return self._first(self._index.order)

    def _first(self, keys: deque[str] | None) -> str | None:
        """The first of `keys` that nobody has asked for; the others before it are dropped for good."""
        while keys:
            if keys[0] in self.unasked:
                return keys[0]
            keys.popleft()
        return None

    def cleaning(self) -> None:
        """The handler has got its cancellation: what it asks for from here on is clean-up."""
        self._cleaning = True

    @property
    def caught_up(self) -> bool:
        """Everything recorded before the cancellation (if there was one) has been asked for."""
        return self._ahead == 0


def first_key(seen: dict[str, int], kind: str, name: str, content: bytes, branch: str = "") -> str:
    """As `Replay.fresh_key`, where there are no records at all and no cancellation. `seen` is of the replay, should one be made."""
    base = f"{kind}:{name}:{sha256(content).hexdigest()[:16]}"
    counted = _counted(base, branch) if branch else base
    number = seen.get(counted, 0)
    seen[counted] = number + 1
    return f"{base}:{number}{BRANCH_MARK}{branch}" if branch else f"{base}:{number}"


def _counted(base: str, branch: str) -> str:
    """Whose numbers tell such operations apart."""
    # What a function within a function works for may be in no argument, so the branch says which call it is.
    return f"{base}{BRANCH_MARK}{branch}" if branch and LOCAL in base else base


def _parts(key: str) -> tuple[str, int, str]:
    """A key's base, number and branch."""
    base, _, number = call_of(key).rpartition(":")
    return base, int(number) if number.isdigit() else 0, branch_of(key)
