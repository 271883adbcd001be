"""How many files this process may have open: connections, pipes to workers and the database are files."""

from __future__ import annotations

import resource

# Shells allow a thousand, of the many more that the system does; more than so many are of no use here.
WANTED = 8_192


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
