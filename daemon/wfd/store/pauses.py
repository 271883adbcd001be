"""What the steps of running runs wait for, from one snapshot: the next attempt of a task, the end of a sleep."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from wfd.store import queries
from wfd.store.reader import Snapshot
from wfd.store.rows import Retry

BROWSE = queries.load("browse")


async def retries(snapshot: Snapshot, keys: Iterable[int], now_ms: int) -> dict[int, Retry]:
    """By run: the task whose next attempt, due after `now_ms`, is the nearest; of running runs."""
    found: dict[int, Retry] = {}
    for row in await snapshot.all(BROWSE["retries"], _words(keys, now_ms)):
        retry = Retry(*row)
        if retry.run not in found or retry.retry_at < found[retry.run].retry_at:
            found[retry.run] = retry
    return found


async def retrying(snapshot: Snapshot, parent: int, kind: str, among: int, now_ms: int) -> list[int]:
    """Of the oldest `among` running children of one type those with such a task, the soonest first."""
    row = await snapshot.one(BROWSE["oldest_running"], (parent, kind, among))
    found = await retries(snapshot, msgspec.json.decode(row[0]) if row is not None else (), now_ms)
    return sorted(found, key=lambda key: found[key].retry_at)


async def sleeps(snapshot: Snapshot, keys: Iterable[int], now_ms: int) -> dict[int, int]:
    """By run: when the newest sleep of its step ends, where that is after `now_ms`; of running runs."""
    return dict(await snapshot.all(BROWSE["sleeps"], _words(keys, now_ms)))


def _words(keys: Iterable[int], now_ms: int) -> dict[str, object]:
    return {"keys": msgspec.json.encode(list(keys)).decode(), "now": now_ms}
