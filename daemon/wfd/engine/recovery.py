"""Steps that were under way when the daemon, or its memory, ended: begun again, or ended where their time has come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from wfd.core import stimuli as s
from wfd.core.state import Stepping
from wfd.engine.memory import Live, Memory
from wfd.runtime.clock import Clock


class Machine(Protocol):
    """What recovery needs of the engine."""

    memory: Memory
    clock: Clock

    async def room(self) -> None: ...
    def stimulate(self, live: Live, stimulus: s.Stimulus) -> None: ...


async def begin_again(machine: Machine, interrupted: Sequence[int], counts: Callable[[], bool]) -> bool:
    """Begin these steps again, as long as that `counts`; false where the disk has failed again, and somebody else goes on from
    there.

    A run whose own time came while nobody was there must not begin its step once more. All other deadlines, of which there may
    be very many, are looked at when commands are taken already.
    """
    for key in interrupted:
        await machine.room()
        live = await machine.memory.reach(key)
        if not counts():
            return False
        if live is None or not isinstance(live.run.phase, Stepping) or live.token is not None:
            continue
        if live.run.wake_at is not None and live.run.wake_at <= machine.clock.now_ms():
            machine.stimulate(live, s.TimeReached())
        phase = live.run.phase
        if isinstance(phase, Stepping):
            machine.stimulate(live, s.StepLost(phase.step, phase.attempt, "the daemon ended"))
    return True
