"""Puts another database in the place of the present one, which is kept. Only for who holds the lock on the state folder.

The log of the present database guards the change: from its first step to its last there is a `-wal` file without the database
it belongs to, and with that no daemon starts (`wfd.store.connect`). So a crash in the middle is noticed, never taken for
an empty project, and no old log is ever read into the new database.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from wfd.store.connect import explain
from wfd.store.copy import sync


def replace(database: Path, incoming: Path, kept: Path) -> Path | None:
    """Give `incoming`, in the same folder, the name `database`; the file that has it becomes `kept`, with its log beside it.

    Returns `kept`, or None where there was no database. Cut short anywhere, it can be done again. A symbolic link is what is kept:
    the file that it names, and the log of that, stay where they are.
    """
    log, kept_log = _named(database, "-wal"), _named(kept, "-wal")
    try:
        if not log.exists():
            log.touch(0o600)
        elif log.stat().st_size:
            shutil.copy2(log, kept_log)
            sync(kept_log)
        sync(database.parent)
        there = database.exists()
        if there:
            os.rename(database, kept)
            sync(database.parent)
        _named(database, "-shm").unlink(missing_ok=True)
        # The log is kept by now; an empty one goes on guarding.
        empty = database.with_name(f"{log.name}.empty")
        empty.touch(0o600)
        os.replace(empty, log)
        sync(database.parent)
        os.rename(incoming, database)
        sync(database.parent)
        log.unlink()
    except OSError as error:
        raise explain(error, database, "replace") from error
    return kept if there else None


def _named(database: Path, suffix: str) -> Path:
    return database.with_name(f"{database.name}{suffix}")
