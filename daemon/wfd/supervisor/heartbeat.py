"""Asks every worker whether its loop still turns, and notices those that have not said so, or have no thread left for handlers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from wfctl.protocol import channel
from wfctl.protocol.channel import Pong
from wfctl.values.times import format_duration
from wfd.runtime.clock import Clock, TimerHandle
from wfd.supervisor.steps import Steps
from wfd.supervisor.worker import Worker

log = logging.getLogger("wfd.supervisor")

# How often workers are asked, and when one that does not answer is taken for blocked.
BEAT_MS = 1_000
BLOCKED_MS = 2_000
# How long handlers have to wait for a thread for that to be said, and for others to take them.
HELD_MS = 2_000


class Heartbeat:
    """Has those of `steps` that a blocked worker has not begun given back, as long as there are others for them; `blocked(worker)`
    hears of each that has just been found blocked."""

    def __init__(
        self,
        clock: Clock,
        workers: Iterable[Worker],
        steps: Steps,
        blocked: Callable[[Worker], None],
    ) -> None:
        self._clock = clock
        self._workers = workers
        self._steps = steps
        self._at_work = steps.at_work
        self._blocked = blocked
        self._timer: TimerHandle | None = None

    def beat(self) -> None:
        """Ask now, and from now on."""
        now = self._clock.now_ms()
        for worker in self._workers:
            if not worker.ready or not worker.heard:
                continue
            if worker.pinged_at is None:
                worker.pinged_at = now
                worker.send(channel.Ping(0))
            elif worker.blocked_at is None and now - worker.pinged_at >= BLOCKED_MS:
                worker.blocked_at = worker.pinged_at
                what = "; ".join(self._at_work(worker)) or "no step"
                log.warning("worker %d does not answer: its loop is blocked. It runs %s", worker.pid, what)
                self._blocked(worker)
            if worker.blocked_at is not None and (unheard := self._steps.unheard(worker)):
                worker.give_back(unheard)
        self._timer = self._clock.call_later(BEAT_MS, self.beat)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def alive(self, worker: Worker, pong: Pong) -> None:
        """The worker has answered."""
        if worker.blocked_at is not None:
            blocked = format_duration(self._clock.now_ms() - worker.blocked_at)
            log.warning("worker %d answers again, after %s", worker.pid, blocked)
        worker.pinged_at = worker.blocked_at = None
        worker.pong = pong
        if pong.held_ms >= HELD_MS:
            if worker.held_at is None:
                worker.held_at = self._clock.now_ms() - pong.held_ms
                what = "; ".join(self._at_work(worker, pong.by))
                log.warning(
                    "worker %d has no thread left for plain `def`: %d handlers and %d tasks wait for one. It runs %s",
                    worker.pid, pong.held, pong.held_tasks, what,
                )  # fmt: skip
            if most := min(pong.held, self._room_beside(worker)):
                worker.send(channel.GiveBack(most))
        elif worker.held_at is not None and pong.held_ms < HELD_MS // 2:
            held = format_duration(self._clock.now_ms() - worker.held_at)
            worker.held_at = None
            log.warning("worker %d has threads for plain `def` again, after %s", worker.pid, held)

    def _room_beside(self, worker: Worker) -> int:
        """For how many handlers that it has not begun others have a thread."""
        if worker.leaving:
            return 0
        return sum(
            one.pong.room
            for one in self._workers
            if one.ready and not one.leaving and one.generation == worker.generation and one.blocked_at is None
        )
