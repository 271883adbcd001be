"""Which state folder a project's daemon used when it last started: so that runs are found again when its `state` is edited.

That is the project's own `.wfctl`, unless a file in there names another. Who starts a daemon writes it; nothing depends on it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from wfctl.values.project import CONFIG_NAME, DATABASE_NAME, STATE_NAME

# A folder may hold the configurations of several projects: each by its file's name, with its state folder.
STATES_NAME = "states"


def last_state(config: Path) -> Path | None:
    """The state folder of the project of `config` when it was last started; None where it cannot be said."""
    noted = _noted(config).get(config.name)
    if isinstance(noted, str):
        return Path(os.path.normpath(config.parent / noted))
    return config.parent / STATE_NAME if config.name == CONFIG_NAME else None


def former_state(config: Path, state: Path) -> Path | None:
    """That, where it is another than `state` and has a database still."""
    last = last_state(config)
    if last is None or os.path.realpath(last) == os.path.realpath(state) or not os.path.isfile(last / DATABASE_NAME):
        return None
    return last


def note_state(config: Path, state: Path) -> None:
    """The project's daemon starts with `state`. A folder that cannot be written costs the note, never the start."""
    last = last_state(config)
    if last is not None and os.path.realpath(last) == os.path.realpath(state):
        return
    # What lies in the project is moved with it.
    named = os.path.relpath(state, config.parent) if state.is_relative_to(config.parent) else str(state)
    folder = config.parent / STATE_NAME
    part = folder / f".{STATES_NAME}.part"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        part.write_text(json.dumps({**_noted(config), config.name: named}) + "\n")
        os.replace(part, folder / STATES_NAME)
    except OSError:
        pass


def _noted(config: Path) -> dict[str, object]:
    try:
        noted = json.loads((config.parent / STATE_NAME / STATES_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}
