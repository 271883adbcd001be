"""Who runs which step: a queue in order, executions at workers, their time limits, and the ones told to let go."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from wfctl.protocol import channel
from wfctl.values.times import format_duration
from wfd.runtime.clock import Clock, TimerHandle
from wfd.supervisor.contract import Listener, Runner, Spoken, StepOrder

log = logging.getLogger("wfd.supervisor")

# Steps one worker has at a time. Enough that handlers that wait for something do not hold others up; bounded, so that
# a flood of starts queues here, in order, and not in a process that may die.
STEPS_PER_WORKER = 256
# From "let go" to SIGKILL.
GRACE_MS = 3_000
# How long a step that has lost its workers waits for one to itself, and then keeps it so: what ends its worker mostly does
# it at once, and a step that only waits for something must not hold up all others.
ALONE_MS = 1_000


class _Execution:
    """`abandoned`: nobody wants it any more. `moved` (why): it is to begin again elsewhere, once it has let go; until then it
    is heard, since what it asks for is recorded and will be found again."""

    __slots__ = ("abandoned", "begun_at", "kill_timer", "moved", "order", "timer", "worker")

    def __init__(self, order: StepOrder, worker: Runner, begun_at: int) -> None:
        self.order = order
        self.begun_at = begun_at
        self.worker = worker
        self.timer: TimerHandle | None = None
        self.kill_timer: TimerHandle | None = None
        self.abandoned = False
        self.moved = ""

    def stop_timers(self) -> None:
        for timer in (self.timer, self.kill_timer):
            if timer is not None:
                timer.cancel()


class Steps:
    """Shares steps out among the workers that `taking(workflow_type)` lists, the least busy first.

    A queued step has no worker yet, and is lost by nobody's death. Types queue apart, since each may be served by another
    generation; among those whose workers have room, what came first is first.
    """

    def __init__(self, clock: Clock, taking: Callable[[str], Sequence[Runner]]) -> None:
        self._clock = clock
        self._taking = taking
        self._listener: Listener | None = None
        self._running: dict[int, _Execution] = {}
        self._queues: dict[str, deque[tuple[int, StepOrder]]] = {}
        self._arrived = 0
        self._suspects: deque[StepOrder] = deque()
        self._reserved: Runner | None = None
        self._lapse: TimerHandle | None = None
        self._paused = False
        self._idle = asyncio.Event()

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    @property
    def queued(self) -> int:
        return sum(map(len, self._queues.values())) + len(self._suspects)

    def run(self, order: StepOrder) -> None:
        """Give the step to a worker, now or when one has room."""
        if order.alone:
            self._suspects.append(order)
            self.share_out()
            return
        queue = self._queues.setdefault(order.workflow_type, deque())
        self._arrived += 1
        queue.append((self._arrived, order))
        if len(queue) == 1:
            self.share_out()

    def share_out(self) -> None:
        """Give queued steps to workers as far as there is room."""
        if self._paused:
            return
        self._share_alone()
        self._share_queues()

    def _share_queues(self) -> None:
        while self._queues:
            for workflow_type in sorted(self._queues, key=lambda name: self._queues[name][0][0]):
                worker = self._least_busy(workflow_type, but=self._reserved)
                if worker is not None:
                    break
            else:
                return
            queue = self._queues[workflow_type]
            _, order = queue.popleft()
            if not queue:
                del self._queues[workflow_type]
            self._give(order, worker)

    def _share_alone(self) -> None:
        """Suspects, one after the other, in a worker that is kept free of anything else as long as there are any."""
        if not self._suspects:
            if self._reserved is not None and not self._reserved.steps:
                self._reserve(None)
            return
        workflow_type = self._suspects[0].workflow_type
        if self._reserved is None or self._reserved not in self._taking(workflow_type):
            self._reserve(self._least_busy(workflow_type))
        if self._reserved is not None and not self._reserved.steps:
            self._give(self._suspects.popleft(), self._reserved)
            self._reserve(self._reserved)

    def _reserve(self, worker: Runner | None) -> None:
        """Keep `worker` free of anything else, for `ALONE_MS` from now at most."""
        if self._lapse is not None:
            self._lapse.cancel()
        self._reserved = worker
        self._lapse = None if worker is None else self._clock.call_later(ALONE_MS, self._lapsed)

    def _lapsed(self) -> None:
        """It was alone, or others did not make room for it, for long enough: it shares the worker from now on."""
        worker = self._reserved
        self._reserve(None)
        if self._paused:
            return
        if worker is not None and self._suspects and worker in self._taking(self._suspects[0].workflow_type):
            self._give(self._suspects.popleft(), worker)
        # Before another suspect takes a worker from them.
        self._share_queues()
        self._share_alone()

    def _least_busy(self, workflow_type: str, but: Runner | None = None) -> Runner | None:
        free = [
            worker
            for worker in self._taking(workflow_type)
            if worker is not but and len(worker.steps) < STEPS_PER_WORKER
        ]
        return min(free, key=lambda worker: len(worker.steps), default=None)

    def _give(self, order: StepOrder, worker: Runner) -> None:
        execution = self._running[order.token] = _Execution(order, worker, self._clock.now_ms())
        order.generation, order.source = worker.generation, worker.source
        worker.steps.add(order.token)
        worker.send(order.message)
        if order.timeout_ms is not None:
            execution.timer = self._clock.call_later(order.timeout_ms, partial(self._late, order.token))

    def _late(self, token: int) -> None:
        execution = self._running.get(token)
        if execution is not None and self._listener is not None and not execution.abandoned:
            self._listener.timed_out(token, execution.order.timeout_ms or 0)

    def answer(self, message: channel.OpDone) -> None:
        """Tell a handler the outcome of its operation; a token that is gone is no matter."""
        execution = self._running.get(message.token)
        if execution is not None:
            execution.worker.send(message)

    def cancel(self, token: int) -> None:
        """Raise CancelledError in the handler; it still answers."""
        execution = self._running.get(token)
        if execution is not None:
            execution.worker.send(channel.CancelStep(token))
            return
        for order in self._waiting():
            if order.token == token:
                order.message.cancel = True

    def abandon(self, token: int) -> None:
        """Nobody wants this step any more. A handler that has not let go after `GRACE_MS` costs its worker."""
        execution = self._running.get(token)
        if execution is None:
            self._drop(token)
            return
        if execution.abandoned:
            return
        letting_go = bool(execution.moved)
        execution.abandoned = True
        if not letting_go:
            self._let_go(execution)

    def move(self, worker: Runner, reason: str, *, timed: bool) -> None:
        """What this worker runs is begun again elsewhere, once its handler has let go; steps with a timeout only if `timed`."""
        for token in sorted(worker.steps):
            execution = self._running[token]
            if not (execution.abandoned or execution.moved) and (timed or execution.order.timeout_ms is None):
                execution.moved = reason
                self._let_go(execution)

    def _waiting(self) -> list[StepOrder]:
        return [order for queue in self._queues.values() for _, order in queue] + list(self._suspects)

    def _drop(self, token: int) -> None:
        for workflow_type, queue in list(self._queues.items()):
            left = deque(entry for entry in queue if entry[1].token != token)
            if left:
                self._queues[workflow_type] = left
            else:
                del self._queues[workflow_type]
        self._suspects = deque(order for order in self._suspects if order.token != token)

    def _let_go(self, execution: _Execution) -> None:
        token = execution.order.token
        execution.stop_timers()
        execution.worker.send(channel.AbandonStep(token))
        execution.kill_timer = self._clock.call_later(GRACE_MS, partial(self._no_grace, token))

    def _no_grace(self, token: int) -> None:
        execution = self._running.get(token)
        if execution is not None:
            what = f"handler {execution.order.message.handler!r} of {execution.order.message.run.workflow_id}"
            log.warning("worker %d is killed: %s did not let go", execution.worker.pid, what)
            execution.worker.kill(f"it was killed because {what} did not let go")

    def heard(self, worker: Runner, message: Spoken) -> None:
        """Pass on what a handler said, as long as it has its step and somebody wants to hear it."""
        listener = self._listener
        if listener is None or message.token not in worker.steps:
            return
        if isinstance(message, channel.Op | channel.Logs):
            if not self._running[message.token].abandoned:
                listener.heard(message)
            return
        moved = self._running[message.token].moved
        if not self._finish(message.token):
            return
        if moved and isinstance(message, channel.StepGone):
            listener.lost([message.token], moved, False)
        elif not isinstance(message, channel.StepGone):
            # One that was to be moved may have ended before it heard of that.
            listener.heard(message)

    def at_work(self, worker: Runner, most: int = 3) -> tuple[str, ...]:
        """What the worker has run longest, in words."""
        now = self._clock.now_ms()
        running = sorted((self._running[token] for token in worker.steps), key=lambda one: one.begun_at)
        return tuple(
            f"{one.order.message.run.workflow_type} {one.order.message.handler!r} of "
            f"{one.order.message.run.workflow_id} for {format_duration(now - one.begun_at)}"
            for one in running[:most]
        )

    def _finish(self, token: int) -> bool:
        """The worker is done with the step. True where somebody still wants to hear what became of it."""
        execution = self._running.pop(token, None)
        if execution is None:
            return False
        execution.stop_timers()
        execution.worker.steps.discard(token)
        self.share_out()
        self._settled()
        return not execution.abandoned

    def lose(self, worker: Runner, reason: str, crash: bool) -> int:
        """The worker has ended: what it ran, and is still wanted, is lost. Returns how many steps that were."""
        tokens = sorted(worker.steps)
        worker.steps.clear()
        wanted = []
        for token in tokens:
            execution = self._running.pop(token)
            execution.stop_timers()
            if not execution.abandoned:
                wanted.append(token)
        if wanted and self._listener is not None:
            self._listener.lost(wanted, reason, crash)
        self._settled()
        return len(wanted)

    def _settled(self) -> None:
        if not self._running:
            self._idle.set()

    async def drain(self, wait_ms: int) -> bool:
        """Begin no more steps; wait up to `wait_ms` for those that run. True when all have ended."""
        self._paused = True
        self._idle.clear()
        self._settled()
        try:
            await asyncio.wait_for(self._idle.wait(), wait_ms / 1_000)
        except TimeoutError:
            return False
        return True

    def clear(self) -> None:
        """Forget everything: the daemon stops."""
        self._paused = True
        for execution in self._running.values():
            execution.stop_timers()
        self._running.clear()
        self._queues.clear()
        self._suspects.clear()
        self._reserve(None)
