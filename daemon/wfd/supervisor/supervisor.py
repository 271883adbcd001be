"""The workers and the generations of the user's code they have loaded: who serves, who is on trial, who leaves."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import msgspec

from wfctl.errors import StorageError, WfctlError, from_data
from wfctl.protocol import channel
from wfd.config import Config
from wfd.runtime.clock import Clock
from wfd.supervisor.catalog import Catalog
from wfd.supervisor.steps import Listener, Steps, WorkerInfo
from wfd.supervisor.worker import Worker

log = logging.getLogger("wfd.supervisor")

# An import that takes longer is taken for one that never ends.
LOAD_MS = 30_000
# The daemon accepts without a catalog rather than let `wfctl up` wait for an import that may never end.
START_MS = 10_000
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
        self._checks: dict[int, tuple[Worker, asyncio.Future[bytes]]] = {}
        self._next_check = 1
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
        config = self._config
        load = channel.Load(str(config.project), list(config.modules), [str(p) for p in config.path], generation)
        worker = Worker(config, load, self._received, self._ended)
        try:
            await worker.start()
        except OSError as error:
            python = config.python or "python"
            log.error("cannot start a worker with %s: %s", python, error)
            self._nothing_loaded(f"cannot start a worker with {python}: {error.strerror}", "check [workflows] python")
            self._respawn(generation)
            return
        worker.started_at = self._clock.now_ms()
        self._clock.call_later(LOAD_MS, partial(self._slow, worker))
        self._workers.append(worker)

    def _respawn(self, generation: int) -> None:
        """Put another worker in the place of one that ended, unless its generation is leaving anyway."""
        if not self._stopping and generation == max(self.catalog.generation, 1):
            self._later(self._spawn(RESPAWN_MS[min(self._failures, len(RESPAWN_MS) - 1)], generation))
            self._failures += 1

    def _ended(self, worker: Worker, why: str) -> None:
        if worker in self._workers:
            self._workers.remove(worker)
        for call, (asked, future) in list(self._checks.items()):
            if asked is worker:
                del self._checks[call]
                if not future.done():
                    future.set_exception(WfctlError(f"the worker that checked the arguments ended: {why}"))
        if self._stopping:
            return
        lost = self._steps.lose(worker, f"its worker ended: {why}", crash=not worker.killed_for)
        last = f" ({worker.last_words[-1]})" if worker.last_words and not worker.killed_for else ""
        if not worker.leaving:
            log.warning("worker %d ended: %s%s; %d steps are begun again", worker.pid, why, last, lost)
        if not worker.ready and not worker.leaving:
            problem = f"the worker ended before it had loaded anything: {why}{last}"
            if worker.generation == self._candidate:
                self._give_up((channel.Problem("workers", problem, hint=_remedy(worker)),))
            else:
                self._nothing_loaded(problem, _remedy(worker))
        if not worker.leaving:
            self._respawn(worker.generation)

    def _taking(self) -> list[Worker]:
        """The workers that take new steps."""
        return [worker for worker in self._workers if worker.ready and not worker.leaving]

    def _slow(self, worker: Worker) -> None:
        if not worker.ready and not worker.leaving:
            worker.kill(f"importing the modules took longer than {LOAD_MS // 1_000} s")

    def _nothing_loaded(self, message: str, hint: str) -> None:
        """Say what is wrong, unless a generation serves already: then only `wfctl status` has something to tell."""
        problem = channel.Problem("workers", message, hint=hint)
        self.catalog = msgspec.structs.replace(self.catalog, problems=(problem,), loaded_at=self._clock.now_ms())
        if self._first is not None and not self._first.done():
            self._first.set_result(None)

    # -- what workers say --------------------------------------------------------------------

    def _received(self, worker: Worker, message: Any) -> None:
        match message:
            case channel.Checked():
                self._checked(message)
            case channel.Loaded():
                self._loaded(worker, message)
            case channel.Pong():
                pass
            case _:
                self._steps.heard(worker, message)

    def _loaded(self, worker: Worker, loaded: channel.Loaded) -> None:
        serving = self.catalog
        if worker.leaving:
            return
        if worker.generation == self._candidate and loaded.problems:
            self._give_up(tuple(loaded.problems))
            return
        if serving.types and worker.generation == serving.generation and loaded.source_hash != serving.source_hash:
            # Files changed since this generation began: its place is taken by a whole new one, or by nothing.
            self._dismiss(worker)
            self.reload()
            return
        worker.ready = True
        self._failures = 0
        if worker.generation == self._candidate or not serving.types:
            self._serve(Catalog.of(loaded, worker.generation, self._clock.now_ms()))
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        self._steps.share_out()

    def _serve(self, catalog: Catalog) -> None:
        """From now on new steps go to this generation; workers of an earlier one finish what they have, and leave."""
        self.catalog = catalog
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

    # -- checks ------------------------------------------------------------------------------

    async def check(self, workflow_type: str, kind: str, handler: str, payload: bytes, text: dict[str, str]) -> bytes:
        """Keyword arguments (JSON) for a handler from what was sent, checked by a worker with the user's own types."""
        ready = self._taking()
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
        return self._steps.queued

    def workers(self) -> list[WorkerInfo]:
        return [WorkerInfo(w.pid, w.generation, len(w.steps), w.started_at) for w in self._workers]


def _remedy(worker: Worker) -> str:
    if any("No module named" in line and ("wfd" in line or "wfctl" in line) for line in worker.last_words):
        return "install wfctl for the interpreter that [workflows] python names: pip install wfctl"
    return "wfctl logs"
