"""The verb that copies the database."""

from __future__ import annotations

import msgspec

from wfctl.protocol.call import Call


class Copied(msgspec.Struct, frozen=True, kw_only=True):
    """How far a copy of the database is, in bytes."""

    copied: int
    total: int


class BackedUp(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that was written and checked: `runs` are in it, up to revision `rev`."""

    path: str
    bytes: int
    runs: int
    rev: int
    database_schema: int
    replaced: bool = False


class Backup(Call, frozen=True):
    """Copy the database as of now into the file `path` (absolute, on the daemon's machine), check the copy, and give it its name.

    A file that is there is replaced only with `force`, and never a database that is in use or has its log beside it. Given up in
    the middle, it leaves nothing.
    """

    method = "backup"
    answer = BackedUp
    item = Copied
    path: str
    force: bool = False
