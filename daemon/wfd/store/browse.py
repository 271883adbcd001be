"""What people look at, from one snapshot: listings, the parts of a tree, history and log lines.

Functions take the `Snapshot` to read in, so that a caller that needs several of them sees one commit. Rows come back;
what they look like to a client is not known here.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from wfctl.values.status import Status
from wfd.runtime.ids import least_run_id, surely_since
from wfd.store import queries
from wfd.store.reader import Row, Snapshot
from wfd.store.rows import Ancestor, Entry, Filter, Scope, Sibling, StatusRecord, StepRecord, Summary, Trouble

BROWSE = queries.load("browse")
_END = 1 << 62
# What is not counted beforehand is counted so far: runs since a time in a fraction of a millisecond, those below a parent in a few.
MAX_COUNTED = 2_000
MAX_CHILDREN = 100_000
# Up to so many revisions, going through them all costs less than going through the records of the runs asked for.
_NEAR = 5_000
# Of history in one page, but for a record that is larger by itself: much less than what one answer may be.
PAGE_BYTES = 4 << 20
Words = dict[str, object]
# A type and a status: its runs stand together in an index.
Walk = tuple[str, str]
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

    Each type and status that it takes is one walk through one index, newest first.
    """
    walks, total = await _walks(snapshot, wanted)
    bounds = await _bounds(snapshot, wanted) | {"walks": _list(walks)}
    words = bounds | {"before": _END if before is None else before, "limit": limit + 1}
    kind = "parent" if wanted.parent is not None else "type" if wanted.types or wanted.statuses else "all"
    keys = [key for (key,) in await snapshot.all(BROWSE[f"list_{kind}"], words)]
    if total is None:
        most = MAX_COUNTED if wanted.since_ms is not None else MAX_CHILDREN
        alone = before is None and len(keys) <= limit
        counted = len(keys) if alone else await _count_up_to(most + 1, snapshot, wanted, bounds)
        total = counted if counted <= most else None
    return keys[:limit], len(keys) > limit, total


async def count(snapshot: Snapshot, wanted: Filter, *, by_type: bool) -> dict[str, int]:
    """How many runs `wanted` takes, by type or by status; those without any are missing."""
    if wanted.parent is None and wanted.since_ms is None:
        counted = await _totals(snapshot, wanted)
    else:
        walks, _ = await _walks(snapshot, wanted)
        bounds = await _bounds(snapshot, wanted)
        words = [bounds | {"walks": _list([walk])} for walk in walks]
        numbers = [await _count_up_to(-1, snapshot, wanted, each) for each in words]
        counted = [(*walk, number) for walk, number in zip(walks, numbers, strict=True)]
    found: dict[str, int] = {}
    for kind, status, number in counted:
        name = kind if by_type else status
        if number:
            found[name] = found.get(name, 0) + number
    return found


async def _walks(snapshot: Snapshot, wanted: Filter) -> tuple[list[Walk], int | None]:
    """The types and statuses that `wanted` goes through; and how many runs it takes, where that is kept."""
    if wanted.parent is not None:
        rows = await snapshot.all(BROWSE["child_types"], (wanted.parent,))
        types = [kind for (kind,) in rows if not wanted.types or kind in wanted.types]
        return [(kind, str(s)) for kind in types for s in dict.fromkeys(wanted.statuses or Status)], None
    totals = await _totals(snapshot, wanted)
    kept = None if wanted.since_ms is not None else sum([number for _, _, number in totals])
    return [(kind, status) for kind, status, _ in totals], kept


async def _totals(snapshot: Snapshot, wanted: Filter) -> list[Row]:
    """(type, status, number) of all runs of these types and statuses, as they are counted with each commit."""
    words = {"types": _list(wanted.types), "statuses": _list(wanted.statuses)}
    return await snapshot.all(BROWSE["totals"], {name: text if text != "[]" else None for name, text in words.items()})


async def _bounds(snapshot: Snapshot, wanted: Filter) -> Words:
    """No run before `low` was started since that time, and all from `sure` on were. Unlike the time, keys are in every index."""
    since, low, sure = wanted.since_ms, 0, 0
    if since is not None:
        low = sure = _END
        times = {"least": least_run_id(since), "surely": surely_since(since)}
        for first, surely, newest, started_at in await snapshot.all(BROWSE["keys_since"], times):
            low = _END if first is None else first
            # A clock that was set back is behind the run IDs until it comes there again: till then they do not tell.
            behind = newest >= surely_since(started_at)
            sure = _END if surely is None or behind else surely
    return {"low": low, "sure": sure, "since": since, "parent": wanted.parent}


async def _count_up_to(limit: int, snapshot: Snapshot, wanted: Filter, bounds: Words) -> int:
    """How many runs the walks have, at most `limit` (-1: all)."""
    kind = "type" if wanted.parent is None else "parent"
    row = await snapshot.one(BROWSE[f"count_{kind}"], bounds | {"limit": limit})
    return 0 if row is None else int(row[0])


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


