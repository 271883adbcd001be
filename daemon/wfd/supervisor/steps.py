"""Who runs which step: a queue in order, executions at workers, their time limits, and the ones told to let go."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec

from wfctl.protocol import channel
from wfctl.values.runinfo import RunInfo
from wfctl.values.times import format_duration
from wfd.runtime.clock import Clock, TimerHandle
from wfd.supervisor.catalog import Catalog

log = logging.getLogger("wfd.supervisor")

# Steps one worker has at a time. Enough that handlers that wait for something do not hold others up; bounded, so that
# a flood of starts queues here, in order, and not in a process that may die.
STEPS_PER_WORKER = 256
# From "let go" to SIGKILL.
GRACE_MS = 3_000
# How long a step that has lost its workers waits for one to itself, and then keeps it so: what ends its worker mostly does
# it at once, and a step that only waits for something must not hold up all others.
ALONE_MS = 1_000


Spoken = channel.Op | channel.Logs | channel.StepDone | channel.StepRaised | channel.StepStuck | channel.StepGone


class StepOrder(msgspec.Struct):
    """One execution of one step. `timeout_ms` counts from when a worker gets it, not from when it queues.

    `alone`: earlier executions lost their workers, so this one gets a worker to itself. If that dies too, it is
    clear which handler did it, and no other run pays for it.
    """

    token: int
    message: channel.RunStep
    timeout_ms: int | None = None
    alone: bool = False


class WorkerInfo(msgspec.Struct, frozen=True):
    """`blocked_ms` is 0 while its event loop answers; `handlers` are what it runs, longest first."""

    pid: int
    generation: int
    steps: int
    started_at: int
    blocked_ms: int = 0
    handlers: tuple[str, ...] = ()


class Listener(Protocol):
    """Who hears of steps. Calls come on the loop, never from within a call to the supervisor."""

    def heard(
        self, message: channel.Op | channel.StepDone | channel.StepRaised | channel.StepStuck | channel.Logs
    ) -> None:
        """Something a handler said."""

    def timed_out(self, token: int, timeout_ms: int) -> None:
        """The step has had its time. It still runs; abandon it."""

    def lost(self, tokens: list[int], reason: str, crash: bool) -> None:
        """These executions ended with their worker. `crash`: one of them may be what ended it."""

    def catalog_changed(self, catalog: Catalog) -> None:
        """New steps run on this catalog from now on."""


class Runner(Protocol):
    """What runs steps: a worker process, or handlers in this process (tests). `steps` are the tokens it has."""

    steps: set[int]

    @property
    def pid(self) -> int: ...

    def send(self, message: channel.ToWorker) -> None: ...

    def kill(self, why: str) -> None: ...


class Workers(Protocol):
    """What the engine needs of the workers."""

    @property
    def catalog(self) -> Catalog: ...

    @property
    def queued(self) -> int: ...

    def listen(self, listener: Listener) -> None: ...

    def workers(self) -> list[WorkerInfo]: ...

    def run(self, order: StepOrder) -> None: ...

    def answer(self, message: channel.OpDone) -> None: ...

    def cancel(self, token: int) -> None: ...

    def abandon(self, token: int) -> None: ...

    async def check(
        self, workflow_type: str, kind: str, handler: str, payload: bytes, text: dict[str, str]
    ) -> bytes: ...

    async def query(self, run: RunInfo, name: str, kwargs: bytes, store: dict[str, bytes]) -> bytes: ...


class _Execution:
    __slots__ = ("abandoned", "begun_at", "kill_timer", "order", "timer", "worker")

    def __init__(self, order: StepOrder, worker: Runner, begun_at: int) -> None:
        self.order = order
        self.begun_at = begun_at
        self.worker = worker
        self.timer: TimerHandle | None = None
        self.kill_timer: TimerHandle | None = None
        self.abandoned = False

    def stop_timers(self) -> None:
        for timer in (self.timer, self.kill_timer):
            if timer is not None:
                timer.cancel()


class Steps:
    """Shares steps out among the workers that `taking` lists, the least busy first.

    A queued step has no worker yet, and is lost by nobody's death.
    """

    def __init__(self, clock: Clock, taking: Callable[[], Sequence[Runner]]) -> None:
        self._clock = clock
        self._taking = taking
        self._listener: Listener | None = None
        self._running: dict[int, _Execution] = {}
        self._queue: deque[StepOrder] = deque()
        self._suspects: deque[StepOrder] = deque()
        self._reserved: Runner | None = None
        self._lapse: TimerHandle | None = None
        self._paused = False
        self._idle = asyncio.Event()

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    @property
    def queued(self) -> int:
        return len(self._queue) + len(self._suspects)

    def run(self, order: StepOrder) -> None:
        """Give the step to a worker, now or when one has room."""
        (self._suspects if order.alone else self._queue).append(order)
        if order.alone or len(self._queue) == 1:
            self.share_out()

    def share_out(self) -> None:
        """Give queued steps to workers as far as there is room."""
        if self._paused:
            return
        self._share_alone()
        self._share_queue()

    def _share_queue(self) -> None:
        while self._queue:
            worker = self._least_busy(but=self._reserved)
            if worker is None:
                return
            self._give(self._queue.popleft(), worker)

    def _share_alone(self) -> None:
        """Suspects, one after the other, in a worker that is kept free of anything else as long as there are any."""
        if self._reserved is not None and self._reserved not in self._taking():
            self._reserve(None)
        if not self._suspects:
            if self._reserved is not None and not self._reserved.steps:
                self._reserve(None)
            return
        if self._reserved is None:
            self._reserve(self._least_busy())
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
        if worker is not None and self._suspects and worker in self._taking():
            self._give(self._suspects.popleft(), worker)
        # Before another suspect takes a worker from them.
        self._share_queue()
        self._share_alone()

    def _least_busy(self, but: Runner | None = None) -> Runner | None:
        free = [worker for worker in self._taking() if worker is not but and len(worker.steps) < STEPS_PER_WORKER]
        return min(free, key=lambda worker: len(worker.steps), default=None)

    def _give(self, order: StepOrder, worker: Runner) -> None:
        execution = self._running[order.token] = _Execution(order, worker, self._clock.now_ms())
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
        for order in (*self._queue, *self._suspects):
            if order.token == token:
                order.message.cancel = True

    def abandon(self, token: int) -> None:
        """Nobody wants this step any more. A handler that has not let go after `GRACE_MS` costs its worker."""
        execution = self._running.get(token)
        if execution is None:
            self._queue = deque(order for order in self._queue if order.token != token)
            self._suspects = deque(order for order in self._suspects if order.token != token)
            return
        if execution.abandoned:
            return
        execution.abandoned = True
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
        elif self._finish(message.token) and not isinstance(message, channel.StepGone):
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
        self._queue.clear()
        self._suspects.clear()
        self._reserve(None)
