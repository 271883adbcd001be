"""The project's files as the command line sees them: its state folder, its log, and the run it started last.

Reads no more of `wfctl.toml` than where the state is; what is wrong with that file is the daemon's to say.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from wfctl.errors import RunNotFoundError
from wfctl.values.project import STATE_NAME

LAST = "@last"
BACKUP = "last-backup"


class LastBackup(msgspec.Struct, frozen=True, kw_only=True):
    """The backup that was made last: where, when it was begun, and how large it is."""

    path: str
    at: int
    bytes: int


def state_folder(config: Path) -> Path:
    import tomllib

    try:
        daemon = tomllib.loads(config.read_bytes().decode("utf-8-sig")).get("daemon")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        daemon = None
    named = daemon.get("state") if isinstance(daemon, dict) else None
    return config.parent / os.path.expanduser(named if isinstance(named, str) and named else STATE_NAME)


def log_file(state: Path) -> Path:
    return state / "wfd.log"


def stderr_file(state: Path) -> Path:
    """Where a background daemon's stderr goes: what it cannot write to its log (an import error, a crash of Python)."""
    return state / "wfd.err"


def remember_last(state: Path, run_id: str) -> None:
    """Note the run that was just started. A folder that cannot be written costs `@last`, never the start."""
    try:
        (state / "last").write_text(run_id + "\n")
    except OSError:
        pass


def remember_backup(state: Path, backup: LastBackup) -> None:
    """Note the backup that was just made, for `wfctl status`. A folder that cannot be written costs the note, never the backup."""
    try:
        part = state / f".{BACKUP}.part"
        part.write_bytes(msgspec.json.encode(backup))
        os.replace(part, state / BACKUP)
    except OSError:
        pass


def recall_backup(state: Path) -> LastBackup | None:
    """The backup that was made last from this project, None where none is known."""
    try:
        return msgspec.json.decode((state / BACKUP).read_bytes(), type=LastBackup)
    except (OSError, msgspec.MsgspecError):
        return None


def recall_last(state: Path) -> str:
    try:
        run_id = (state / "last").read_text().strip()
    except OSError:
        run_id = ""
    if not run_id:
        raise RunNotFoundError(
            f"no run was started from this project with 'wfctl start', so there is no {LAST}",
            hint="wfctl list",
            id=LAST,
        )
    return run_id
