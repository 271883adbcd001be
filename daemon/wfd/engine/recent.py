"""How the runs that closed last have ended. A program that starts thousands asks for their results later, when they are not in
memory any more; read one by one, those would hold up everybody else's reads for seconds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from wfctl.protocol.views import Outcome
from wfd.core.state import Run
from wfd.engine.outcomes import outcome_of

MOST_RUNS = 10_000
MOST_BYTES = 16 << 20
MOST_EACH = 64 << 10
# What one takes beside its JSON, about.
_EACH = 400

# With so many brackets nothing is nested too deep to be read again.
SURELY_SHALLOW = 100

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Outcome).decode
# Of what is nested too deep for that.
_TOO_DEEP = (RecursionError, msgspec.MsgspecError)


class Recent:
    """Outcomes by run ID, of runs at the top that are closed on disk and not in memory; those that closed longest ago go first.

    Each is kept as the JSON it has on the wire, in one piece: made of a dozen small objects it would take twice the room, in
    between all else that comes and goes.
    """

    def __init__(self) -> None:
        # With their key.
        self._outcomes: OrderedDict[str, tuple[bytes, int]] = OrderedDict()
        self._ids: dict[int, str] = {}
        self._bytes = 0

    def keep(self, run: Run) -> None:
        """The run leaves memory, closed."""
        outcome = outcome_of(run)
        if len(outcome.result) > MOST_EACH:
            return  # it is read
        try:
            encoded = _encode(outcome)
            if encoded.count(b"[") + encoded.count(b"{") > SURELY_SHALLOW:
                _decode(encoded)
        except _TOO_DEEP:
            return
        if len(encoded) > MOST_EACH:
            return
        if run.run_id in self._outcomes:
            self.forget(run.run_id)
        self._outcomes[run.run_id] = encoded, run.key
        self._ids[run.key] = run.run_id
        self._bytes += _EACH + len(encoded)
        while len(self._outcomes) > MOST_RUNS or self._bytes > MOST_BYTES:
            self.forget(next(iter(self._outcomes)))

    def get(self, run_id: str) -> Outcome | None:
        found = self._outcomes.get(run_id)
        return None if found is None else _decode(found[0])

    def forget(self, run_id: str) -> None:
        """The run is in memory again, and may be re-opened there."""
        found = self._outcomes.pop(run_id, None)
        if found is not None:
            encoded, key = found
            self._bytes -= _EACH + len(encoded)
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
