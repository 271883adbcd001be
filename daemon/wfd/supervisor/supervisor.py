"""The workers of the current generation: who runs which step, who waits for one, who is told to let go."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from functools import partial
from typing import Any, Protocol

import msgspec

from wfctl.errors import StorageError, WfctlError, from_data
from wfctl.protocol import channel
from wfd.config import Config
from wfd.runtime.clock import Clock, TimerHandle
from wfd.supervisor.catalog import Catalog
from wfd.supervisor.worker import Worker

log = logging.getLogger("wfd.supervisor")

# Steps one worker has at a time. Enough that handlers that wait for something do not hold others up; bounded, so that
# a flood of starts queues here, in order, and not in a process that may die.
STEPS_PER_WORKER = 256
# From "let go" to SIGKILL.
GRACE_MS = 3_000
RESPAWN_MS = (0, 100, 500, 2_000, 10_000)


class StepOrder(msgspec.Struct):
    """One execution of one step. `timeout_ms` counts from when a worker gets it, not from when it queues."""

    token: int
    message: channel.RunStep
    timeout_ms: int | None = None


class WorkerInfo(msgspec.Struct, frozen=True):
    pid: int
    generation: int
    steps: int
    started_at: int


class Listener(Protocol):
    """Who hears of steps. Calls come on the loop, never from within a call to the supervisor."""

    def heard(
        self, message: channel.Op | channel.StepDone | channel.StepRaised | channel.StepStuck | channel.Logs
    ) -> None:
        """Something a handler said. Its token may be stale."""

    def timed_out(self, token: int, timeout_ms: int) -> None:
        """The step has had its time. It still runs; abandon it."""

    def lost(self, tokens: list[int], reason: str, crash: bool) -> None:
        """These executions ended with their worker. `crash`: one of them may be what ended it."""

    def catalog_changed(self, catalog: Catalog) -> None:
        """New steps run on this catalog from now on."""


class _Execution:
    __slots__ = ("abandoned", "kill_timer", "order", "timer", "worker")

    def __init__(self, order: StepOrder, worker: Worker) -> None:
        self.order = order
        self.worker = worker
        self.timer: TimerHandle | None = None
        self.kill_timer: TimerHandle | None = None
        self.abandoned = False

    def stop_timers(self) -> None:
        for timer in (self.timer, self.kill_timer):
            if timer is not None:
                timer.cancel()


class Supervisor:
    """Keeps `config.workers` processes alive and shares steps out among them, the least busy first.

    `start` returns when the first generation has said what it offers (or that nothing can be loaded); `stop` ends every
    process it started. A step that is queued has no worker yet and is lost by nobody's death.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._listener: Listener | None = None
        self.catalog = Catalog()
        self._workers: list[Worker] = []
        self._running: dict[int, _Execution] = {}
        self._queue: deque[StepOrder] = deque()
        self._checks: dict[int, tuple[Worker, asyncio.Future[bytes]]] = {}
        self._next_check = 1
        self._generation = 0
        self._first: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._stopping = False
        self._paused = False
        self._idle: asyncio.Event | None = None

    # -- life --------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    async def start(self, wait_ms: int = 30_000) -> None:
        """Spawn generation 1 and wait for its catalog; after `wait_ms` go on without, and say so as a problem."""
        self._generation += 1
        self._first = asyncio.get_running_loop().create_future()
        for _ in range(self._config.workers):
            self._later(self._spawn(0))
        try:
            await asyncio.wait_for(asyncio.shield(self._first), wait_ms / 1_000)
        except TimeoutError:
            self._nothing_loaded(f"importing the modules takes longer than {wait_ms // 1_000} s", "")

    async def drain(self, wait_ms: int) -> bool:
        """Begin no more steps; wait up to `wait_ms` for those that run. True when all have ended."""
        self._paused = True
        if not self._running:
            return True
        self._idle = asyncio.Event()
        try:
            await asyncio.wait_for(self._idle.wait(), wait_ms / 1_000)
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """End every worker, at once for those that still run something. What runs is begun again by the next daemon."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for execution in self._running.values():
            execution.stop_timers()
        workers = list(self._workers)
        for worker in workers:
            if worker.steps:
                worker.kill("the daemon stopped")
            else:
                worker.send(channel.Stop())
        for worker in workers:
            try:
                await asyncio.wait_for(worker.gone(), 2)
            except TimeoutError:
                worker.kill("the daemon stopped")
                await worker.gone()
        self._running.clear()
        self._queue.clear()

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _spawn(self, delay_ms: int) -> None:
        if delay_ms:
            await asyncio.sleep(delay_ms / 1_000)
        config = self._config
        load = channel.Load(str(config.project), list(config.modules), [str(p) for p in config.path], self._generation)
        worker = Worker(config, load, self._received, self._ended)
        try:
            await worker.start()
        except OSError as error:
            python = config.python or "python"
            log.error("cannot start a worker with %s: %s", python, error)
            self._nothing_loaded(f"cannot start a worker with {python}: {error.strerror}", "check [workflows] python")
            self._respawn()
            return
        worker.started_at = self._clock.now_ms()
        self._workers.append(worker)

    def _respawn(self) -> None:
        if not self._stopping:
            self._later(self._spawn(RESPAWN_MS[min(self._failures, len(RESPAWN_MS) - 1)]))
            self._failures += 1

    def _ended(self, worker: Worker, why: str) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
        for call, (asked, future) in list(self._checks.items()):
            if asked is worker:
                del self._checks[call]
                if not future.done():
                    future.set_exception(WfctlError(f"the worker that checked the arguments ended: {why}"))
        tokens = sorted(worker.steps)
        worker.steps.clear()
        abandoned = [token for token in tokens if self._running[token].abandoned]
        for token in tokens:
            self._running.pop(token).stop_timers()
        alive = [token for token in tokens if token not in abandoned]
        if self._stopping:
            return
        last = f" ({worker.last_words[-1]})" if worker.last_words and not worker.killed_for else ""
        log.warning("worker %d ended: %s%s; %d steps are begun again", worker.pid, why, last, len(alive))
        if not worker.ready:
            self._nothing_loaded(f"the worker ended before it had loaded anything: {why}{last}", _remedy(worker))
        if alive and self._listener is not None:
            self._listener.lost(alive, f"its worker ended: {why}", crash=not worker.killed_for)
        self._respawn()
        self._settled()

    def _nothing_loaded(self, message: str, hint: str) -> None:
        """Say what is wrong, unless a generation serves already: then only `wfctl status` has something to tell."""
        problem = channel.Problem("workers", message, hint=hint)
        self.catalog = msgspec.structs.replace(self.catalog, problems=(problem,), loaded_at=self._clock.now_ms())
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    # -- steps -------------------------------------------------------------------------------

    def run(self, order: StepOrder) -> None:
        """Give the step to a worker, now or when one has room."""
        self._queue.append(order)
        if len(self._queue) == 1:
            self._share_out()

    def _share_out(self) -> None:
        while self._queue and not self._paused:
            worker = self._free()
            if worker is None:
                return
            order = self._queue.popleft()
            execution = self._running[order.token] = _Execution(order, worker)
            worker.steps.add(order.token)
            worker.send(order.message)
            if order.timeout_ms is not None:
                execution.timer = self._clock.call_later(order.timeout_ms, partial(self._late, order.token))

    def _free(self) -> Worker | None:
        open_ones = [w for w in self._workers if w.ready and not w.leaving and len(w.steps) < STEPS_PER_WORKER]
        return min(open_ones, key=lambda worker: len(worker.steps), default=None)

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
        for order in self._queue:
            if order.token == token:
                order.message.cancel = True

    def abandon(self, token: int) -> None:
        """Nobody wants this step any more. A handler that has not let go after `GRACE_MS` costs its worker."""
        execution = self._running.get(token)
        if execution is None:
            self._queue = deque(order for order in self._queue if order.token != token)
            return
        if execution.abandoned:
            return
        execution.abandoned = True
        execution.stop_timers()
        execution.worker.send(channel.AbandonStep(token))
        execution.kill_timer = self._clock.call_later(GRACE_MS, lambda: self._no_grace(token))

    def _no_grace(self, token: int) -> None:
        execution = self._running.get(token)
        if execution is not None:
            what = f"handler {execution.order.message.handler!r} of {execution.order.message.run.workflow_id}"
            log.warning("worker %d is killed: %s did not let go", execution.worker.pid, what)
            execution.worker.kill(f"it was killed because {what} did not let go")

    def _finish(self, token: int) -> None:
        execution = self._running.pop(token, None)
        if execution is None:
            return
        execution.stop_timers()
        execution.worker.steps.discard(token)
        self._share_out()
        self._settled()

    def _settled(self) -> None:
        if self._idle is not None and not self._running:
            self._idle.set()

    # -- what workers say --------------------------------------------------------------------

    def _received(self, worker: Worker, message: Any) -> None:
        listener = self._listener
        assert listener is not None
        match message:
            case channel.Op() | channel.Logs():
                if message.token in worker.steps:
                    listener.heard(message)
            case channel.StepDone() | channel.StepRaised() | channel.StepStuck():
                if message.token in worker.steps:
                    wanted = not self._running[message.token].abandoned
                    self._finish(message.token)
                    if wanted:
                        listener.heard(message)
            case channel.StepGone(token=token):
                self._finish(token)
            case channel.Checked():
                self._checked(message)
            case channel.Loaded():
                self._loaded(worker, message)
            case channel.Pong():
                pass

    def _loaded(self, worker: Worker, loaded: channel.Loaded) -> None:
        worker.ready = True
        self._failures = 0
        if self.catalog.generation < worker.generation or not self.catalog.types:
            self.catalog = Catalog.of(loaded, worker.generation, self._clock.now_ms())
            for problem in loaded.problems:
                log.error("%s: %s (%s)", problem.module, problem.message, problem.hint)
            if self._listener is not None:
                self._listener.catalog_changed(self.catalog)
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        self._share_out()

    # -- checks ------------------------------------------------------------------------------

    async def check(self, workflow_type: str, kind: str, handler: str, payload: bytes, text: dict[str, str]) -> bytes:
        """Keyword arguments (JSON) for a handler from what was sent, checked by a worker with the user's own types."""
        ready = [worker for worker in self._workers if worker.ready]
        if not ready:
            raise StorageError("no worker is ready to check the arguments", hint="wfctl status")
        worker = min(ready, key=lambda candidate: len(candidate.steps))
        call, self._next_check = self._next_check, self._next_check + 1
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._checks[call] = (worker, future)
        worker.send(channel.Check(call, workflow_type, kind, handler, payload, text))
        try:
            return await asyncio.wait_for(future, 30)
        except TimeoutError:
            raise WfctlError(
                f"the check of the arguments for {workflow_type!r} took longer than 30 s",
                hint="a handler blocks its worker's loop: wfctl status",
            ) from None
        finally:
            self._checks.pop(call, None)

    def _checked(self, answer: channel.Checked) -> None:
        waiting = self._checks.get(answer.call)
        if waiting is not None and not waiting[1].done():
            if answer.error is not None:
                waiting[1].set_exception(from_data(answer.error))
            else:
                waiting[1].set_result(answer.kwargs)

    # -- what status shows -------------------------------------------------------------------

    @property
    def queued(self) -> int:
        return len(self._queue)

    def workers(self) -> list[WorkerInfo]:
        return [WorkerInfo(w.pid, w.generation, len(w.steps), w.started_at) for w in self._workers]


def _remedy(worker: Worker) -> str:
    if any("No module named" in line and ("wfd" in line or "wfctl" in line) for line in worker.last_words):
        return "install wfctl for the interpreter that [workflows] python names: pip install wfctl"
    return "wfctl logs"
