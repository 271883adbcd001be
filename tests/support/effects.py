"""The log of side effects: what tasks did to the world, one line each, written by them and on disk before they go on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

from support.crashpoints import hit

LOG = "WFCTL_TEST_EFFECTS"


class Effect(NamedTuple):
    task: str
    key: str
    attempt: int
    pid: int


def happened(task: str, key: str, attempt: int) -> None:
    """Append the effect to the log. A process that dies in here leaves a whole line or none."""
    line = json.dumps(Effect(task, key, attempt, os.getpid())) + "\n"
    hit("effect.before")
    log = os.open(os.environ[LOG], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        assert os.write(log, line.encode()) == len(line)
        os.fsync(log)
    finally:
        os.close(log)
    hit("effect.after")


def effects(log: Path) -> list[Effect]:
    """What the log holds, in the order it happened."""
    return [Effect(*json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
