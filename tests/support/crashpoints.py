"""Named points at which a process of the product ends as by `kill -9`, when a test has said so.

The test names a folder in the environment and arms one point there; the process that gets to it takes the order away and
dies, so that it is obeyed once. Without that folder a point is nothing.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
from pathlib import Path

FOLDER = "WFCTL_TEST_CRASH"

_lock = threading.Lock()
_serials = itertools.count(1)
_hits = ("", 0)


def hit(name: str) -> None:
    """This process is at the point `name`."""
    global _hits
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    order = Path(folder, "armed")
    with _lock:
        try:
            text = order.read_text()
        except FileNotFoundError:
            return
        wanted, nth, _ = text.split()
        if wanted != name:
            return
        _hits = (text, _hits[1] + 1 if _hits[0] == text else 1)
        if _hits[1] == int(nth):
            order.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


class CrashPoints:
    """The test's side."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.environment = {FOLDER: str(folder)}
        self._order = folder / "armed"

    def arm(self, name: str, nth: int) -> None:
        """The process that is at `name` for the nth time from now on dies there."""
        # Renamed into place: a process must not read half an order. The serial tells this order from one like it.
        draft = self._order.with_name("draft")
        draft.write_text(f"{name} {nth} {next(_serials)}")
        draft.rename(self._order)

    @property
    def waiting(self) -> bool:
        """Whether nobody has got to the armed point yet."""
        return self._order.exists()

    def disarm(self) -> None:
        self._order.unlink(missing_ok=True)
