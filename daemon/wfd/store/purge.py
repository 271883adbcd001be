"""Taking runs away for good: which whole trees may go, in what portions they go, and the room that this makes.

The first part reads. What is read for each portion comes as one row: beside a busy loop, a thread that reads gets the
interpreter back late after each. The second part is the writer's: each function is one commit on its connection, and is given and
answers with plain data alone.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec

from wfctl.values.status import Status
from wfd.store import queries
from wfd.store.reader import Snapshot

PURGE = queries.load("purge")
_json = msgspec.json.Encoder().encode
_CLOSED = [status for status in Status if status.closed]
_NONE = -1

_pairs = msgspec.json.Decoder(list[tuple[int, int]]).decode
_weights = msgspec.json.Decoder(list[tuple[int, int, int | None, int]]).decode

# (key, rows): runs, and how many rows of the database each is with its history and log.
Weights = list[tuple[int, int]]


class Reads(Protocol):
    """A `Snapshot`; or the `Reader` itself, for a single statement."""

    async def all(self, sql: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]: ...


class Rule(msgspec.Struct, frozen=True):
    """What may go: runs in these statuses that closed at or before a moment (UTC epoch ms), in trees whose root is of one of
    `types` (empty: any). A tree goes whole, and only when each run in it matches."""

    closed_by: Mapping[Status, int]
    types: tuple[str, ...] = ()

    def words(self) -> dict[str, object]:
        """As the queries take it."""
        types = _json(self.types).decode() if self.types else None
        return {str(status): self.closed_by.get(status, _NONE) for status in _CLOSED} | {"types": types}


class Looked(msgspec.Struct, frozen=True):
    """How many runs were looked at, the key of the newest, the roots of trees that match, and how many trees only the root of
    which does."""

    runs: int
    newest: int
    roots: list[int]
    held: int


class Tree(msgspec.Struct, frozen=True, gc=False):
    """A tree by its root; `runs` counts the root as well."""

    key: int
    run_id: str
    workflow_id: str
    type: str
    status: str
    started_at: int
    closed_at: int
    runs: int


class Removal(msgspec.Struct, frozen=True):
    """One portion: the runs `keys` with all that is theirs. `part` is (run, seq, rev): of that run only the records before `seq`
    and the log lines before `rev` go. `mark` is the root of the tree that is begun and not yet gone, None where there is none.
    """

    keys: list[int]
    part: tuple[int, int, int] | None = None
    mark: int | None = None


class Removed(msgspec.Struct, frozen=True):
    """What a portion did: the bytes that are free again, and how long it held the writer."""

    freed_bytes: int
    took_s: float


class Room(msgspec.Struct, frozen=True):
    """The database file: bytes of a page, its pages, the free ones of them, and whether the file can give those back."""

    page_bytes: int
    pages: int
    free: int
    shrinks: bool


# -- reading -------------------------------------------------------------------------------------


async def last_before(reads: Reads, at: int) -> int:
    """The key up to which runs were started by then: what was started later cannot have closed by then. 0 where none was.

    Keys are in the order of starts, but where the clock was set back; runs of then may be passed over until they are older.
    """
    ((key,),) = await reads.all(PURGE["last_before"], {"at": at})
    return int(key)


async def roots_of(reads: Reads, rule: Rule, kind: str, status: Status, after: int, last: int, limit: int) -> Looked:
    """Look at the next runs of a type in a status, oldest first."""
    words = {"type": kind, "status": str(status), "after": after, "last": last, "limit": limit}
    ((runs, newest, roots),) = await reads.all(PURGE["roots_of"], rule.words() | words)
    whole, held = [], 0
    for key, fits in _pairs(roots):
        if fits:
            whole.append(key)
        else:
            held += 1
    return Looked(runs, newest or after, whole, held)


async def matching(reads: Reads, rule: Rule, keys: Iterable[int]) -> dict[int, bool]:
    """Those of `keys` that are roots and match the rule, each with whether its whole tree does."""
    words = rule.words() | {"keys": _json(list(keys)).decode()}
    return {key: bool(whole) for key, whole in await reads.all(PURGE["roots_among"], words)}


async def trees(reads: Reads, keys: Iterable[int]) -> list[Tree]:
    return [Tree(*row) for row in await reads.all(PURGE["trees"], {"keys": _json(list(keys)).decode()})]


async def weights(reads: Reads, rule: Rule, roots: Iterable[int], most: int) -> tuple[dict[int, Weights | None], int]:
    """Those of the trees of `roots` that match the rule, each with its runs, or None for one of more than `most`; and of how many
    only the root does."""
    words = rule.words() | {"keys": _json(list(roots)).decode(), "most": most}
    trees: dict[int, Weights | None] = {}
    unfit: set[int] = set()
    ((found,),) = await reads.all(PURGE["weights"], words)
    for root, key, rows, fits in _weights(found):
        if rows is None:
            trees[root] = None
        elif (runs := trees.setdefault(root, [])) is not None:
            runs.append((key, rows))
        if not fits:
            unfit.add(root)
    if big := [root for root, runs in trees.items() if runs is None]:
        unfit.update(root for root, whole in (await matching(reads, rule, big)).items() if not whole)
    return {root: trees[root] for root in sorted(trees) if root not in unfit}, len(unfit)


async def weights_below(snapshot: Snapshot, root: int, before: int, limit: int) -> Weights:
    """The next runs of a tree with keys below `before`: children before their parents, the root at last."""
    words = {"root": root, "before": before, "limit": limit}
    below: Weights = [(key, rows) for key, rows in await snapshot.all(PURGE["weights_below"], words)]
    if len(below) < limit:
        # All of it: the root is the one run of it that is not below another.
        below += [(key, rows) for key, rows in await snapshot.all(PURGE["weight"], (root,))]
    return below


async def part(snapshot: Snapshot, run: int, rows: int) -> tuple[int, int, int] | None:
    """The first `rows` records and as many log lines of a run, as a `Removal` names them; None where it has no more."""
    row = await snapshot.one(PURGE["part"], {"run": run, "rows": rows})
    seq, rev = (None, None) if row is None else row
    return None if seq is None and rev is None else (run, seq or 0, rev or 0)


# -- writing -------------------------------------------------------------------------------------


def prepare(db: sqlite3.Connection) -> None:
    """Make what `remove` needs on the writer's connection."""
    for name in ("removal", "remove"):
        db.execute(PURGE[name])


