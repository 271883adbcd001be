"""How many files this process may have open: connections, pipes to workers and the database are files."""

from __future__ import annotations

import resource

from wfctl.errors import StorageError

# Shells allow a thousand, of the many more that the system does; more than so many are of no use here.
WANTED = 8_192
# Those of the loop, the log, the database and its process, and of a few workers and connections.
LEAST = 64


def most_files() -> int:
    """Raise the limit as far as the system lets us, and return what it is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, hard = (WANTED if limit == resource.RLIM_INFINITY else limit for limit in (soft, hard))
    wanted = min(WANTED, hard)
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        except (OSError, ValueError):  # macOS has a limit that it does not tell
            return soft
        return wanted
    return soft


def check_files() -> None:
    """StorageError where it may not have as many open as a daemon needs, however few it is asked for."""
    if (most := most_files()) < LEAST:
        raise StorageError(
            f"a daemon may have no more than {most} files open here, and needs {LEAST} at least",
            hint="start it where more may be open: ulimit -n 1024, or LimitNOFILE=1024 in a unit",
        )
