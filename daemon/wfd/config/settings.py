"""The settings as the daemon uses them: every path absolute, every default filled in. Reads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from wfctl.values.project import DATABASE_NAME, LOCK_NAME
from wfctl.values.status import Status
from wfctl.values.times import format_duration

Source = Literal["default", "wfctl.toml", "WFCTL_SOCKET"]
Durability = Literal["full", "normal"]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One project's configuration.

    `project` is the folder of `file`. `modules` are files relative to the project or dotted names, as written;
    `path` is added to the workers' `sys.path` and `python` runs them. `crash_limit` is how many executions of one step
    may take their worker with them before the run is stuck. `durability` is "full" when each commit outlives a power
    failure, "normal" when the newest ones need not. `limits` are how many steps of a workflow type may execute at once, by type,
    and `limit_lines` where in the file they stand. `retention` is after how many milliseconds a closed run of a status may be
    purged; statuses that are not in it are kept. `sources` tells, for each setting, who set it.
    """

    project: Path
    file: Path
    state: Path
    socket: Path
    workers: int
    crash_limit: int
    durability: Durability
    modules: tuple[str, ...]
    path: tuple[Path, ...]
    python: Path
    reload: bool
    retention: dict[Status, int] = {}
    sources: dict[str, Source]
    limits: dict[str, int] = {}
    limit_lines: dict[str, int] = {}

    @property
    def database(self) -> Path:
        return self.state / DATABASE_NAME

    @property
    def lock(self) -> Path:
        return self.state / LOCK_NAME

    @property
    def log(self) -> Path:
        return self.state / "wfd.log"

    def described(self) -> dict[str, str]:
        """Every setting as `wfctl status` shows it: `2 (default)`, `flows/orders.py (wfctl.toml)`."""
        shown = {
            "state": str(self.state),
            "workers": str(self.workers),
            "crash_limit": str(self.crash_limit),
            "durability": self.durability,
            "modules": ", ".join(self.modules),
            "path": ", ".join(map(str, self.path)),
            "python": str(self.python),
            "reload": "true" if self.reload else "false",
            "limits": ", ".join(f"{name} {limit}" for name, limit in self.limits.items()) or "none",
            "socket": str(self.socket),
            "retention": ", ".join(f"{status} {format_duration(ms)}" for status, ms in self.retention.items())
            or "keep all",
        }
        return {name: f"{value} ({self.sources[name]})" for name, value in shown.items()}
