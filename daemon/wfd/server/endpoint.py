"""The socket's place in the file system: private, ours, and not another daemon's. Also who is at the other end."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
import struct
from pathlib import Path

from wfctl.errors import ConfigError, ConflictError, DaemonAlreadyRunningError, DeniedError
from wfctl.values.causes import cannot

BACKLOG = 1024
_ELSEWHERE = "set WFCTL_SOCKET to a path in a directory of your own"
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


def listen(path: Path, *, parents: bool = True) -> socket.socket:
    """A listening socket at `path`, mode 0600; a directory that is made for it has mode 0700. `parents`: what it is in as well.

    The caller holds the lock on the state directory: only then may a stale socket be removed.
    """
    prepare_directory(path.parent, parents=parents)
    _remove_stale(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(os.fspath(path))
        # Before listen() nobody can connect, so the socket is never reachable with the mode the umask gave it.
        os.chmod(path, 0o600)
        sock.setblocking(False)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise _cannot_listen(path, error) from None
    return sock


def prepare_directory(folder: Path, *, parents: bool = True) -> None:
    """Make `folder` with mode 0700, or check that it is ours and nobody else writes there; DeniedError where it is not."""
    try:
        if parents:
            folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        os.chmod(folder, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise cannot("make the socket directory", folder, error, otherwise=_ELSEWHERE) from None
    # A link in a shared directory such as /tmp may have been put there by somebody else: both it and its target count.
    for facts in (folder.lstat(), folder.stat()):
        if facts.st_uid != os.getuid():
            raise DeniedError(
                f"the socket directory {folder} belongs to uid {facts.st_uid}, not to uid {os.getuid()}",
                hint=_ELSEWHERE,
                path=str(folder),
            )
    if not stat.S_ISDIR(facts.st_mode):
        raise DeniedError(
            f"{folder} is not a directory; the socket cannot be made in it", hint=_ELSEWHERE, path=str(folder)
        )
    # Who may write there could put another socket in its place. Looking in is harmless: the socket itself is 0600.
    if facts.st_mode & 0o022:
        raise DeniedError(
            f"the socket directory {folder} is open to others (mode {stat.S_IMODE(facts.st_mode):o})",
            hint=f"chmod 700 {folder}",
            path=str(folder),
        )


def answers(path: str) -> bool:
    """Somebody listens at `path`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return True


def gone(fd: int) -> bool:
    """Whether the other end of a connection is closed, and not only for what it says."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


def _remove_stale(path: Path) -> None:
    """Remove the socket of a daemon that is gone; raise where one answers, or where it is no socket."""
    try:
        facts = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(facts.st_mode):
        raise ConflictError(
            f"{path} is in the way: it is not a socket", hint=f"remove {path}, or set WFCTL_SOCKET", path=str(path)
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A daemon too busy to accept has a full backlog: EAGAIN here, and it is alive.
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except (ConnectionRefusedError, FileNotFoundError):
            _unlink(path)
            return
        except BlockingIOError:
            pass
        except OSError as error:
            raise _cannot_listen(path, error) from None
        pid, _ = peer(probe)
    raise DaemonAlreadyRunningError(
        f"another daemon{f' (pid {pid})' if pid else ''} listens at {path}",
        hint="wfctl down to stop it, or set WFCTL_SOCKET",
        socket=str(path),
        **({"pid": pid} if pid else {}),
    )


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot(f"remove the stale socket {path.name} from", path.parent, error, otherwise=_ELSEWHERE) from None


def _cannot_listen(path: Path, error: OSError) -> Exception:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENFILE):
        return cannot("listen at", path, error, otherwise=_ELSEWHERE)
    if error.errno == errno.EADDRINUSE:
        return DaemonAlreadyRunningError(f"another daemon listens at {path}", hint="wfctl status", socket=str(path))
    return ConfigError(
        f"cannot listen at {path}: {error.strerror or error}", hint="set WFCTL_SOCKET to another path", path=str(path)
    )


def peer(sock: socket.socket) -> tuple[int, int]:
    """pid and uid of the process at the other end, as the kernel says; the pid is 0 where it is not known."""
    if not hasattr(socket, "SO_PEERCRED"):
        # Elsewhere than on Linux the directory's mode alone keeps others out.
        return 0, os.getuid()
    try:
        pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    except OSError:
        return 0, -1
    return pid, uid