async def bad_roots(snapshot: Snapshot, limit: int) -> list[int]:
    """Keys of the newest roots that went wrong, or below which something did."""
    return [key for (key,) in await snapshot.all(BROWSE["bad_roots"], (limit,))]


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


async def troubles(snapshot: Snapshot, parent: int, kind: str, limit: int) -> list[Trouble]:
    """What went wrong among the children of one type, each cause once, the oldest first; of each status the oldest `limit`."""
    return [Trouble(*row) for row in await snapshot.all(BROWSE["troubles"], (parent, kind, limit))]


async def durations(snapshot: Snapshot, parent: int, kind: str, limit: int) -> list[int]:
    """How long the newest `limit` completed children of one type took, in milliseconds."""
    return [took for (took,) in await snapshot.all(BROWSE["durations"], (parent, kind, limit))]


async def bad_below(snapshot: Snapshot, key: int, limit: int) -> dict[int, str]:
    """The oldest `limit` runs below `key` that failed, timed out or are stuck, and which of these."""
    root = await root_of(snapshot, key)
    words = {"root": root, "limit": limit if root == key else _END}
    found: dict[int, str] = dict(await snapshot.all(BROWSE["bad_below"], words))
    if root == key:
        return found
    above = await lineage(snapshot, found)
    below = [bad for bad in found if _leads_to(above, bad, key)]
    return {bad: found[bad] for bad in below[:limit]}


async def count_bad_below(snapshot: Snapshot, key: int) -> dict[str, int]:
    """How many there are, by status."""
    if await root_of(snapshot, key) != key:
        statuses = list((await bad_below(snapshot, key, _END)).values())
        return {status: statuses.count(status) for status in set(statuses)}
    return dict(await snapshot.all(BROWSE["count_bad_below"], {"root": key}))


def _leads_to(above: Mapping[int, Ancestor], key: int, top: int) -> bool:
    at = above[key].parent
    while at is not None and at != top:
        at = above[at].parent
    return at == top


async def placed(snapshot: Snapshot, run_ids: Sequence[str]) -> list[tuple[int, int, str]]:
    """Key, parent and type of those of the runs that exist and are children, in the order given."""
    if not run_ids:
        return []
    return [(key, parent, kind) for key, parent, kind in await snapshot.all(BROWSE["placed"], (_list(run_ids),))]


async def has_type(snapshot: Snapshot, kind: str) -> bool:
    """Whether there is, or was, a run of that type."""
    return await snapshot.one(BROWSE["has_type"], (kind,)) is not None


async def types(snapshot: Snapshot) -> list[str]:
    """The types that have runs."""
    return [kind for (kind,) in await snapshot.all(BROWSE["types"])]


async def count_open_roots(snapshot: Snapshot) -> int:
    row = await snapshot.one(BROWSE["count_open_roots"])
    return 0 if row is None else int(row[0])


async def oldest(snapshot: Snapshot, parent: int, kind: str, status: str, limit: int = 1) -> list[int]:
    """Keys of the children of one type that are in `status`, the oldest first."""
    return [key for (key,) in await snapshot.all(BROWSE["oldest_in_status"], (parent, kind, status, limit))]


async def oldest_retried(snapshot: Snapshot, parent: int, kind: str) -> list[int]:
    """The key of the oldest running child of one type whose step was begun more than once, in a list of one or none."""
    return [key for (key,) in await snapshot.all(BROWSE["oldest_retried"], (parent, kind))]


async def step_records(snapshot: Snapshot, keys: Iterable[int]) -> list[StepRecord]:
    """All records of the runs that tell of steps and waits, and of tasks that did not succeed at once; by run, oldest first."""
    return [StepRecord(*row) for row in await snapshot.all(BROWSE["step_records"], (_list(keys),))]


async def tried(snapshot: Snapshot, since: Mapping[int, int]) -> list[StepRecord]:
    """By run, oldest first: records of attempts beyond a task's first, and of failures; `since` says from which on of each run."""
    return [StepRecord(*row) for row in await snapshot.all(BROWSE["tried"], (_list(since.items()),))]


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
    snapshot: Snapshot, key: int, after_seq: int, before_seq: int | None, limit: int, *, newest: bool, logs: bool
) -> tuple[list[Entry], int | None]:
    """The first `limit` records of one run between two numbers, or the last with `newest`, oldest first; fewer where they are
    large. With `logs` also the lines it logged after each of them. And the number to go on from, None at the end."""
    words: dict[str, object] = {
        "run": key, "after": min(after_seq, _END), "before": min(before_seq or _END, _END), "limit": limit, "logs": logs,
        "bytes": PAGE_BYTES, "end": _END,
    }  # fmt: skip
    rows = await snapshot.all(BROWSE["history_page_back" if newest else "history_page"], words)
    kept = [row[:-1] for at, row in enumerate(rows[:limit]) if not at or row[-1] <= PAGE_BYTES]
    beyond = kept[-1][3] if len(kept) < len(rows) else None
    shown = _merged(kept, ())
    if logs and shown:
        # A line belongs to the page of the record before it.
        following = await snapshot.one(BROWSE["next_rev"], (key, shown[-1].seq))
        bounds = (key, shown[0].rev, following[0] if following else _END)
        shown = _merged(kept, await snapshot.all(BROWSE["logs_between"], bounds))
    return shown, beyond


