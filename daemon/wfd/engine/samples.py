"""Many children of one type as a group: which few of them are worth a line, why the others failed, how long they took.

All of it is asked of the index or of a bounded number of rows, so it costs the same for ten children and for ten thousand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import msgspec

from wfctl.values.status import Status
from wfd.store import browse, pauses
from wfd.store.reader import Snapshot
from wfd.store.rows import Trouble

MAX_SIGNATURES = 20
BAD = (Status.FAILED, Status.TIMED_OUT, Status.STUCK)
# How many of those that went wrong are looked at for their causes (of each status, the oldest), and how many of the completed
# ones for their durations (the newest).
MAX_CAUSES = 1_000
MAX_TIMED = 1_000
# Among how many of those that run (the oldest) one is looked for that has a task to be tried again.
MAX_RETRYING = 200
# Of members that are well: one whose task is tried again soonest, or that is being cancelled, or was begun again; the one that
# runs longest; the one that waits longest.
_RETRYING, _BEGUN_AGAIN = "retrying", "begun again"
_SLOTS: tuple[tuple[str, ...], ...] = (
    (_RETRYING, Status.CANCELLING, _BEGUN_AGAIN),
    (Status.RUNNING,),
    (Status.WAITING, Status.SLEEPING),
)
_CHANGING = re.compile(
    r"0x[0-9a-fA-F]+|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9A-HJKMNP-TV-Z]{26}\b|\d+"
)


def signature(error_type: str | None, message: str | None) -> str:
    """What errors of one cause have in common: their type and first line, with numbers and ids replaced by `#`."""
    first = (message or "").partition("\n")[0].strip()
    text = _CHANGING.sub("#", first)[:120]
    return f"{error_type or 'Error'}: {text}" if text else error_type or "Error"


class Members(msgspec.Struct, frozen=True):
    """A group: the children of one type under `parent`, counted by status."""

    parent: int
    kind: str
    by_status: dict[str, int]
    oldest: int

    @property
    def total(self) -> int:
        return sum(self.by_status.values())

    @property
    def bad(self) -> int:
        return sum(self.by_status.get(status, 0) for status in BAD)


class Causes(msgspec.Struct, frozen=True):
    """Why members went wrong: the oldest of each cause, oldest first, and how often each error signature occurs among `counted`."""

    firsts: list[int] = []
    by_error: dict[str, int] = {}
    counted: int = 0


async def causes(snapshot: Snapshot, members: Members) -> Causes:
    if not members.bad:
        return Causes()
    found = await browse.troubles(snapshot, members.parent, members.kind, MAX_CAUSES)
    return Causes(_oldest_by_cause(found), _histogram(found), sum(trouble.count for trouble in found))


async def sample(
    snapshot: Snapshot,
    members: Members,
    size: int,
    causes: Causes,
    first: Sequence[int],
    troubled: Sequence[int],
    now_ms: int,
) -> list[int]:
    """At most `size` members: `first` whatever they are, then two that went wrong (oldest first, one of each cause), or `troubled`
    with something below them that did, then what `_SLOTS` names. Slots that are left go to further causes, then to further
    failures.
    """
    found = list(first[:size])
    wrongs = [key for key in (*causes.firsts, *troubled) if key not in found]
    room = size - len(found)
    others = await _others(snapshot, members, room - min(2, len(wrongs), room), found, now_ms)
    wrong = wrongs[: room - len(others)]
    if len(wrong) + len(others) < room:
        bad = [status for status in BAD if members.by_status.get(status)]
        more = [
            key for status in bad for key in await browse.oldest(snapshot, members.parent, members.kind, status, size)
        ]
        left = [key for key in sorted(more) if key not in wrong and key not in found]
        wrong += left[: room - len(wrong) - len(others)]
    return found + sorted(wrong) + others


async def _others(snapshot: Snapshot, members: Members, room: int, taken: Sequence[int], now_ms: int) -> list[int]:
    found: list[int] = []
    for slot in _SLOTS:
        for what in slot:
            if len(found) >= room:
                return found
            keys = await _candidates(snapshot, members, what, len(found) + len(taken) + 1, now_ms)
            free = [key for key in keys if key not in found and key not in taken]
            if free:
                found.append(free[0])
                break
    return found


async def _candidates(snapshot: Snapshot, members: Members, what: str, number: int, now_ms: int) -> list[int]:
    """Members for a slot, the best first."""
    parent, kind = members.parent, members.kind
    status = Status.RUNNING if what in (_RETRYING, _BEGUN_AGAIN) else what
    if not members.by_status.get(status):
        return []
    if what == _BEGUN_AGAIN:
        return await browse.oldest_retried(snapshot, parent, kind)
    if what == _RETRYING:
        return await pauses.retrying(snapshot, parent, kind, MAX_RETRYING, now_ms)
    return await browse.oldest(snapshot, parent, kind, status, number)


async def durations(snapshot: Snapshot, members: Members) -> tuple[int | None, int | None, int]:
    """Milliseconds that half, and 99 of 100, of the completed members took at most; and of how many that is."""
    if not members.by_status.get(Status.COMPLETED):
        return None, None, 0
    took = sorted(await browse.durations(snapshot, members.parent, members.kind, MAX_TIMED))
    return _percentile(took, 50), _percentile(took, 99), len(took)


def _percentile(ordered: list[int], part: int) -> int:
    """The smallest that at least `part` of a hundred do not exceed."""
    return ordered[-(-len(ordered) * part // 100) - 1]


def _cause(trouble: Trouble) -> str:
    if trouble.status == Status.STUCK:
        return f"stuck: {trouble.reason}"
    return signature(trouble.error_type, trouble.error_message)


def _oldest_by_cause(causes: Iterable[Trouble]) -> list[int]:
    """The oldest run of each cause, oldest first. `causes` come oldest first, so the first of a cause counts."""
    first: dict[str, int] = {}
    for trouble in causes:
        first.setdefault(_cause(trouble), trouble.oldest)
    return list(first.values())


def _histogram(causes: Iterable[Trouble]) -> dict[str, int]:
    """How often each error signature occurs, the most frequent first. Stuck runs have no error."""
    counts: dict[str, int] = {}
    for trouble in causes:
        if trouble.status != Status.STUCK:
            cause = _cause(trouble)
            counts[cause] = counts.get(cause, 0) + trouble.count
    return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))[:MAX_SIGNATURES])
