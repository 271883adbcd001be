"""The workers and the generations of the user's code they have loaded: who serves, who is on trial, who leaves.

New code is on trial in one worker, which imports it from disk. What loads without a problem takes over (`takeover`), and the
other workers of that generation are given the very text that the first has read, as are those that later take the place of
one that died: a generation is the same code as long as it serves, whatever becomes of the files.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec

from wfctl.errors import ConfigError, reason
from wfctl.protocol import channel
from wfctl.values.causes import out_of_files
from wfd.config import Config
from wfd.runtime.clock import Clock
from wfd.supervisor.catalog import Catalog, Generation
from wfd.supervisor.contract import Listener, Shortage, WorkerInfo
from wfd.supervisor.heartbeat import Heartbeat
from wfd.supervisor.leaving import Leaving
from wfd.supervisor.patience import Patience
from wfd.supervisor.questions import Questions
from wfd.supervisor.respondent import Aside
from wfd.supervisor.shortage import shortages
from wfd.supervisor.spare import Spare
from wfd.supervisor.steps import Steps
from wfd.supervisor.takeover import Fate, Takeover, take_over
from wfd.supervisor.trial import GenerationCode, Retries, Trial, config_problems, turn_away, with_limits
from wfd.supervisor.trials import Trials
from wfd.supervisor.worker import Worker

log = logging.getLogger("wfd.supervisor")

# The daemon accepts without a catalog rather than let `wfctl up` wait for an import that may never end.
START_MS = 10_000
RESPAWN_MS = (0, 100, 500, 2_000, 10_000)
_CHECK_PYTHON = "check [workflows] python"


class Supervisor:
    """Keeps `config.workers` processes of each serving generation alive and shares steps out among them, the least busy first.

    `start` returns when the first generation has said what it offers (or that nothing can be loaded); `stop` ends every
    process it started. A step that is queued has no worker yet and is lost by nobody's death.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._listener: Listener | None = None
        self.catalog = Catalog()
        # Absolute: what the code that serves is made of, and what was tried the last time.
        self.files: frozenset[str] = frozenset()
        self._workers: list[Worker] = []
        self._steps = Steps(clock, self._taking, takes=self._takes, others=self._told)
        self._steps.limit(config.limits)
        self._leaving, self._aside = Leaving(clock, self._workers, self._steps), Aside(clock, self._code_of)
        self._questions = Questions(partial(self._taking, blocked=True), self._aside.questions, self._steps.at_work)
        self._heartbeat = Heartbeat(clock, self._workers, self._steps, self._questions.blocked)
        # What the engine says goes straight to who does it.
        self.run, self.answer, self.op_waits = self._steps.run, self._steps.answer, self._steps.op_waits
        self.cancel, self.abandon = self._steps.cancel, self._steps.abandon
        self.drain, self.demand = self._steps.drain, self._steps.demand
        self.lined_up, self.lines, self.silent = self._steps.lined_up, self._steps.lines, self._steps.silent
        self.waits_for_turn, self.waits_for_worker = self._steps.waits_for_turn, self._steps.waits_for_worker
        self.check, self.query = self._questions.check, self._questions.query
        self._spare = Spare(clock, lambda config: Worker(config, self._received, self._ended))
        self._retries, self._trials = Retries(clock), Trials(clock)
        self._patience = Patience(clock, self._late)
        self._codes: dict[int, GenerationCode] = {}
        self._wrong: ConfigError | None = None
        self._started: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping, self._hears, self._unstarted, self._failures = False, True, "", 0

    # -- life --------------------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        self._listener = listener
        self._steps.listen(listener)

    def hear(self, on: bool) -> None:
        self._hears = on
        for worker in [one for one in self._workers if one.ready]:  # others have to say first what they offer
            worker.hear(on)

    async def start(self, wait_ms: int = START_MS) -> None:
        """Load the first generation and wait for its catalog; after `wait_ms` go on without, and say so as a problem."""
        self._started = asyncio.get_running_loop().create_future()
        self._begin_trial()
        self._heartbeat.beat()
        try:
            await asyncio.wait_for(asyncio.shield(self._started), wait_ms / 1_000)
        except TimeoutError:
            if (trial := self._trials.now) is not None:
                problems = (*trial.problems, trial.late(wait_ms))
                self.catalog = msgspec.structs.replace(self.catalog, problems=problems)

    async def stop(self) -> None:
        """End every worker, at once for those that still run something. What runs is begun again by the next daemon."""
        self._stopping = True
        self._heartbeat.stop()
        self._questions.close()
        turn_away([*self._trials.asking, *self._trials.asked])
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(self._spare.stop(), self._aside.stop())
        await self._leaving.end_all("the daemon stopped")
        self._steps.clear()

    # -- new code ----------------------------------------------------------------------------

    def reload(
        self, config: Config | None = None, wrong: ConfigError | None = None, saved: frozenset[str] | None = None
    ) -> asyncio.Future[Takeover]:
        """Load the code as it is now (with `config`, if that has changed too); what loads without a problem takes over.

        What a generation runs it finishes. The future tells what came of it; asked while a load is under way, of the next.
        What is `wrong` with the configuration is told with what is wrong with the code. With `saved`, the files that have come
        to be other ones, code that turns out to be the same as before is not taken over.
        """
        self._config = config or self._config
        self._steps.limit(self._config.limits)
        self._wrong = wrong
        asked: asyncio.Future[Takeover] = self._trials.ask(saved)
        if self._stopping:
            turn_away(self._trials.asking)
        elif self._trials.may_begin():
            self._begin_trial()
        return asked

    @property
    def loading_ms(self) -> int:
        return self._trials.loading_ms

    def _begin_trial(self) -> None:
        problems = () if self._wrong is None else config_problems(self._wrong)
        trial = self._trials.begin(self._config, problems)
        self._later(self._spawn(0, trial.number, trial.code()))
        self._set_apart(trial, self._trials.slow(trial))

    def _set_apart(self, trial: Trial, modules: Mapping[str, str]) -> None:
        """Do not have the others wait for `modules`."""
        if (newest := self._trials.set_apart(trial, modules)) is not None:
            self._later(self._spawn(0, newest.number, newest.code()))

    def _tried(self, trial: Trial, loaded: channel.Loaded) -> None:
        """The code on trial has said what it offers: what is sound of it takes over."""
        worker = trial.worker
        assert worker is not None
        self._trials.loaded(trial)
        worker.generation = trial.number
        fresh = Generation.of(loaded, trial.number, self._clock.now_ms())
        problems = (*trial.problems, *loaded.problems)
        same = trial.same(fresh, self.catalog.newest, self._codes)
        takeover = take_over(self.catalog, same or fresh, problems, trial.config.modules)
        self.catalog = with_limits(takeover.catalog, trial.config)
        self.files = frozenset(loaded.files).union(trial.lost, *(one.files for one in self.catalog.serving.values()))
        takeover.tell(len(trial.problems))
        serving = self.catalog.serving
        self._leaving.give_way(trial, serving, [one for one in self._workers if self._trials.of(one) is None])
        self._codes = {number: code for number, code in self._codes.items() if number in serving}
        if trial.number in serving:
            code = self._codes[trial.number] = trial.code(loaded.code)
            self._serves(worker, loaded)
            for _ in range(trial.config.workers - 1):
                self._later(self._spawn(0, trial.number, code))
        elif same is None:
            self._trials.saved = None
        self._try_again(trial)
        self._finish_trial(trial, takeover.fates)

    def _try_again(self, trial: Trial) -> None:
        if not self._trials.under_way:
            self._retries.after(bool(trial.given_up), self._trials.number, self._again)

    def _again(self, number: int) -> None:
        if self._trials.number == number and not self._trials.under_way and not self._stopping:
            self.reload(wrong=self._wrong, saved=frozenset())

    def _failed(self, trial: Trial, message: str, hint: str) -> None:
        """The code on trial has not even said what is wrong with it."""
        if trial is not self._trials.now:
            self.catalog = self._trials.fail(trial, message, hint, self.catalog)
            self._over(trial)
            return
        self._trials.saved = None
        problems = (*trial.problems, channel.Problem("workers", message, hint=hint))
        self.catalog = msgspec.structs.replace(self.catalog, problems=problems)
        if self.catalog.owners:
            log.error("%s; the code loaded before stays in use (%s)", message, hint)
            self._trials.now = None
            self._finish_trial(trial, dict.fromkeys(self.catalog.owners, Fate.KEPT))
            return
        log.error("%s (%s)", message, hint)
        self._tell(trial, {})
        if self._trials.asking:
            self._trials.now = None
            self._begin_trial()
        else:
            # Nothing serves: perhaps it goes better next time.
            self._later(self._spawn(self._delay_ms(), trial.number, trial.code()))

    def _finish_trial(self, trial: Trial, fates: dict[str, Fate]) -> None:
        self._tell(trial, self._trials.became(fates))
        if self._trials.asking and not self._stopping:
            self._begin_trial()

    def _goes_on(self, trial: Trial) -> bool:
        """Whether the trial, which has given up a module, is still of use."""
        if trial is self._trials.now:
            return True
        self.catalog = self._trials.blame(trial.problems[-1], self.catalog)
        if not trial.waits_for:
            self._over(trial)
        return bool(trial.waits_for)

    def _over(self, trial: Trial) -> None:
        """What was set apart is given up; the newest has gone without it."""
        self._trials.over(trial)
        self._try_again(trial)
        self._tell(trial, self._trials.fates)

    def _tell(self, trial: Trial, fates: dict[str, Fate]) -> None:
        if self._listener is not None:
            self._listener.catalog_changed(self.catalog)
        for asked in trial.asked:
            if not asked.done():
                asked.set_result(Takeover(self.catalog, fates))
        trial.asked.clear()
        if self._started is not None and not self._started.done():
            self._started.set_result(None)

    # -- processes ---------------------------------------------------------------------------

    def _later(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _spawn(self, delay_ms: int, generation: int, code: GenerationCode) -> None:
        if delay_ms:
            await asyncio.sleep(delay_ms / 1_000)
        if not self._wanted(generation):
            return
        config = code.config
        spare = self._spare.take(config)
        worker = spare or Worker(config, self._received, self._ended)
        if (trial := self._trials.numbered(generation)) is not None:
            trial.worker = worker
        try:
            if spare is None:
                await worker.start()
                worker.started_at = self._clock.now_ms()
        except OSError as error:
            python = config.python or "python"
            log.error("cannot start a worker with %s: %s", python, reason(error))
            if trial is not None and self._trials.of(worker) is trial:
                trial.worker = None
                hint = (full.hint if (full := out_of_files(error)) else None) or _CHECK_PYTHON
                self._failed(trial, f"cannot start a worker with {python}: {error.strerror or reason(error)}", hint)
            else:
                self._respawn(generation, f"none can be started with {python}: {error.strerror or reason(error)}")
            return
        self._workers.append(worker)
        worker.load(code.load(generation))
        self._spare.want(self._config)
        if not self._wanted(generation):  # another one overtook it while the process was started
            self._leaving.dismiss(worker)
            return
        self._patience.begin(worker)

    def _wanted(self, generation: int) -> bool:
        """Whether workers of this generation serve, or are to serve."""
        return not self._stopping and (generation in self._codes or self._trials.numbered(generation) is not None)

    def _respawn(self, generation: int, unstarted: str = "") -> None:
        """Put another worker in the place of one that ended, unless its generation is leaving anyway."""
        self._unstarted = unstarted or self._unstarted
        if not self._stopping and (code := self._codes.get(generation)) is not None:
            self._later(self._spawn(self._delay_ms(), generation, code))

    def _delay_ms(self) -> int:
        self._failures += 1
        return RESPAWN_MS[min(self._failures, len(RESPAWN_MS)) - 1]

    def _ended(self, worker: Worker, why: str) -> None:
        if self._spare.lost(worker):
            # The next worker that is started asks for another: an interpreter that cannot run one is not tried for ever.
            return
        if worker in self._workers:
            self._workers.remove(worker)
        self._questions.lose(worker)
        if self._stopping:
            return
        said = f"; it last said: {' | '.join(worker.last_words[-3:])}" if worker.last_words else ""
        lost = self._steps.lose(worker, f"its worker ended: {why}{said}", crash=not worker.killed_for)
        if worker.leaving:
            return
        last = f" ({worker.last_words[-1]})" if worker.last_words and not worker.killed_for else ""
        log.warning("worker %d ended: %s%s; %d steps are begun again", worker.pid, why, last, lost)
        if (trial := self._trials.of(worker)) is None:
            self._respawn(worker.generation, "" if worker.ready else f"the last to be started ended: {why}{last}")
            return
        trial.worker = None
        again = trial.again(why)
        if not again and not trial.give_up(worker, why):
            self._failed(trial, worker.unloaded(why), worker.remedy)
        elif again or self._goes_on(trial):
            self._later(self._spawn(0, trial.number, trial.code()))

    def _taking(self, workflow_type: str, blocked: bool = False) -> list[Worker]:
        """The workers that take new steps of a type: those that answer, or with `blocked` all where none does."""
        number, found = self.catalog.number_of(workflow_type), []
        for one in self._workers:
            if one.generation == number and one.ready and not one.leaving and (one.blocked_at is None or blocked):
                found.append(one)  # noqa: PERF401 - asked for nearly each step, of two or so
        return [one for one in found if one.blocked_at is None] or found if blocked else found

    def _takes(self, worker: Worker, workflow_type: str) -> bool:
        serves = worker in self._workers and worker.generation == self.catalog.number_of(workflow_type)
        return serves and worker.ready and not worker.leaving and worker.blocked_at is None

    def _code_of(self, workflow_type: str) -> tuple[int, GenerationCode | None]:
        return (number := self.catalog.number_of(workflow_type)), self._codes.get(number)

    def _late(self, worker: Worker) -> None:
        trial = self._trials.now
        if trial is not None and trial.worker is worker and worker.importing is not None:
            self._set_apart(trial, {worker.importing.module: worker.importing.file})

    # -- what workers say --------------------------------------------------------------------

    def _received(self, worker: Worker, messages: list[Any]) -> None:
        self._steps.heard(worker, messages, self._clock.now_ms())

    def _told(self, worker: Worker, message: Any, now: int) -> None:
        match message:
            case channel.Checked(call, value, error) | channel.Answered(call, value, error):
                self._questions.answered(call, value, error)
            case channel.Importing():
                worker.imports(message, now)
            case channel.Loaded():
                self._loaded(worker, message)
            case channel.Pong():
                self._heartbeat.alive(worker, message)
                # It may have been blocked, or full.
                self._steps.share_out()

    def _loaded(self, worker: Worker, loaded: channel.Loaded) -> None:
        if worker.leaving:
            return
        if (trial := self._trials.of(worker)) is not None:
            self._tried(trial, loaded)
            return
        owned = {name for name, owner in self.catalog.owners.items() if owner.number == worker.generation}
        if owned <= {spec.workflow_type for spec in loaded.types}:
            self._serves(worker, loaded)
        else:
            # The same code, but this time an import failed: another try may have more luck.
            worker.kill("; ".join(f"{one.module}: {one.message}" for one in loaded.problems) or "it loaded less")

    def _serves(self, worker: Worker, loaded: channel.Loaded) -> None:
        worker.ready, worker.source = True, loaded.source_hash
        worker.hear(self._hears)
        self._failures, self._unstarted = 0, ""
        self._questions.ready()
        self._steps.share_out()

    # -- what status shows -------------------------------------------------------------------

    @property
    def queued(self) -> int:
        return self._steps.queued

    @property
    def oldest_queued_at(self) -> int | None:
        return self._steps.oldest_queued_at

    def shortages(self) -> dict[str, Shortage]:
        return shortages(self._steps, partial(self._taking, blocked=True), self._unstarted)

    def workers(self) -> list[WorkerInfo]:
        now, steps, trials = self._clock.now_ms(), self._steps, self._trials
        return [one.info(now, trials.generation_of(one), steps.at_work(one, one.pong.by)) for one in self._workers]
