"""The verb that takes closed runs away for good."""

from __future__ import annotations

import msgspec

from wfctl.protocol.call import Call
from wfctl.values.numbers import Number
from wfctl.values.status import Status


class PurgedTree(msgspec.Struct, frozen=True, kw_only=True):
    """A tree that is gone, or with `dry_run` would be, by its root. `runs` counts the root and all below it."""

    run_id: str
    workflow_id: str
    workflow_type: str
    status: Status
    started_at: int
    closed_at: int
    runs: int


class PurgedSoFar(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far a purge is: `done` of `total` trees, with `runs` runs. `trees` are those since the last word, where `each` was asked
    for."""

    done: int
    total: int
    runs: int
    trees: list[PurgedTree] = []


class Purged(msgspec.Struct, frozen=True, kw_only=True):
    """What a purge did, or with `dry_run` would do: then nothing is known of bytes, and they are 0.

    `more` trees match beyond the limit. `held` trees have a root that matches and stay: a run in them is open, or does not match.
    `freed_bytes` are free for new runs; of all that is free in the database file, `returned_bytes` went back to the file system.
    `shrinks` is false where the file cannot shrink, because it was made without that.
    """

    trees: int
    runs: int
    more: int
    held: int
    freed_bytes: int
    returned_bytes: int
    database_bytes: int
    shrinks: bool
    dry_run: bool


class Purge(Call, frozen=True):
    """Take trees away whose runs are all closed and all match: by `statuses` (closed ones; empty: any), closed at least
    `older_than_ms` ago, and at or before `closed_until_at` (UTC epoch ms). `types` narrows by the type of the root. One of the
    first three must be given. The oldest go first, at most `limit` trees. With `dry_run` nothing is changed.

    Given up in the middle, whole trees are gone and the others are untouched.
    """

    method = "purge"
    answer = Purged
    item = PurgedSoFar
    statuses: list[Status] = []
    types: list[str] = []
    older_than_ms: Number | None = None
    closed_until_at: Number | None = None
    limit: Number | None = None
    dry_run: bool = False
    each: bool = False
