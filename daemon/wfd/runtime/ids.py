"""Makes run IDs and readable workflow IDs. Given a seed and a manual clock, always the same ones."""

from __future__ import annotations

import random

from ulid import ULID
from ulid.base32 import ENCODE

from wfctl.values.ids import readable_id
from wfd.runtime.clock import Clock

_RANDOM_BITS = 80

# A run's start is read from the clock just before its ID is made; a clock that is set back in between is not that wrong.
_SLACK_MS = 1_000
_TIME_MAX = (1 << 48) - 1
# A ULID's text is made as such, and not as a number: a busy daemon makes thousands a second. Of those of one millisecond, which
# count on, the last four digits differ, hardly ever more.
_PAIRS = [high + low for high in ENCODE for low in ENCODE]
_LAST_BITS = 20
_LAST_MAX = (1 << _LAST_BITS) - 1
# A random byte as a digit, each as likely as the others.
_DIGITS = "".join(ENCODE[byte % len(ENCODE)] for byte in range(256)).encode()


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
        # The newest, and of it: its time, all but the last four digits, and these as a number.
        self._newest = str(ULID.from_int(0))
        self._at_ms, self._first, self._last = 0, self._newest[:-4], 0

    def run_id(self, now: int | None = None) -> str:
        """A ULID, greater than all before it: within a millisecond, and when the clock was set back, it counts on. `now`: where
        the caller has just looked at the clock."""
        if now is None:
            now = self._clock.now_ms()
        if now > self._at_ms:
            self._at_ms, bits = now, self._random.getrandbits
            digits = bits(96).to_bytes(12, "big").translate(_DIGITS).decode()
            time = f"{_PAIRS[now >> 40]}{_PAIRS[now >> 30 & 0x3FF]}{_PAIRS[now >> 20 & 0x3FF]}"
            self._first = f"{time}{_PAIRS[now >> 10 & 0x3FF]}{_PAIRS[now & 0x3FF]}{digits}"
            self._last = bits(_LAST_BITS)
        elif self._last < _LAST_MAX:
            self._last += 1
        else:
            self._go_on(ULID.from_int(int(ULID.from_str(self._newest)) + 1))
        last = self._last
        self._newest = newest = f"{self._first}{_PAIRS[last >> 10]}{_PAIRS[last & 0x3FF]}"
        return newest

    def _go_on(self, ulid: ULID) -> None:
        self._newest = str(ulid)
        self._at_ms, self._last = int(ulid) >> _RANDOM_BITS, int(ulid) & _LAST_MAX
        self._first = self._newest[:-4]

    def after(self, run_id: str) -> None:
        """Make only run IDs that are greater than this one, even if the clock was set back."""
        ulid = ULID.from_str(run_id)
        if str(ulid) > self._newest:
            self._go_on(ulid)

    def readable(self, workflow_type: str) -> str:
        """A workflow ID for people: `order-k7m2qd`. The caller checks that it is free."""
        return readable_id(workflow_type, self._random)