async def entries_since(
    snapshot: Snapshot, scope: Scope, rev: int, limit: int, *, logs: bool, kinds: Sequence[str] | None = None
) -> list[Entry]:
    """The first `limit` entries of `scope` after revision `rev`, in order: of these kinds (None: all), with `logs` lines too."""
    words: dict[str, object] = {
        "rev": rev, "limit": limit, "kinds": None if kinds is None else _list(kinds),
        "keys": None if scope.keys is None else _list(scope.keys),
        "roots": None if scope.roots is None else _list(scope.roots),
    }  # fmt: skip
    near = scope == Scope() or await newest_rev(snapshot) - rev <= _NEAR
    # Of runs to which much happens there are as many within a few revisions; only of others it takes their own records.
    words["until"] = _END if near else rev + _NEAR
    found = await _entries(snapshot, "since", words, logs=logs)
    if not near and len(found) < limit:
        keys = await _keys_of(snapshot, scope)
        words["keys"] = None if keys is None else _list(keys)
        found = await _entries(snapshot, "of_since", words, logs=logs)
    return found[:limit]


async def _entries(snapshot: Snapshot, suffix: str, words: dict[str, object], *, logs: bool) -> list[Entry]:
    rows = await snapshot.all(BROWSE[f"history_{suffix}"], words)
    return _merged(rows, await snapshot.all(BROWSE[f"logs_{suffix}"], words) if logs else [])


async def newest_entries(
    snapshot: Snapshot, scope: Scope, limit: int, *, rev: int = 0, logs: bool, kinds: Sequence[str] | None = None
) -> list[Entry]:
    """The newest `limit` entries of all after revision `rev`, oldest first; the rest is as in `entries_since`."""
    keys = await _keys_of(snapshot, scope)
    suffix = "" if keys is None else "_of"
    words: dict[str, object] = {"rev": rev, "limit": limit, "kinds": None if kinds is None else _list(kinds)}
    if keys is not None:
        words["keys"] = _list(keys)
    rows = await snapshot.all(BROWSE[f"newest_history{suffix}"], words)
    lines = await snapshot.all(BROWSE[f"newest_logs{suffix}"], words) if logs else []
    merged = _merged(rows, lines)
    return merged[max(len(merged) - limit, 0) :]


async def _keys_of(snapshot: Snapshot, scope: Scope) -> Sequence[int] | None:
    if scope.roots is None:
        return scope.keys
    return [key for root in scope.roots for key in (root, *await descendants(snapshot, root))]


async def rev_before(snapshot: Snapshot, since_ms: int) -> int:
    """The revision after which everything came at `since_ms` or later, as far as the clock was never set back."""
    low, high = 0, await newest_rev(snapshot)
    while low < high:
        middle = (low + high + 1) // 2
        row = await snapshot.one(BROWSE["record_from"], (middle,))
        if row is not None and row[1] < since_ms:
            low = max(row[0], middle)
        else:
            high = middle - 1
    return low


# -- changes of status ---------------------------------------------------------------------------


async def status_records(
    snapshot: Snapshot, root: int | None, rev: int, newest: int, limit: int, kinds: Sequence[str]
) -> list[StatusRecord]:
    """The first `limit` records of `kinds` after revision `rev`, up to `newest`, in the tree of `root` (None: all), in order."""
    words = {"rev": rev, "newest": newest, "limit": limit, "kinds": _list(kinds), "root": root}
    return [StatusRecord(*row) for row in await snapshot.all(BROWSE["status_since"], words)]


async def status_before(
    snapshot: Snapshot, pairs: Iterable[tuple[int, int]], kinds: Sequence[str]
) -> dict[int, tuple[str, str]]:
    """By run: kind and data of the newest record before that of number `seq` that gave it its status. `pairs` are (run, seq)."""
    rows = await snapshot.all(BROWSE["status_before"], {"pairs": _list(pairs), "kinds": _list(kinds)})
    return {run: (kind, data) for run, kind, data in rows}


async def lineage(snapshot: Snapshot, keys: Iterable[int]) -> dict[int, Ancestor]:
    """The runs and all above them, by key."""
    return {row[0]: Ancestor(*row[1:]) for row in await snapshot.all(BROWSE["lineage"], (_list(keys),))}


def _merged(rows: Iterable[Row], lines: Iterable[Row]) -> list[Entry]:
    return sorted((Entry(*row) for row in (*rows, *lines)), key=_rev)
