"""Keeps a rehearsal from touching the world: an audit hook that refuses, while it is armed, what would.

It sees what Python itself does, in any thread. It does not see what a library in C does behind Python's back, nor the use of a
connection that was open before; files cannot grow at all from `install` on.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from typing import Any

from wfctl.sdk.sources import Sources

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events by name, with the words for them; the fields are the event's arguments.
_REFUSED = {
    "ftplib.connect": "connect to {1}",
    "http.client.connect": "connect to {1}",
    "imaplib.open": "connect to {1}",
    "os.chdir": "change to folder {0}",
    "os.chmod": "change {0}",
    "os.chown": "change {0}",
    "os.exec": "run {0}",
    "os.fork": "fork",
    "os.forkpty": "fork",
    "os.kill": "signal process {0}",
    "os.killpg": "signal process group {0}",
    "os.link": "link {0}",
    "os.lockf": "lock a file",
    "os.mkdir": "make folder {0}",
    "os.posix_spawn": "run {0}",
    "os.remove": "remove {0}",
    "os.removexattr": "change {0}",
    "os.rename": "rename {0}",
    "os.rmdir": "remove folder {0}",
    "os.setxattr": "change {0}",
    "os.spawn": "run {1}",
    "os.symlink": "link {0}",
    "os.system": "run {0}",
    "os.truncate": "cut off {0}",
    "os.utime": "change {0}",
    "poplib.connect": "connect to {1}",
    "pty.spawn": "run {0}",
    "fcntl.flock": "lock a file",
    "fcntl.lockf": "lock a file",
    "signal.pthread_kill": "signal a thread",
    "smtplib.connect": "connect to {1}",
    "socket.bind": "listen at {1}",
    "socket.connect": "connect to {1}",
    "socket.getaddrinfo": "look up {0}",
    "socket.gethostbyaddr": "look up {0}",
    "socket.gethostbyname": "look up {0}",
    "socket.getnameinfo": "look up {0}",
    "socket.sendmsg": "send to {1}",
    "socket.sendto": "send to {1}",
    "socket.sethostname": "rename the machine",
    "sqlite3.connect": "open database {0}",
    "subprocess.Popen": "run {0}",
    "syslog.openlog": "write to the system's log",
    "syslog.syslog": "write to the system's log",
    "urllib.Request": "ask for {0}",
    "webbrowser.open": "open {0}",
}
_REFUSED_FAMILIES = ("shutil.", "tempfile.")
_MAX_ARGUMENT_CHARS = 80


class Refused(BaseException):
    """Ends a handler that is about to touch the world. A BaseException, so that `except Exception` does not swallow it."""


class Guard:
    """Armed from `arm` to `disarm`. `stopped` is the first thing it has refused since: where, and what.

    `waiting_at` tells where in the user's code the handler waits, if it does.
    """

    def __init__(self, sources: Sources, waiting_at: Callable[[], str]) -> None:
        self._sources = sources
        self._waiting_at = waiting_at
        self._armed = False
        self.stopped = ""

    def install(self) -> None:
        """For good: the process is of no other use from then on."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        sys.addaudithook(self._heard)

    def arm(self) -> None:
        self.stopped = ""
        self._armed = True

    def disarm(self) -> None:
        self._armed = False

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._armed:
            return
        words = would(event, arguments)
        if words is None:
            return
        if not self.stopped:
            # In a thread that asyncio began for the handler, nothing of the handler is on the stack.
            place = self._sources.caller(sys._getframe(1)) or self._waiting_at() or "a place outside of the project"
            self.stopped = f"{place}, where it would {words}"
        raise Refused(f"a rehearsal does not {words}")


def would(event: str, arguments: tuple[Any, ...]) -> str | None:
    """What an audit event would do to the world, in words; None where it is harmless."""
    if event == "open":
        return _opening(arguments)
    pattern = _REFUSED.get(event)
    if pattern is None:
        return f"call {event}" if event.startswith(_REFUSED_FAMILIES) else None
    return pattern.format(*(_shown(argument) for argument in arguments), "?", "?")


def _opening(arguments: tuple[Any, ...]) -> str | None:
    path, mode, flags = arguments
    writes = (isinstance(flags, int) and flags & _WRITES) or (isinstance(mode, str) and set(mode) & set("wax+"))
    return f"write to {_shown(path)}" if writes and path != os.devnull else None


def _shown(argument: Any) -> str:
    text = repr(argument)
    return text if len(text) <= _MAX_ARGUMENT_CHARS else f"{text[: _MAX_ARGUMENT_CHARS - 1]}…"
