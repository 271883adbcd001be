"""What goes wrong between a client and its daemon, as errors of this product. Touches no socket."""

from __future__ import annotations

import errno
from pathlib import Path

from wfctl import __version__
from wfctl.errors import (
    ConfigError,
    DaemonDownError,
    DeniedError,
    IncompatibleError,
    NotFinishedError,
    PayloadTooLargeError,
    UsageError,
    WfctlError,
)
from wfctl.protocol.hello import PROTOCOL_MAX, PROTOCOL_MIN, Welcome
from wfctl.values.codec import too_large


def unreachable(path: Path, project: str, error: OSError) -> WfctlError:
    """Why nobody could be connected to at `path`; `project` (may be empty) is what has no daemon."""
    if isinstance(error, PermissionError):
        return DeniedError(
            f"no permission to use the daemon's socket {path}",
            hint="use the account that ran 'wfctl up', or run a daemon of your own",
            socket=str(path),
        )
    from wfctl.values.causes import out_of_files  # few commands come here

    if (full := out_of_files(error)) is not None:
        return full
    if error.errno is None and "too long" in str(error):
        return ConfigError(
            f"the socket path {path} is longer than a socket's name can be", hint="set a shorter WFCTL_SOCKET"
        )
    stale = error.errno == errno.ECONNREFUSED
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        why = "does not exist"
    elif stale:
        why = "is stale (no process listens)"
    elif isinstance(error, TimeoutError | BlockingIOError):
        why = "does not accept connections"
    else:
        why = f"fails: {error.strerror or error}"
    name = f"no wfctl daemon for project {project}" if project else f"no wfctl daemon at {path}"
    return DaemonDownError(f"{name}\nsocket {path} {why}", hint="wfctl up", socket=str(path), stale=stale)


def dropped(path: Path, method: str) -> DaemonDownError:
    """The daemon went away before it answered: what was asked may or may not have happened."""
    return DaemonDownError(
        f"the daemon at {path} went away in the middle of {method!r}",
        hint="wfctl status",
        socket=str(path),
        dropped=True,
    )


def stopping() -> DaemonDownError:
    """What a stream or a wait that the daemon ended early, because it stops, is to whoever follows."""
    return DaemonDownError("the daemon is stopping", hint="wfctl up")


def closed() -> UsageError:
    """A client that is to be used after its `close`."""
    return UsageError("this client is closed", hint="open another: Client.connect()")


def cut_short(method: str, how: str) -> WfctlError:
    """What read the database in the daemon's place ended before it answered. It changes nothing, so nothing has happened."""
    return WfctlError(
        f"the process that reads the database in the daemon's place {how} before it answered {method!r}",
        hint="try it again, or run a daemon: wfctl up",
    )


def unread(method: str, timeout_s: float | None) -> NotFinishedError:
    """What reads the database in the daemon's place has not answered in time."""
    return NotFinishedError(
        f"what reads the database in the daemon's place did not answer {method!r} within {timeout_s:g} s",
        hint="try it again, or run a daemon: wfctl up",
    )


def unsupported(welcome: Welcome) -> IncompatibleError | None:
    """The error where the daemon chose a protocol this side does not speak, else None."""
    if PROTOCOL_MIN <= welcome.protocol <= PROTOCOL_MAX:
        return None
    older = welcome.protocol < PROTOCOL_MIN
    return IncompatibleError(
        f"the daemon (version {welcome.version}, pid {welcome.pid}) speaks protocol {welcome.protocol}, "
        f"this wfctl {__version__} speaks {PROTOCOL_MIN} to {PROTOCOL_MAX}; "
        f"{'the daemon' if older else 'this wfctl'} is the older side",
        hint="wfctl down && wfctl up" if older else "pip install --upgrade wfctl",
        daemon_protocol=welcome.protocol,
        daemon_version=welcome.version,
        version=__version__,
    )


def oversize(method: str, size: int, limit: int) -> PayloadTooLargeError:
    """A message the daemon would not read to its end."""
    return too_large(f"the {method!r} message", size, limit)
