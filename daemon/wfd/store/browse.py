"""What people look at, from one snapshot: listings, the parts of a tree, history and log lines.

Functions take the `Snapshot` to read in, so that a caller that needs several of them sees one commit. Rows come back;
what they look like to a client is not known here.
"""

from __future__ import annotations

import heapq
import operator
from collections.abc import Iterable, Sequence

import msgspec

from wfctl.values.status import Status
from wfd.runtime.ids import least_run_id
from wfd.store import queries
from wfd.store.reader import Row, Snapshot
from wfd.store.rows import Entry, Filter, Sibling, StepRecord, Summary, Trouble

BROWSE = queries.load("browse")
_END = 1 << 62
# Runs since a time are not counted beforehand: so many are, in a few milliseconds.
MAX_COUNTED = 2_000
# Up to so many revisions, going through them all costs less than going through the records of the runs asked for.
_NEAR = 5_000
_json = msgspec.json.Encoder().encode
_rev = operator.attrgetter("rev")


def _list(values: Iterable[object]) -> str:
    return _json(list(values)).decode()


# -- listings ------------------------------------------------------------------------------------


async def summaries(snapshot: Snapshot, keys: Iterable[int]) -> dict[int, Summary]:
    """The runs by key; a key that does not exist is missing."""
    rows = await snapshot.all(BROWSE["summaries"], (_list(keys),))
    return {row[0]: Summary(*row) for row in rows}


async def page(
    snapshot: Snapshot, wanted: Filter, before: int | None, limit: int
) -> tuple[list[int], bool, int | None]:
    """Keys of the newest `limit` runs that `wanted` takes, started before run `before`; whether there are more; and how many
    it takes in all, None where counting them would take long.

    Each combination of its words is one walk through one index, newest first; the walks are merged here.
    """
    low = 0
    if wanted.since_ms is not None:
        # Nearly the same bound as the time, but one that every index can use. The time itself is still checked.
        row = await snapshot.one(BROWSE["first_key_since"], (least_run_id(wanted.since_ms),))
        low = _END if row is None else row[0]
    kind, walks = await _walks(snapshot, wanted)
    bounds = {"low": low, "since": wanted.since_ms}
    found = await _walk(snapshot, kind, walks, {**bounds, "before": _END if before is None else before}, limit + 1)
    keys = list(heapq.merge(*found, reverse=True))
    if wanted.since_ms is not None:
        counted = await _walk(snapshot, kind, walks, {**bounds, "before": _END}, MAX_COUNTED + 1)
        number = sum(map(len, counted))
        total = number if number <= MAX_COUNTED else None
    elif wanted.parent is not None:
        counts = [await snapshot.one(BROWSE["count_parent"], words) for words in walks]
        total = sum(row[0] for row in counts if row is not None)
    else:
        words = {"types": _list(wanted.types), "statuses": _list(wanted.statuses)}
        row = await snapshot.one(
            BROWSE["total"], {name: text if text != "[]" else None for name, text in words.items()}
        )
        total = 0 if row is None else row[0]
    return keys[:limit], len(keys) > limit, total


async def _walk(
    snapshot: Snapshot, kind: str, walks: list[dict[str, object]], bounds: dict[str, object], limit: int
) -> list[list[int]]:
    """The first `limit` keys of each walk."""
    sql = BROWSE[f"list_{kind}"]
    found = [await snapshot.all(sql, {**bounds, **words, "limit": limit}) for words in walks]
    return [[key for (key,) in rows] for rows in found]


async def _walks(snapshot: Snapshot, wanted: Filter) -> tuple[str, list[dict[str, object]]]:
    """Which kind of query lists `wanted`, and with which words it is to be asked."""
    statuses = tuple(dict.fromkeys(wanted.statuses or Status))
    if wanted.parent is not None:
        rows = await snapshot.all(BROWSE["child_types"], (wanted.parent,))
        types = [kind for (kind,) in rows if not wanted.types or kind in wanted.types]
        return "parent", [{"parent": wanted.parent, "type": t, "status": str(s)} for t in types for s in statuses]
    if wanted.types:
        return "type", [{"type": t, "status": str(s)} for t in dict.fromkeys(wanted.types) for s in statuses]
    if wanted.statuses:
        return "status", [{"status": str(s)} for s in statuses]
    return "all", [{}]


async def counts(snapshot: Snapshot) -> dict[str, int]:
    """How many runs there are in each status; a status without runs is missing."""
    return dict(await snapshot.all(BROWSE["counts"]))


async def open_by_type(snapshot: Snapshot) -> dict[str, int]:
    """How many open runs each workflow type has; a type without any is missing."""
    return dict(await snapshot.all(BROWSE["open_by_type"]))


# -- trees ---------------------------------------------------------------------------------------


async def open_roots(snapshot: Snapshot, limit: int) -> list[int]:
    """Keys of the newest open runs without a parent."""
    return [key for (key,) in await snapshot.all(BROWSE["open_roots"], (limit,))]


async def root_of(snapshot: Snapshot, key: int) -> int | None:
    row = await snapshot.one(BROWSE["root_of"], (key,))
    return None if row is None else int(row[0])


async def descendants(snapshot: Snapshot, key: int) -> list[int]:
    """Keys of the whole subtree below a run, without itself."""
    name = "tree_keys" if await root_of(snapshot, key) == key else "subtree_keys"
    return [found for (found,) in await snapshot.all(BROWSE[name], (key,))]


