"""How the runs that closed last have ended. A program that starts thousands asks for their results later, when they are not in
memory any more; read one by one, those would hold up everybody else's reads for seconds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from wfctl.protocol.views import Outcome
from wfd.core.state import Run
from wfd.engine.outcomes import outcome_of

MOST_RUNS = 10_000
MOST_BYTES = 16 << 20
MOST_RESULT = 64 << 10
# What one takes beside its result and reason, about.
_EACH = 1_000


class Recent:
    """Outcomes by run ID, of runs at the top that are closed on disk and not in memory; those that closed longest ago go first."""

    def __init__(self) -> None:
        # With their size and their key.
        self._outcomes: OrderedDict[str, tuple[Outcome, int, int]] = OrderedDict()
        self._ids: dict[int, str] = {}
        self._bytes = 0

    def keep(self, run: Run) -> None:
        """The run leaves memory, closed."""
        outcome = outcome_of(run)
        length = len(bytes(outcome.result)) + len(outcome.reason or "")
        if outcome.error is not None or length > MOST_RESULT:
            return  # these are read; what an error holds has no size of its own
        size = _EACH + length
        self.forget(run.run_id)
        self._outcomes[run.run_id] = outcome, size, run.key
        self._ids[run.key] = run.run_id
        self._bytes += size
        while len(self._outcomes) > MOST_RUNS or self._bytes > MOST_BYTES:
            self.forget(next(iter(self._outcomes)))

    def get(self, run_id: str) -> Outcome | None:
        found = self._outcomes.get(run_id)
        return None if found is None else found[0]

    def forget(self, run_id: str) -> None:
        """The run is in memory again, and may be re-opened there."""
        found = self._outcomes.pop(run_id, None)
        if found is not None:
            _, size, key = found
            self._bytes -= size
            del self._ids[key]

    def forget_trees(self, roots: Iterable[int]) -> None:
        """The trees of these roots are purged."""
        for root in roots:
            if (run_id := self._ids.get(root)) is not None:
                self.forget(run_id)

    def clear(self) -> None:
        self._outcomes.clear()
        self._ids.clear()
        self._bytes = 0
