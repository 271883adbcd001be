"""A stand-in for a daemon that does not run: a process that reads its database, for one command, and answers as the daemon would.

It never makes a database and never changes one. The command line itself opens none.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from wfctl.client.blocking import Connection
from wfctl.errors import ConfigError, DaemonDownError, NotFoundError

# After it has hung up.
_REAPED_S = 2.0


def read_database(config: Path, state: Path, path: Path, name: str, down: DaemonDownError) -> Connection:
    """A connection to a reader of the project's database; `path` and `name` are as for the daemon's own.

    Raises `down` where there is none to be read.
    """
    if not state.is_dir():
        raise down  # no daemon has ever run here
    ours, theirs = socket.socketpair()
    with theirs:
        # It ends when this connection does, so nobody waits for it. -P: a file of the project that is named like a module of
        # Python's must not be imported.
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "wfd.reading", "--project", str(config), "--fd", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
        )
    child.returncode = 0

    def how_ended() -> str:
        child.returncode = None
        try:
            code = child.wait(_REAPED_S)
        except subprocess.TimeoutExpired:
            return "hung up"
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code}"

    try:
        return Connection.over(ours, path, name, how_ended)
    except (NotFoundError, ConfigError, DaemonDownError):
        raise down from None  # 'wfctl up' will say what is wrong with the configuration
