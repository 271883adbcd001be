"""How long whoever follows runs, or waits for them, goes without a daemon. Pure: moments are arguments, in monotonic seconds."""

from __future__ import annotations

# A daemon that was there for so long before it went away had come back.
HEALTHY_S = 2.0
SHORTEST_DELAY_S = 0.05
LONGEST_DELAY_S = 0.5


class Patience:
    """For `patience_s` after the daemon was lost, it is worth while to try again, each time after `delay_s`."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._lost_at: float | None = None
        self._delay_s = SHORTEST_DELAY_S

    def lost(self, began: float, now: float) -> bool:
        """The attempt of `began` has lost it now. True where it had been there: one that accepts and hangs up at once (it drains,
        it crashes) has not come back."""
        if self._lost_at is not None and now - began <= HEALTHY_S:
            return False
        self._lost_at, self._delay_s = now, SHORTEST_DELAY_S
        return True

    def over(self, now: float) -> bool:
        return self._lost_at is not None and now - self._lost_at >= self._patience_s

    def delay_s(self) -> float:
        delay, self._delay_s = self._delay_s, min(self._delay_s * 2, LONGEST_DELAY_S)
        return delay
