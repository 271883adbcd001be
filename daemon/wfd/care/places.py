"""Checks of the places a daemon needs: its state folder, its files there, its lock, its socket, room on the disk.

With `fix` they mend what cannot do harm: permissions of what is ours, and a socket that nobody listens at.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import stat
from pathlib import Path

from wfctl.errors import WfctlError
from wfctl.protocol.care import Check
from wfctl.values.causes import cannot, lost_link
from wfctl.values.commands import quoted
from wfctl.values.project import MAX_SOCKET_PATH_BYTES, real_config
from wfd.care.finding import fail, ok, warn
from wfd.config import Config
from wfd.runtime.lock import StateLock
from wfd.store.connect import shm_of, wal_of

_ANOTHER_STATE = "name another `state` in wfctl.toml"
LEAST_FREE_BYTES = 50 << 20
FEW_FREE_BYTES = 500 << 20


def state(config: Config, *, fix: bool) -> Check:
    """The state folder and the database's files in it are ours, and for us alone."""
    folder = config.state
    if (lost := lost_link(folder)) is not None:
        return fail("state", lost.message, lost.hint or _ANOTHER_STATE)
    if not folder.exists():
        place = _nearest(folder)
        if os.access(place, os.W_OK | os.X_OK):
            return ok("state", f"{folder} is not there yet; wfctl up makes it")
        return fail("state", f"{folder} cannot be made: {place} may not be written", _ANOTHER_STATE)
    if not folder.is_dir():
        return fail("state", f"{folder} is no folder", "move it away, or name another `state` in wfctl.toml")
    database = config.database
    found: list[str] = []
    for path, wanted in ((folder, 0o700), *((one, 0o600) for one in (database, wal_of(database), shm_of(database)))):
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        if facts.st_uid != os.geteuid():
            return fail("state", f"{path} belongs to uid {facts.st_uid}, not to you", "use the account that made it")
        if facts.st_mode & 0o077:
            if fix:
                os.chmod(path, wanted)
            found.append(f"{path.name} had mode {stat.S_IMODE(facts.st_mode):o}")
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        return fail("state", f"{folder} may not be written", _remedy(folder, _refusal(folder)))
    if found and not fix:
        return warn("state", f"{folder} is open to others: {', '.join(found)}", "wfctl doctor --fix")
    if found:
        return ok("state", f"{folder} is for you alone now: {', '.join(found)}", fixed=True)
    return ok("state", f"{folder} is yours alone")


def _refusal(folder: Path) -> OSError:
    """Why nothing can be written there."""
    number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
    return OSError(number, os.strerror(number))


def _remedy(path: Path, error: OSError) -> str:
    return cannot("use", path, error, otherwise=_ANOTHER_STATE).hint or _ANOTHER_STATE


def lock(config: Config) -> Check:
    """Who has the lock. Taken as a reader for a moment: a daemon that starts right then waits longer than that."""
    try:
        fd = os.open(config.lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return ok("lock", "free: no daemon has started here yet")
    except OSError as error:
        return fail("lock", f"{config.lock} cannot be opened: {error.strerror}", _remedy(config.lock, error))
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            reason = f"{config.lock} cannot be locked: {error.strerror}"
            return fail("lock", reason, "keep the state folder on a local disk")
        return _held(config, fd)
    else:
        return ok("lock", "free: no daemon has the state")
    finally:
        os.close(fd)


def _held(config: Config, fd: int) -> Check:
    try:
        holder = json.loads(os.pread(fd, 4096, 0))
        pid, at, whose = int(holder["pid"]), str(holder["socket"]), str(holder.get("config", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return warn("lock", "held by a process that has not said which", "wait a moment; it starts or stops")
    if whose not in ("", real_config(config.file)):
        told = f"held by process {pid}, the daemon of another project: {whose}"
        return fail("lock", told, f"name a `state` of its own in {quoted(str(config.file))}")
    if at != str(config.socket):
        if not os.path.lexists(at):
            return fail(
                "lock",
                f"held by process {pid}, which belongs at {at}, and nothing is there: it starts or stops, or that was removed",
                f"make the folder {quoted(str(Path(at).parent))} again, or: kill {pid}",
            )
        return fail(
            "lock",
            f"held by process {pid}, which listens at {at} and not at {config.socket}",
            f"export WFCTL_SOCKET={quoted(at)}",
        )
    if not _answers(config.socket):
        return warn("lock", f"held by process {pid}, which does not listen (it starts, stops or hangs)", "wfctl logs")
    return ok("lock", f"held by the daemon, process {pid}")


def socket_place(config: Config, *, fix: bool) -> Check:
    """The socket can be made, or is there and somebody listens."""
    path = config.socket
    if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
        return fail("socket", f"{path} is too long for a socket's name", "set WFCTL_SOCKET to a shorter path")
    folder = path.parent
    if folder.exists():
        facts = folder.stat()
        if facts.st_uid != os.geteuid():
            return fail("socket", f"{folder} belongs to uid {facts.st_uid}, not to you", "set WFCTL_SOCKET")
        if facts.st_mode & 0o022:
            mode = f"{stat.S_IMODE(facts.st_mode):o}"
            return fail("socket", f"{folder} may be written by others (mode {mode})", f"chmod 700 {folder}")
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return ok("socket", f"{path} is not there, as long as no daemon runs")
    if not stat.S_ISSOCK(facts.st_mode):
        return fail("socket", f"{path} is no socket", "move it away, or set WFCTL_SOCKET")
    if _answers(path):
        return ok("socket", f"{path} takes connections")
    if fix and _remove_stale(config):
        return ok("socket", f"{path} was stale and is removed", fixed=True)
    return warn(
        "socket", f"{path} is stale: nobody listens there", "wfctl up takes it over; wfctl doctor --fix removes it"
    )


def _remove_stale(config: Config) -> bool:
    """Remove the socket while no daemon can be making it; False where somebody has the state."""
    if not config.state.is_dir():
        return False
    held = StateLock(config.lock)
    try:
        held.acquire(config.socket)
    except WfctlError:
        return False
    try:
        if _answers(config.socket):
            return False
        config.socket.unlink(missing_ok=True)
    finally:
        held.release()
    return True


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            return True  # too busy to accept, but there
        except OSError:
            return False
    return True


def disk(config: Config) -> Check:
    place = _nearest(config.state)
    facts = os.statvfs(place)
    free = facts.f_bavail * facts.f_frsize
    shown = f"{free / (1 << 20):,.0f} MiB free at {place}"
    if free < LEAST_FREE_BYTES:
        return fail("disk", f"{shown}: commits will fail soon", "make room there")
    if free < FEW_FREE_BYTES:
        return warn("disk", shown, "make room there, before commits fail")
    if facts.f_files and not facts.f_favail:
        return fail("disk", f"no file can be made at {place}: it has no inodes left", "remove files there")
    return ok("disk", shown)


def _nearest(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if one.exists())