async def siblings(snapshot: Snapshot, parents: Iterable[int]) -> list[Sibling]:
    """The children of each of `parents`, counted by type and status."""
    return [Sibling(*row) for row in await snapshot.all(BROWSE["siblings"], (_list(parents),))]


async def children_of(snapshot: Snapshot, pairs: Iterable[tuple[int, str]]) -> list[tuple[int, int]]:
    """(key, parent) of all children of the given (parent, type) pairs, in the order they were started."""
    return [(key, parent) for key, parent in await snapshot.all(BROWSE["children_of"], (_list(pairs),))]


async def child_seqs(snapshot: Snapshot, keys: Iterable[int]) -> dict[int, int]:
    """By child: the number of the record in its parent's history with which it was started."""
    rows = await snapshot.all(BROWSE["child_seqs"], (_list(keys),))
    return {key: seq or 0 for key, seq in rows}


async def troubles(snapshot: Snapshot, parent: int, kind: str) -> list[Trouble]:
    """What went wrong among the children of one type, each cause once, the oldest first."""
    return [Trouble(*row) for row in await snapshot.all(BROWSE["troubles"], (parent, kind))]


async def oldest(snapshot: Snapshot, parent: int, kind: str, status: str, limit: int = 1) -> list[int]:
    """Keys of the children of one type that are in `status`, the oldest first."""
    return [key for (key,) in await snapshot.all(BROWSE["oldest_in_status"], (parent, kind, status, limit))]


async def oldest_retried(snapshot: Snapshot, parent: int, kind: str) -> list[int]:
    """The key of the oldest running child of one type whose step was begun more than once, in a list of one or none."""
    return [key for (key,) in await snapshot.all(BROWSE["oldest_retried"], (parent, kind))]


async def step_records(snapshot: Snapshot, keys: Iterable[int]) -> list[StepRecord]:
    """All records of the runs that tell of steps and waits, by run, oldest first."""
    return [StepRecord(*row) for row in await snapshot.all(BROWSE["step_records"], (_list(keys),))]


async def newest_step_records(snapshot: Snapshot, key: int, limit: int) -> list[StepRecord]:
    """The newest `limit` of them of one run, oldest first."""
    rows = await snapshot.all(BROWSE["newest_step_records"], (key, limit))
    return [StepRecord(*row) for row in reversed(rows)]


async def lines_before(snapshot: Snapshot, key: int, seq: int) -> int:
    """How many steps, waits and delays began before record `seq` of a run."""
    row = await snapshot.one(BROWSE["count_lines"], (key, seq))
    return 0 if row is None else int(row[0])


# -- history -------------------------------------------------------------------------------------


async def newest_rev(snapshot: Snapshot) -> int:
    """The newest revision this snapshot shows, or that was purged."""
    names = ("newest_history_rev", "newest_logs_rev", "newest_purged_rev")
    rows = [await snapshot.one(BROWSE[name]) for name in names]
    return max(row[0] or 0 for row in rows if row is not None)


async def history_page(
    snapshot: Snapshot, key: int, after_seq: int, limit: int, logs: bool
) -> tuple[list[Entry], int | None]:
    """Records of one run after number `after_seq`, with `logs` also the lines it logged after each of them; and the number to
    go on after, None at the end."""
    rows = await snapshot.all(BROWSE["history_page"], (key, after_seq, limit + 1))
    entries = [Entry(*row) for row in rows]
    shown, following = entries[:limit], entries[limit:]
    after = shown[-1].seq if following else None
    if logs and shown:
        # A line belongs to the page of the record before it.
        bounds = (key, shown[0].rev, following[0].rev if following else _END)
        lines = await snapshot.all(BROWSE["logs_between"], bounds)
        shown = sorted([*shown, *(Entry(*row) for row in lines)], key=_rev)
    return shown, after


async def entries_since(
    snapshot: Snapshot, keys: Sequence[int] | None, rev: int, limit: int, logs: bool
) -> list[Entry]:
    """The first `limit` entries after revision `rev`, of the runs `keys` (None: all), in order."""
    near = keys is None or await newest_rev(snapshot) - rev <= _NEAR
    suffix = "since" if near else "of_since"
    words = {"rev": rev, "limit": limit, "keys": None if keys is None else _list(keys)}
    rows = await snapshot.all(BROWSE[f"history_{suffix}"], words)
    lines = await snapshot.all(BROWSE[f"logs_{suffix}"], words) if logs else []
    return _merged(rows, lines)[:limit]


async def newest_entries(snapshot: Snapshot, keys: Sequence[int] | None, limit: int, logs: bool) -> list[Entry]:
    """The newest `limit` entries of the runs `keys` (None: all), oldest first."""
    suffix = "" if keys is None else "_of"
    words: dict[str, object] = {"limit": limit}
    if keys is not None:
        words["keys"] = _list(keys)
    rows = await snapshot.all(BROWSE[f"newest_history{suffix}"], words)
    lines = await snapshot.all(BROWSE[f"newest_logs{suffix}"], words) if logs else []
    merged = _merged(rows, lines)
    return merged[max(len(merged) - limit, 0) :]


def _merged(rows: Iterable[Row], lines: Iterable[Row]) -> list[Entry]:
    return sorted((Entry(*row) for row in (*rows, *lines)), key=_rev)