def remove(db: sqlite3.Connection, removal: Removal) -> Removed:
    """Take one portion away, in one commit. Raises where a run of it is open: then nothing of it is gone."""
    began = time.perf_counter()
    before = _free(db)
    run, seq, rev = removal.part or (None, None, None)
    db.execute(PURGE["take_away"], (_json(removal.keys).decode(), run, seq, rev, removal.mark))
    freed = max(_free(db) - before, 0) * db.execute(PURGE["page_bytes"]).fetchone()[0]
    return Removed(freed, time.perf_counter() - began)


def give_back(db: sqlite3.Connection, pages: int) -> Room:
    """Return up to so many free pages to the file system, where the file can; the room as it is then."""
    if pages > 0:  # to the pragma, 0 is all
        # It returns a page with each step; `execute` takes one step alone of what has no columns.
        db.executescript(f"pragma incremental_vacuum({pages})")
    return room(db)


def room(db: sqlite3.Connection) -> Room:
    page_bytes, pages, free, shrinks = db.execute(PURGE["room"]).fetchone()
    return Room(page_bytes, pages, free, bool(shrinks))


def _free(db: sqlite3.Connection) -> int:
    """The free pages of the file; a removal does not change how many it has in all."""
    pages: int = db.execute(PURGE["free"]).fetchone()[0]
    return pages


def packed(weights: Weights, rows: int) -> int:
    """How many of the first (key, rows) fit into a portion of `rows`."""
    total = 0
    for count, (_, weight) in enumerate(weights):
        total += weight
        if total > rows:
            return count
    return len(weights)
