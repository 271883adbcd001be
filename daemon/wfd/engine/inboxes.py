"""How much an inbox holds, and the handlers that wait for room in one.

A client that waits in vain is refused in the end (`Sending`). A handler cannot be: its event is never dropped, and a bound that it
waits at for ever would be a deadlock wherever the room has to come from the sender itself: a run that sends to itself, two
that send to each other, a parent whose handler waits for the child that reports to it, a receiver that needs the worker or the turn
that the sender has. No look at who waits for whom finds all of these. So a handler is only slowed down: its event
waits for room, in order with the others for that run, and goes in without after a second.

Nothing of this is on disk: an event that waits is not recorded yet, and its handler, if it dies, asks again.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import msgspec

from wfctl.errors import RunClosedError, StorageError
from wfctl.protocol import channel
from wfctl.values.commands import command
from wfd.engine.asked import Asked
from wfd.engine.memory import Live, Memory
from wfd.runtime.clock import Clock
from wfd.runtime.pressure import Pressure
from wfd.supervisor import Workers

log = logging.getLogger("wfd.engine")

# Events in the inbox of a run that does not take them, in number and in bytes: an inbox is in memory while its run is.
MOST_EVENTS = 10_000
MOST_EVENT_BYTES = 64 << 20
# How long the event of a handler waits for room, and how often is looked whether there is some.
SLOW_MS = 1_000
LOOK_MS = 100
FULL = "the inbox of a run that does not take its events"


Again = Callable[[Live, int, int, channel.Op, int, bool], None]


class Machine(Protocol):
    """What this needs of the engine."""

    memory: Memory
    clock: Clock
    pressure: Pressure
    workers: Workers

    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...


class _Waiting(msgspec.Struct, frozen=True):
    """`looks`: at which look of its line it goes on, room or not. Counted, for a clock may be set back."""

    asked: Asked
    looks: int
    again: Again


class _Line(msgspec.Struct):
    waiting: deque[_Waiting]
    looks: int = 0


class Inboxes:
    def __init__(self, machine: Machine) -> None:
        self._m = machine
        self.most_events = MOST_EVENTS
        self._lines: dict[int, _Line] = {}

    def full(self, live: Live) -> bool:
        inbox = live.run.inbox
        if not inbox:  # as nearly all
            return False
        if len(inbox) >= self.most_events:
            return True
        # Each sixteenth is weighed for all, as that takes long where they are many.
        return not len(inbox) % 16 and sum(len(event.payload) for event in inbox) >= MOST_EVENT_BYTES

    def waits(self, asked: Asked, receiver: Live, again: Again) -> bool:
        """Whether the operation, an event for that run, has to wait; then it is asked for `again` when it need not any more."""
        key = receiver.run.key
        line = self._lines.get(key)
        if asked.waited or asked.live is receiver or (line is None and not self.full(receiver)):
            return False
        if line is None:
            line = self._lines[key] = _Line(deque())
            log.warning(
                "%s has %d events in its inbox that it does not take: who sends it more is slowed down",
                receiver.run.workflow_id, len(receiver.run.inbox),
            )  # fmt: skip
            self._look_later(key)
        line.waiting.append(_Waiting(asked, line.looks + SLOW_MS // LOOK_MS, again))
        self._m.pressure.begin(FULL)
        self._m.workers.op_waits(asked.live.token or 0, asked.op.op)
        return True

    def _look_later(self, key: int) -> None:
        # A timer, not a task: one that waits for time is nothing that is on its way.
        self._m.clock.call_later(LOOK_MS, lambda: self._m.spawn(self._look(key)))

    async def _look(self, key: int) -> None:
        """Let those go on for whom there is room, and those who have waited long enough."""
        try:
            receiver = await self._m.memory.load(key)
        except StorageError:
            receiver = None  # who waits finds out the same
        line = self._lines[key]
        line.looks += 1
        try:
            while line.waiting:
                first = line.waiting[0]
                room = receiver is None or receiver.run.closed or not self.full(receiver)
                if not first.asked.stale() and not room and line.looks < first.looks:
                    break
                line.waiting.popleft()
                self._m.pressure.end(FULL)
                if not first.asked.stale():
                    one, now = first.asked, self._m.clock.now_ms()
                    first.again(one.live, one.step, one.attempt, one.op, now, True)
        finally:  # whatever became of one, those behind it go on
            if receiver is not None:
                self._m.memory.settle(receiver)
            if line.waiting:
                self._look_later(key)
            else:
                del self._lines[key]


def no_inbox(workflow_id: str, event: str) -> RunClosedError:
    return RunClosedError(
        f"run {workflow_id!r} is closed; event {event!r} was not delivered",
        hint=command("show", workflow_id),
        workflow_id=workflow_id,
    )
