"""Who has a project's state, though no daemon answers where one is looked for: what its lock tells, and what that means."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path
from typing import NamedTuple

from wfctl.errors import DaemonDownError
from wfctl.values.commands import quoted
from wfctl.values.project import LOCK_NAME, real_config
from wfctl.values.states import last_state

ENDED = ""
STOPPED = "T"
UNKNOWN = "?"


class Holder(NamedTuple):
    """The process that has the lock, and where it listens, or will."""

    pid: int
    socket: str
    # Of which project; empty where it has not said.
    config: str = ""


def holder_of_project(config: Path, state: Path) -> Holder | None:
    """Who has the state folder of a project: `state`, or the one that its daemon was started with, before wfctl.toml was edited."""
    last = last_state(config)
    if last is not None and (former := holder_of(last)) is not None and former.config in ("", real_config(config)):
        return former
    return holder_of(state)


def holder_of(state: Path) -> Holder | None:
    """None where nobody has it, or only what a daemon that has ended left behind. Nothing is made, and the lock is tried for no
    longer than a daemon that comes up at this moment waits for it."""
    try:
        fd = os.open(state / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        try:
            told = json.loads(os.pread(fd, 4096, 0))
            holder = Holder(int(told["pid"]), str(told["socket"]), str(told.get("config", "")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # it has not said yet, or does not have it any more
        return holder if process_state(holder.pid) != ENDED else None
    finally:
        os.close(fd)
    return None


def process_state(pid: int) -> str:
    """The letter that the system has for how a process is: ENDED also where it only waits for its parent to notice."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ENDED
    except PermissionError:
        pass
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return UNKNOWN  # no such view of processes here, or gone this very moment
    letter = stat.rpartition(b")")[2].split()[0].decode()
    return ENDED if letter in ("Z", "X") else letter


def held(error: DaemonDownError, holder: Holder, path: Path, config: Path) -> DaemonDownError:
    """`error`, of the socket `path`, where somebody has the state of the project of `config` all the same."""
    facts = {**error.detail, "pid": holder.pid}
    if holder.config not in ("", real_config(config)):
        return DaemonDownError(
            f"the state folder of this project is that of another, {holder.config}, whose daemon (pid {holder.pid}) has it",
            hint=f"name a `state` of its own in {quoted(str(config))}",
            **{**facts, "held_for": holder.config},
        )
    if os.path.realpath(holder.socket) != os.path.realpath(path):
        if not os.path.lexists(holder.socket):
            return DaemonDownError(
                f"the daemon of this project (pid {holder.pid}) belongs at {holder.socket}, and nothing is there: "
                f"it starts or stops, or that was removed\nit was looked for at {path}",
                hint="wfctl logs",
                **facts,
            )
        return DaemonDownError(
            f"the daemon of this project (pid {holder.pid}) listens at {holder.socket}\nit was looked for at {path}",
            hint=f"export WFCTL_SOCKET={quoted(holder.socket)}",
            **{**facts, "listens_at": holder.socket},
        )
    why = error.message.split("\n")[-1]
    if process_state(holder.pid) == STOPPED:
        return DaemonDownError(
            f"the daemon (pid {holder.pid}) does not answer: its process is stopped\n{why}",
            hint=f"kill -CONT {holder.pid}",
            **facts,
        )
    return DaemonDownError(
        f"process {holder.pid} has the state of this project, and does not answer: it starts, stops or hangs\n{why}",
        hint="wfctl logs",
        **facts,
    )


def not_stopped(error: DaemonDownError) -> DaemonDownError:
    """That, to who wants it stopped: the remedy is what does so."""
    if "listens_at" in error.detail:
        error.hint = f"WFCTL_SOCKET={quoted(error.detail['listens_at'])} wfctl down"
    elif error.hint == "wfctl logs":
        error.hint = f"kill {error.detail['pid']}"
    return error
