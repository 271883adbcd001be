"""The environment in which the user's code runs."""

from __future__ import annotations

import os


def of_workers() -> dict[str, str]:
    """Ours, and in it what a worker needs to run a handler again as it ran before.

    Python orders a set of text by a seed of the process. With one seed for all of them a loop over a set goes the same way in a
    replay, also on another machine; a seed that the user has set is theirs.
    """
    seed = os.environ.get("PYTHONHASHSEED") or "0"
    # Unbuffered, so that the last line printed before a crash is in the log.
    return {**os.environ, "PYTHONHASHSEED": seed, "PYTHONUNBUFFERED": "1"}
