"""Makes run IDs and readable workflow IDs. Given a seed and a manual clock, always the same ones."""

from __future__ import annotations

import random

from ulid import ULID
from ulid.base32 import ENCODE

from wfctl.values.ids import readable_id
from wfd.runtime.clock import Clock

_RANDOM_BITS = 80
_RANDOM_MAX = (1 << _RANDOM_BITS) - 1


# A run's start is read from the clock just before its ID is made; a clock that is set back in between is not that wrong.
_SLACK_MS = 1_000
_TIME_MAX = (1 << 48) - 1
# A ULID's text, two digits at a time: a busy daemon makes thousands a second, and digit by digit that takes twice as long.
_PAIRS = [high + low for high in ENCODE for low in ENCODE]
# Of those of one millisecond, which count on, the last four digits differ, hardly ever more.
_LAST_BITS = 20
_FIRST_SHIFTS = range(120, _LAST_BITS - 1, -10)


def least_run_id(since_ms: int) -> str:
    """No run that started at `since_ms` (UTC epoch ms) or later has a smaller run ID."""
    return _first_at(since_ms - _SLACK_MS)


def surely_since(since_ms: int) -> str:
    """No run that started before `since_ms` (UTC epoch ms) has this run ID or a greater one, but for those that were started while
    the clock, set back, was behind the time of the newest ID."""
    return _first_at(since_ms + _SLACK_MS)


def _first_at(at_ms: int) -> str:
    return str(ULID.from_int(min(max(at_ms, 0), _TIME_MAX) << _RANDOM_BITS))


class IdSource:
    def __init__(self, clock: Clock, seed: int | str | None = None) -> None:
        self._clock = clock
        self._random = random.Random(seed)
        self._at_ms = 0
        self._low = 0
        self._first, self._digits = -1, ""

    def run_id(self) -> str:
        """A ULID, greater than all before it: within a millisecond, and when the clock was set back, it counts on."""
        now_ms = self._clock.now_ms()
        if now_ms > self._at_ms:
            self._at_ms = now_ms
            self._low = self._random.getrandbits(_RANDOM_BITS)
        elif self._low < _RANDOM_MAX:
            self._low += 1
        else:
            self._at_ms += 1
            self._low = self._random.getrandbits(_RANDOM_BITS)
        return self._text(self._at_ms << _RANDOM_BITS | self._low)

    def _text(self, ulid: int) -> str:
        if (first := ulid >> _LAST_BITS) != self._first:
            self._first, self._digits = first, "".join([_PAIRS[ulid >> shift & 0x3FF] for shift in _FIRST_SHIFTS])
        return f"{self._digits}{_PAIRS[ulid >> 10 & 0x3FF]}{_PAIRS[ulid & 0x3FF]}"

    def after(self, run_id: str) -> None:
        """Make only run IDs that are greater than this one, even if the clock was set back."""
        at_ms, low = divmod(int(ULID.from_str(run_id)), 1 << _RANDOM_BITS)
        self._at_ms, self._low = max((self._at_ms, self._low), (at_ms, low))

    def readable(self, workflow_type: str) -> str:
        """A workflow ID for people: `order-k7m2qd`. The caller checks that it is free."""
        return readable_id(workflow_type, self._random)
