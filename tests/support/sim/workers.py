"""Simulated workers behind the real `Steps`: processes that are slow, die, speak after their death, and load other code."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from support.sim.clock import SimClock
from support.sim.execution import Execution
from support.sim.loop import Loop
from support.sim.plans import Planner
from wfctl.protocol import channel
from wfctl.values import runinfo
from wfctl.values.codec import decode
from wfctl.values.runinfo import RunInfo
from wfctl.values.signature import bind
from wfd.supervisor.catalog import Catalog
from wfd.supervisor.contract import Listener, Shortage, Spoken, StepOrder, Unanswered, WorkerInfo
from wfd.supervisor.steps import Steps


class Watcher(Protocol):
    """Who checks what passes between the engine and its workers."""

    def dispatched(self, message: channel.RunStep) -> int:
        """A step is handed out. Returns the number of this execution."""

    def answered(self, order: channel.RunStep, op: channel.Op, done: channel.OpDone) -> None: ...

    def task_runs(self, order: channel.RunStep, key: str) -> None: ...

    def queried(self, run: RunInfo, store: dict[str, bytes]) -> None: ...

    def said(self, token: int, message: channel.ToDaemon) -> None: ...


class Machine(Protocol):
    """What the workers of one daemon share with the world."""

    loop: Loop
    clock: SimClock
    chance: random.Random
    planner: Planner
    watcher: Watcher
    calm: bool
    catalog: Catalog
    limits: dict[str, int]
    frames: bool

    def message_us(self) -> int: ...

    def broken(self, what: str) -> None: ...


class Runner:
    """One worker process. Messages to it and from it keep their order; its death cuts them somewhere.

    `dying` is what the process knows of its end, `gone` what the daemon does. Between the two, steps are still handed to it;
    and one that is not quite `dead` goes on for a while after it was lost, and speaks.
    """

    def __init__(self, workers: SimWorkers, pid: int, generation: int) -> None:
        self._workers = workers
        self._m = workers.machine
        self.pid = pid
        self.generation = generation
        self.source = f"g{generation}"
        self.leaving = self.full = self.crowded = False
        self.held_at: int | None = None
        self.handed = 0
        self.dying = self.dead = self.gone = False
        self.steps: set[int] = set()
        self.executions: dict[int, Execution] = {}
        self.orders: dict[int, channel.RunStep] = {}
        self.asked: dict[tuple[int, int], channel.Op] = {}
        self._in_us = self._out_us = 0
        self._unheard: deque[Spoken] = deque()

    # -- the daemon's end ----------------------------------------------------------------------

    def send(self, message: channel.ToWorker) -> None:
        if isinstance(message, channel.RunStep):
            # The frame is packed in this turn; what the engine changes later is not in it.
            message = msgspec.structs.replace(message, store=dict(message.store))
            self.orders[message.token] = message
        self._in_us = max(self._in_us, self._m.loop.now_us + self._m.message_us())
        self._m.loop.at_us(self._in_us, self._receive, message)

    def kill(self, why: str) -> None:
        self._m.loop.after_us(self._m.message_us(), self.die, f"killed: {why}", False)

    def die(self, reason: str, crash: bool) -> None:
        """What it had said may still be heard, and what it had not, later."""
        if self.dying:
            return
        self.dying = True
        loop, chance = self._m.loop, self._m.chance
        if chance.random() < 0.3 and not self._m.calm:
            loop.after_us(500_000, self._stop)
            for execution in self.executions.values():
                self.after(chance.randrange(300_000), execution.hurry)
        else:
            self._stop()
        cut = chance.random() < 0.5
        if cut:
            unheard, self._unheard = self._unheard, deque()
            for message in unheard:
                loop.after_us(chance.randrange(300_000), self._workers.ghost, self, message)
        gone_us = max(0 if cut else self._out_us, loop.now_us + self._m.message_us())
        loop.at_us(gone_us, self._workers.ended, self, reason, crash)

    def _stop(self) -> None:
        self.dead = True

    def _hear(self) -> None:
        while self._unheard:  # its death has not cut it off
            self._workers.heard(self, self._unheard.popleft())
            if not self._m.frames:
                return

    # -- the process ---------------------------------------------------------------------------

    def _receive(self, message: channel.ToWorker) -> None:
        if self.dead:
            return
        if isinstance(message, channel.RunStep):
            self._run(message)
            return
        assert isinstance(message, channel.OpDone | channel.CancelStep | channel.AbandonStep)
        execution = self.executions.get(message.token)
        if isinstance(message, channel.OpDone):
            if execution is not None:
                execution.answered(message)
        elif isinstance(message, channel.CancelStep):
            if execution is not None:
                execution.cancel()
        elif execution is None:
            self.said(channel.StepGone(message.token))
        else:
            execution.abandon()

    def _run(self, order: channel.RunStep) -> None:
        plan = self._m.planner.plan(runinfo.decode(order.run), order.step, order.kind, order.handler)
        catalog = self._workers.loaded[self.generation]
        if catalog.step_handler(order.workflow_type, order.kind, order.handler) is None:
            self.said(channel.StepStuck(order.token, "the handler is not in this generation"))
            return
        plan.executions += 1
        execution = self.executions[order.token] = Execution(self, order, plan, self._workers.numbers[order.token])
        if plan.executions <= plan.poison and not (self._m.calm and plan.poison < 50):
            self.after(self._m.chance.choice((0, 1_000, 30_000)), partial(self._poisoned, execution))
        execution.begin()

    def _poisoned(self, execution: Execution) -> None:
        if not execution.over:
            self.die("signal SIGSEGV", True)

    def said(self, message: channel.ToDaemon) -> None:
        assert isinstance(message, Spoken)
        if isinstance(message, channel.Op):
            self.asked[message.token, message.op] = message
        self._workers.machine.watcher.said(message.token, message)
        self._out_us = max(self._out_us, self._m.loop.now_us + self._m.message_us())
        self._unheard.append(message)
        self._m.loop.at_us(self._out_us, self._hear)

    def after(self, delay_us: int, fn: Callable[[], None]) -> None:
        self._m.loop.after_us(delay_us, self._alive, fn)

    def _alive(self, fn: Callable[[], None]) -> None:
        if not self.dead:
            fn()

    def task_runs(self, token: int, key: str) -> None:
        if not self.dying:
            self._m.watcher.task_runs(self.orders[token], key)

    def ended(self, token: int) -> None:
        self.executions.pop(token, None)


class SimWorkers:
    """`wfd.supervisor.Workers` of one life of the daemon."""

    def __init__(self, machine: Machine, count: int) -> None:
        self.machine = machine
        self._count = count
        self._pids = 0
        self._steps = Steps(machine.clock, self._taking)
        self._steps.limit(machine.limits)
        self.demand = self._steps.demand
        self.lined_up, self.lines = self._steps.lined_up, self._steps.lines
        self.waits_for_turn = self._steps.waits_for_turn
        self.waits_for_worker, self.shortages = self._steps.waits_for_worker, dict[str, Shortage]
        self.op_waits = self._steps.op_waits
        self.cancel = self._steps.cancel
        self.abandon = self._steps.abandon
        self._listener: Listener | None = None
        self.catalog = machine.catalog
        self.loaded = {self.catalog.generation: self.catalog}
        self.runners: list[Runner] = []
        self.numbers: dict[int, int] = {}
        for _ in range(count):
            self._spawn()

    def _spawn(self) -> None:
        self._pids += 1
        self.runners.append(Runner(self, self._pids, self.catalog.generation))
        self._steps.share_out()

    def _taking(self, workflow_type: str) -> list[Runner]:
        return [runner for runner in self.runners if not runner.leaving and not runner.gone]

    # -- what the engine asks ------------------------------------------------------------------

    def listen(self, listener: Listener) -> None:
        self._listener = listener
        self._steps.listen(listener)

    def hear(self, on: bool) -> None:
        """What workers say is on its way for as long as it likes here anyway."""

    def run(self, order: StepOrder, now: int | None = None) -> None:
        self.numbers[order.token] = self.machine.watcher.dispatched(order.message)
        self._steps.run(order, now)

    def answer(self, message: channel.OpDone, now: int | None = None) -> None:
        if message.token not in self.numbers:
            self.machine.broken(f"{message} is for nobody")
        for runner in self.runners:
            if message.token in runner.steps:
                op = runner.asked.get((message.token, message.op))
                # To one that has been let go it says nothing: another execution may have got further meanwhile.
                if op is not None and not self._steps._running[message.token].abandoned:
                    self.machine.watcher.answered(runner.orders[message.token], op, message)
        self._steps.answer(message, now)

    async def check(self, workflow_type: str, kind: str, handler: str, payload: bytes, text: dict[str, str]) -> bytes:
        catalog = self.catalog
        await self.machine.loop.pause(self.machine.message_us())
        if self.machine.chance.random() < 0.02 and not self.machine.calm:
            raise Unanswered("the worker that was asked ended")
        spec = catalog.type_of(workflow_type).handler(kind, handler)
        assert spec is not None
        return msgspec.json.encode(bind(spec, decode(payload), "a payload", text=text))

    async def query(self, run: RunInfo, name: str, kwargs: bytes, store: dict[str, bytes]) -> bytes:
        self.machine.watcher.queried(run, store)
        await self.machine.loop.pause(self.machine.message_us())
        return msgspec.json.encode(sorted(store))

    @property
    def queued(self) -> int:
        return self._steps.queued

    @property
    def oldest_queued_at(self) -> int | None:
        return self._steps.oldest_queued_at

    def silent(self) -> int:
        return self._steps.silent()

    @property
    def loading_ms(self) -> int:
        return 0

    def workers(self) -> list[WorkerInfo]:
        return [WorkerInfo(r.pid, r.generation, len(r.steps), 0) for r in self.runners]

    # -- what processes do ---------------------------------------------------------------------

    def heard(self, runner: Runner, message: Spoken) -> None:
        chance = self.machine.chance
        if runner.gone:
            self.ghost(runner, message)
            return
        self._steps.heard(runner, [message], self.machine.clock.now_ms())
        if not isinstance(message, channel.StepGone) and chance.random() < 0.05 and not self.machine.calm:
            # The same once more, later.
            self.machine.loop.after_us(chance.choice((0, 1_000, 100_000)), self.ghost, runner, message)
        if runner.leaving and not runner.steps:
            runner.die("its generation has left", False)

    def ghost(self, runner: Runner, message: Spoken) -> None:
        """A message that comes once more, or of an execution that is over: nobody may act on it."""
        if isinstance(message, channel.StepGone | channel.Logs) or self._listener is None:
            return
        self._steps.heard(runner, [message], self.machine.clock.now_ms())
        self._listener.heard(message, self.machine.clock.now_ms())

    def ended(self, runner: Runner, reason: str, crash: bool) -> None:
        self.runners.remove(runner)
        runner.gone = True
        self._steps.lose(runner, f"its worker ended: {reason}", crash)
        if not runner.leaving:
            self.machine.loop.after_us(self.machine.message_us(), self._spawn)

    def lose_one(self) -> None:
        """Somebody kills a worker."""
        if self.runners:
            self.machine.chance.choice(self.runners).die("signal SIGKILL", True)

    def load(self, catalog: Catalog) -> None:
        """The next generation serves; what the present one runs it finishes."""
        self.catalog = catalog
        self.loaded[catalog.generation] = catalog
        for runner in self.runners:
            runner.leaving = True
            if not runner.steps:
                runner.die("its generation has left", False)
        for _ in range(self._count):
            self._spawn()
        if self._listener is not None:
            self._listener.catalog_changed(catalog)

    @property
    def at_work(self) -> dict[int, Execution]:
        """The executions by token."""
        return {token: execution for runner in self.runners for token, execution in runner.executions.items()}
