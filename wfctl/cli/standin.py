"""A stand-in for a daemon that does not run: a process that reads its database, for one command, and answers as the daemon would.

It never makes a database and never changes one. The command line itself opens none.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from wfctl.cli.shell import Shell
from wfctl.client.blocking import Connection
from wfctl.errors import ConfigError, DaemonDownError, NotFoundError
from wfctl.values.project import find_config


def open_database(shell: Shell, down: DaemonDownError) -> Connection:
    """A connection to a reader of the project's database. Raises `down` where there is none to be read."""
    try:
        config = find_config(shell.settings.project)
    except ConfigError:
        raise down from None  # only a socket is known, so there is no database to be found
    ours, theirs = socket.socketpair()
    with theirs:
        # It ends when this connection does. -P: a file of the project that is named like a module of Python's must not be imported.
        subprocess.Popen(
            [sys.executable, "-P", "-m", "wfd.reading", "--project", str(config), "--fd", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
        )
    try:
        return Connection.over(ours, Path(down.detail.get("socket", shell.socket)), shell.project_name)
    except NotFoundError:
        raise down from None
