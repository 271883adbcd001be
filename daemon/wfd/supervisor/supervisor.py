"""The workers and the generations of the user's code they have loaded: who serves, who is on trial, who leaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from wfctl.errors import ErrorData, WfctlError, from_data
from wfctl.protocol import channel
from wfctl.values.runinfo import RunInfo
from wfctl.values.times import format_duration
from wfd.config import Config
from wfd.runtime.clock import Clock, TimerHandle
from wfd.supervisor.catalog import Catalog
from wfd.supervisor.steps import Listener, Steps, WorkerInfo
from wfd.supervisor.worker import Worker

log = logging.getLogger("wfd.supervisor")

# An import that takes longer is taken for one that never ends.
LOAD_MS = 30_000
# The daemon accepts without a catalog rather than let `wfctl up` wait for an import that may never end.
START_MS = 10_000
# How often workers are asked whether their loop turns, and when one that does not answer is taken for blocked.
BEAT_MS = 1_000
BLOCKED_MS = 2_000
ANSWER_S = 30.0
_CHECK_PYTHON = "check [workflows] python"
RESPAWN_MS = (0, 100, 500, 2_000, 10_000)


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
        self._steps = Steps(clock, self._taking)
        # What the engine says of steps goes straight to where they are.
        self.run = self._steps.run
        self.answer = self._steps.answer
        self.cancel = self._steps.cancel
        self.abandon = self._steps.abandon
        self.drain = self._steps.drain
        self._asked: dict[int, tuple[Worker, asyncio.Future[bytes]]] = {}
        self._next_call = 1
        self._heartbeat: TimerHandle | None = None
        self._generation = 0
        # The generation that is being imported beside the one that serves, and whether files changed meanwhile.
        self._candidate: int | None = None
        self._again = False
        self._first: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failures = 0
        self._stopping = False

    # -- life --------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        self._listener = listener
        self._steps.listen(listener)

    async def start(self, wait_ms: int = START_MS) -> None:
        """Spawn generation 1 and wait for its catalog; after `wait_ms` go on without, and say so as a problem."""
        self._generation += 1
        self._first = asyncio.get_running_loop().create_future()
        self._spawn_all(self._generation)
        self._beat()
        try:
            await asyncio.wait_for(asyncio.shield(self._first), wait_ms / 1_000)
        except TimeoutError:
            self._nothing_loaded(f"importing the modules takes longer than {wait_ms // 1_000} s", "")

    def reload(self) -> None:
        """Import the code as it is now beside the present generation, which serves until the new one has loaded cleanly.

        What a generation runs it finishes. Code that does not load changes nothing but `catalog.problems`.
        """
        if self._candidate is not None or (self._first is not None and not self._first.done()):
            self._again = True
            return
        self._generation += 1
        self._candidate = self._generation
        self._spawn_all(self._candidate)

    def _spawn_all(self, generation: int) -> None:
        for _ in range(self._config.workers):
            self._later(self._spawn(0, generation))

    async def stop(self) -> None:
        """End every worker, at once for those that still run something. What runs is begun again by the next daemon."""
        self._stopping = True
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
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
        self._steps.clear()

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _spawn(self, delay_ms: int, generation: int) -> None:
        if delay_ms:
            await asyncio.sleep(delay_ms / 1_000)
            if not self._wanted(generation):
                return
        config = self._config
        load = channel.Load(str(config.project), list(config.modules), [str(p) for p in config.path], generation)
        worker = Worker(config, load, self._received, self._ended)
        try:
            await worker.start()
        except OSError as error:
            python = config.python or "python"
            log.error("cannot start a worker with %s: %s", python, error)
            self._not_loaded(generation, f"cannot start a worker with {python}: {error.strerror}", _CHECK_PYTHON)
            self._respawn(generation)
            return
        worker.started_at = self._clock.now_ms()
        self._clock.call_later(LOAD_MS, partial(self._slow, worker))
        self._workers.append(worker)

    def _wanted(self, generation: int) -> bool:
        """Whether workers of this generation serve, or are to serve: a newer one may have overtaken it."""
        return generation in (self._candidate, max(self.catalog.generation, 1))

    def _respawn(self, generation: int) -> None:
        """Put another worker in the place of one that ended, unless its generation is leaving anyway."""
        if not self._stopping and generation == max(self.catalog.generation, 1):
            self._later(self._spawn(RESPAWN_MS[min(self._failures, len(RESPAWN_MS) - 1)], generation))
            self._failures += 1

    def _ended(self, worker: Worker, why: str) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
        for call, (asked, future) in list(self._asked.items()):
            if asked is worker:
                del self._asked[call]
                if not future.done():
                    future.set_exception(WfctlError(f"the worker that was asked ended: {why}", hint="try again"))
        if self._stopping:
            return
        said = f"; it last said: {' | '.join(worker.last_words[-3:])}" if worker.last_words else ""
        lost = self._steps.lose(worker, f"its worker ended: {why}{said}", crash=not worker.killed_for)
        last = f" ({worker.last_words[-1]})" if worker.last_words and not worker.killed_for else ""
        if not worker.leaving:
            log.warning("worker %d ended: %s%s; %d steps are begun again", worker.pid, why, last, lost)
        if not worker.ready and not worker.leaving:
            problem = f"the worker ended before it had loaded anything: {why}{last}"
            self._not_loaded(worker.generation, problem, _remedy(worker))
        if not worker.leaving:
            self._respawn(worker.generation)

    def _taking(self) -> list[Worker]:
        """The workers that take new steps: those that answer, or all where none does."""
        ready = [worker for worker in self._workers if worker.ready and not worker.leaving]
        return [worker for worker in ready if worker.blocked_at is None] or ready

    def _slow(self, worker: Worker) -> None:
        if not worker.ready and not worker.leaving:
            worker.kill(f"importing the modules took longer than {LOAD_MS // 1_000} s")

    def _not_loaded(self, generation: int, message: str, hint: str) -> None:
        if generation == self._candidate:
            self._give_up((channel.Problem("workers", message, hint=hint),))
        else:
            self._nothing_loaded(message, hint)

    def _nothing_loaded(self, message: str, hint: str) -> None:
        """Say what is wrong, unless a generation serves already: then only `wfctl status` has something to tell."""
        problem = channel.Problem("workers", message, hint=hint)
        self.catalog = msgspec.structs.replace(self.catalog, problems=(problem,), loaded_at=self._clock.now_ms())
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    # -- what workers say --------------------------------------------------------------------

    def _received(self, worker: Worker, message: Any) -> None:
        match message:
            case (
                channel.Checked(call=call, kwargs=value, error=error)
                | channel.Answered(call=call, value=value, error=error)
            ):
                self._answered(call, value, error)
            case channel.Loaded():
                self._loaded(worker, message)
            case channel.Pong():
                self._alive(worker)
            case _:
                self._steps.heard(worker, message)

    def _loaded(self, worker: Worker, loaded: channel.Loaded) -> None:
        if worker.leaving:
            return
        if not self._wanted(worker.generation):
            self._dismiss(worker)
            return
        if worker.generation == self._candidate and loaded.problems:
            self._give_up(tuple(loaded.problems))
            return
        serving = self.catalog
        joins = bool(serving.types) and worker.generation == serving.generation
        if joins and not self._fits(worker, loaded):
            return
        worker.ready = True
        self._failures = 0
        if joins:
            self.catalog = msgspec.structs.replace(serving, problems=tuple(loaded.problems))
        else:
            self._serve(Catalog.of(loaded, worker.generation, self._clock.now_ms()))
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        self._steps.share_out()

    def _fits(self, worker: Worker, loaded: channel.Loaded) -> bool:
        """Whether a worker that joins its generation has loaded what this serves. Deals with one that has not."""
        serving = self.catalog
        types = {spec.workflow_type for spec in loaded.types}
        if loaded.source_hash != serving.source_hash or types > serving.types.keys():
            # Files changed since this generation began: its place is taken by a whole new one, or by nothing.
            self._dismiss(worker)
            self.reload()
            return False
        if types != serving.types.keys():
            # The same code, but this time an import failed: another try may have more luck.
            worker.kill("; ".join(f"{one.module}: {one.message}" for one in loaded.problems) or "it loaded less")
            return False
        return True

    def _serve(self, catalog: Catalog) -> None:
        """From now on new steps go to this generation; workers of an earlier one finish what they have, and leave."""
        self.catalog = catalog
        if self._candidate == catalog.generation:
            self._candidate = None
        for problem in catalog.problems:
            log.error("%s: %s (%s)", problem.module, problem.message, problem.hint)
        for worker in self._workers:
            if worker.generation < catalog.generation:
                self._dismiss(worker)
        if self._listener is not None:
            self._listener.catalog_changed(catalog)
        self._once_more()

    def _give_up(self, problems: tuple[channel.Problem, ...]) -> None:
        """The new code does not load: the old goes on, and what is wrong is told."""
        for problem in problems:
            log.error("%s: %s; the code loaded before stays in use (%s)", problem.module, problem.message, problem.hint)
        for worker in self._workers:
            if worker.generation == self._candidate:
                worker.leaving = True
                worker.kill("its code did not load")
        self._candidate = None
        self.catalog = msgspec.structs.replace(self.catalog, problems=problems)
        self._once_more()

    def _once_more(self) -> None:
        if self._again and not self._stopping:
            self._again = False
            self.reload()

    def _dismiss(self, worker: Worker) -> None:
        worker.leaving = True
        worker.send(channel.Stop())

    # -- questions ---------------------------------------------------------------------------

    async def check(self, workflow_type: str, kind: str, handler: str, payload: bytes, text: dict[str, str]) -> bytes:
        """Keyword arguments (JSON) for a handler from what was sent, checked by a worker with the user's own types."""
        return await self._ask(lambda call: channel.Check(call, workflow_type, kind, handler, payload, text))

    async def query(self, run: RunInfo, name: str, kwargs: bytes, store: dict[str, bytes]) -> bytes:
        """What the run's query handler returns (JSON) for this store."""
        return await self._ask(lambda call: channel.Query(call, run, name, kwargs, store))

    async def _ask(self, question: Callable[[int], channel.ToWorker]) -> bytes:
        ready = self._taking()
        if not ready:
            raise WfctlError("no worker is ready to answer", hint="wfctl status")
        worker = min(ready, key=lambda candidate: (candidate.blocked_at is not None, len(candidate.steps)))
        call, self._next_call = self._next_call, self._next_call + 1
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[call] = (worker, future)
        worker.send(question(call))
        try:
            return await asyncio.wait_for(future, ANSWER_S)
        except TimeoutError:
            raise WfctlError(
                f"a worker did not answer within {ANSWER_S:g} s", hint="a handler blocks its loop: wfctl status"
            ) from None
        finally:
            self._asked.pop(call, None)

    def _answered(self, call: int, value: bytes, error: ErrorData | None) -> None:
        waiting = self._asked.get(call)
        if waiting is not None and not waiting[1].done():
            if error is not None:
                waiting[1].set_exception(from_data(error))
            else:
                waiting[1].set_result(value)

    # -- workers that do not answer ----------------------------------------------------------

    def _beat(self) -> None:
        """Ask every worker whether its loop still turns, and notice the ones that have not said so."""
        now = self._clock.now_ms()
        for worker in self._workers:
            if not worker.ready:
                continue
            if worker.pinged_at is None:
                worker.pinged_at = now
                worker.send(channel.Ping(0))
            elif worker.blocked_at is None and now - worker.pinged_at >= BLOCKED_MS:
                worker.blocked_at = worker.pinged_at
                what = "; ".join(self._steps.at_work(worker)) or "no step"
                log.warning("worker %d does not answer: a handler blocks its loop. It runs %s", worker.pid, what)
        self._heartbeat = self._clock.call_later(BEAT_MS, self._beat)

    def _alive(self, worker: Worker) -> None:
        if worker.blocked_at is not None:
            blocked = format_duration(self._clock.now_ms() - worker.blocked_at)
            log.warning("worker %d answers again, after %s", worker.pid, blocked)
            self._steps.share_out()
        worker.pinged_at = worker.blocked_at = None

    # -- what status shows -------------------------------------------------------------------

    @property
    def queued(self) -> int:
        return self._steps.queued

    def workers(self) -> list[WorkerInfo]:
        now = self._clock.now_ms()
        return [
            WorkerInfo(
                worker.pid, worker.generation, len(worker.steps), worker.started_at,
                0 if worker.blocked_at is None else max(now - worker.blocked_at, 1), self._steps.at_work(worker),
            )
            for worker in self._workers
        ]  # fmt: skip


def _remedy(worker: Worker) -> str:
    if any("No module named" in line and ("wfd" in line or "wfctl" in line) for line in worker.last_words):
        return "install wfctl for the interpreter that [workflows] python names: pip install wfctl"
    return "wfctl logs"
