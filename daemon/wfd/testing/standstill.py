"""A result that is awaited though nothing in the environment moves any more: said to the test, which would wait for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from wfctl.client.telling import stuck_error
from wfctl.errors import NotFinishedError, WfctlError
from wfctl.protocol import calls
from wfctl.protocol.views import Outcome
from wfctl.values.status import Status

_LOOKS = 50
_WHAT_MOVES = (
    "send it what it waits for, move the clock with env.advance(...), or give env.load(...) other code, before that"
)


class Standstill:
    """Answers as `result` does, but for waits without an end of their own: those are given up with an error where nothing may come
    (`moves`), and nothing has (`stands` stays the same), for `patience_s` of real time. It is looked for `_LOOKS` times in that: a
    test that a debugger holds up has as much time left as before."""

    def __init__(
        self,
        result: Callable[[calls.Result], Awaitable[Outcome]],
        moves: Callable[[], bool],
        stands: Callable[[], object],
        patience_s: float,
    ) -> None:
        self._result = result
        self._moves = moves
        self._stands = stands
        self._pause_s = patience_s / _LOOKS
        # What was seen last, and until when it counts.
        self._moved, self._until_s = True, 0.0

    async def result(self, call: calls.Result) -> Outcome:
        """Raises RunStuckError for a run that is stuck, else NotFinishedError."""
        if not call.wait or call.timeout_ms is not None:
            return await self._result(call)
        asked = asyncio.ensure_future(self._result(call))
        still, stood = 0, self._stands()
        try:
            while not asked.done():
                await asyncio.wait({asked}, timeout=self._pause_s)
                before, stood = stood, self._stands()
                still = 0 if self._seen_to_move() or stood != before else still + 1
                if still > _LOOKS and not asked.done():
                    outcome = await self._result(msgspec.structs.replace(call, wait=False))
                    # It may have closed meanwhile: then that is told in a moment.
                    if not (asked.done() or outcome.status.closed):
                        raise _given_up(outcome)
            return asked.result()
        finally:
            asked.cancel()

    def _seen_to_move(self) -> bool:
        # One look for all that wait about now: it goes through all that they have set up to wait.
        now = asyncio.get_running_loop().time()
        if now >= self._until_s:
            self._moved, self._until_s = self._moves(), now + self._pause_s / 2
        return self._moved


def _given_up(outcome: Outcome) -> WfctlError:
    if outcome.status is Status.STUCK:
        return stuck_error(outcome)
    return NotFinishedError(
        f"run {outcome.workflow_id!r} is {outcome.status}, and nothing moves any more in this environment",
        hint=f"{_WHAT_MOVES} its result is awaited",
        run_id=outcome.run_id,
        workflow_id=outcome.workflow_id,
        status=outcome.status.value,
    )
