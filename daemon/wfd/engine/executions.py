"""Executions of steps at workers: begun, heard, timed out, lost. What they say becomes stimuli of their runs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

import msgspec

from wfctl.errors import StorageError
from wfctl.protocol import channel
from wfctl.protocol.channel import Op, RunStep, StepDone
from wfctl.values.signature import HandlerSpec
from wfd.core import stimuli as s
from wfd.core.state import EMPTY, OpResult, Run, Stepping
from wfd.engine import commits
from wfd.engine.batch import Batch
from wfd.engine.memory import NOTHING, Live, Memory
from wfd.engine.watch import Hub
from wfd.supervisor import Catalog, Demand, Handler, Heard, StepOrder, Workers

# Executions of one step that may take their worker with them before the run is stuck.
CRASH_LIMIT = 5
# Once is bad luck: most steps that lost a worker only shared it with the one that killed it.
ALONE_AFTER = 2


class Machine(Protocol):
    """What executions need of the engine."""

    workers: Workers
    memory: Memory
    failure: StorageError | None
    hub: Hub
    turn: list[Batch]

    def hand_over(self) -> None: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...
    async def again(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None: ...
    def stimulate(self, live: Live, stimulus: s.Stimulus, now: int | None = None) -> None: ...
    def logged(self, live: Live, lines: list[channel.LogLine], now: int) -> None: ...


class _Execution(StepOrder, gc=False, kw_only=True):
    """As workers are given it, with whose it is, which step and attempt it runs, and the last operation it asked for."""

    live: Live
    step: int
    attempt: int
    last_op: int = 0


class _Fitting(msgspec.Struct, frozen=True):
    """What the present code runs such a step with, and that as workers know it."""

    spec: HandlerSpec
    handler: Handler


class Executions:
    """`asked(live, step, attempt, op, now)` takes the operations that handlers ask for. `crash_limit` may change at any time."""

    def __init__(
        self, machine: Machine, asked: Callable[[Live, int, int, channel.Op, int], None], crash_limit: int
    ) -> None:
        self._m = machine
        self._workers, self._memory, self._parked = machine.workers, machine.memory, machine.memory.parked
        self.crash_limit = crash_limit
        self._asked = asked
        self._turn, self._reports = machine.turn, machine.hub.reports
        self._tokens: dict[int, _Execution] = {}
        self._next = 0
        self._unparking: set[tuple[str, bool]] = set()
        self._catalog: Catalog | None = None
        self._fitting: dict[tuple[str, str, str], _Fitting] = {}
        self._handlers: dict[tuple[str, str], Handler] = {}

    def begin(self, live: Live, cancel: bool, now: int | None = None) -> None:
        """Give the run's current step to a worker. Code that has no handler for it makes the run stuck.

        `cancel`: its cancellation is on disk. One that is still on its way there reaches the handler afterwards. `now`: as in
        `Workers.run`.
        """
        run = live.run
        phase = run.phase
        assert type(phase) is Stepping
        wanted = run.workflow_type, phase.kind, phase.handler
        if self._workers.catalog is not self._catalog or (fitting := self._fitting.get(wanted)) is None:
            fitting = self._handler(wanted)
            if fitting is None:
                reason = self._workers.catalog.missing(*wanted)
                self._m.stimulate(live, s.StepUnfit(phase.step, phase.attempt, reason))
                return
        if not cancel and (self._workers.lines or self._parked.lines) and self._parks(run, phase):
            return
        self._begin(live, phase, fitting, cancel, now)

    def _handler(self, wanted: tuple[str, str, str]) -> _Fitting | None:
        """What the present code runs such a step with: of this type and kind, with this name. Looked up once for each: a catalog
        never changes."""
        catalog = self._workers.catalog
        if catalog is not self._catalog:
            self._catalog = catalog
            self._fitting.clear()
        fitting = self._fitting.get(wanted)
        if fitting is None:
            spec = catalog.step_handler(*wanted)
            if spec is not None:
                named = wanted[0], spec.name
                handler = self._handlers.setdefault(named, Handler(*named))
                fitting = self._fitting[wanted] = _Fitting(spec, handler)
        return fitting

    def _parks(self, run: Run, phase: Stepping) -> bool:
        """Whether so many are before it that it does not even wait in memory: then it is parked."""
        parked, workflow_type = self._parked, run.workflow_type
        begins = phase.kind == "start" and phase.attempt == 1 and run.parent is None
        before = self._workers.lined_up(workflow_type, begins)
        if before < parked.most_queued and not parked.any_in(workflow_type, begins):
            return False
        parked.add(workflow_type, begins, run.run_id, run.key)
        return True

    def _begin(self, live: Live, phase: Stepping, fitting: _Fitting, cancel: bool, now: int | None = None) -> None:
        step, attempt, spec = phase.step, phase.attempt, fitting.spec
        logged = b""
        if live.logged:
            if attempt == 1:
                live.logged.clear()
            else:
                logged = bytes(live.logged)
        self._next = token = self._next + 1
        live.token, live.unheard = token, NOTHING
        if live.over:
            live.over = []
        info, told = live.told_at(attempt)
        given = live.run.given(phase)
        message = RunStep(
            token, info.workflow_type, told, phase.kind, spec.name,
            b"{}" if given is EMPTY else bytes(given), live.store,
            [recorded(op) for op in phase.ops.values()] if phase.ops else [],
            logged, cancel, step,
        )  # fmt: skip
        entry = self._tokens[token] = _Execution(
            token, message, info, fitting.handler, spec.timeout_ms, phase.crashes >= ALONE_AFTER,
            live=live, step=step, attempt=attempt,
        )  # fmt: skip
        self._workers.run(entry, now)

    # -- those that do not even wait in memory -------------------------------------------------

    def unpark(self, workflow_type: str) -> None:
        """Take in more of those that are parked, if there is room."""
        parked = self._parked
        if not parked.lines:
            return
        for begins in (False, True):
            line = workflow_type, begins
            if parked.any_in(*line) and line not in self._unparking and self._roomy(*line):
                self._unparking.add(line)
                self._m.spawn(self._m.again(partial(self._take_in, *line)))

    def _roomy(self, workflow_type: str, begins: bool) -> bool:
        return self._workers.lined_up(workflow_type, begins) <= self._parked.most_queued // 2

    async def _take_in(self, workflow_type: str, begins: bool) -> None:
        memory, workers = self._memory, self._workers
        self._unparking.add((workflow_type, begins))
        try:
            while workers.lined_up(workflow_type, begins) < self._parked.most_queued:
                first = self._parked.first(workflow_type, begins)
                if first is None:
                    return
                run_id, key = first
                live = await memory.reach(key)
                # While it was read it may have begun by its cancellation, or all may have been thrown away.
                if self._parked.remove(run_id) and live is not None:
                    self._begin_parked(live)
        finally:
            self._unparking.discard((workflow_type, begins))

    def _begin_parked(self, live: Live) -> None:
        run = live.run
        if not isinstance(run.phase, Stepping) or live.token is not None:
            self._memory.settle(live)
            return
        fitting = self._handler((run.workflow_type, run.phase.kind, run.phase.handler))
        if fitting is None:
            self.begin(live, False)  # which says what is missing
            return
        self._memory.busy(live)
        # Not cancelled as far as the disk knows: then it would not be here any more.
        self._begin(live, run.phase, fitting, cancel=False)

    def cancel(self, live: Live, now: int) -> None:
        """Raise CancelledError in the handler, if one runs."""
        if live.token is not None:
            self._workers.cancel(live.token)
        elif self._parked.remove(live.run.run_id) and isinstance(live.run.phase, Stepping):
            self.begin(live, True, now)  # else it has moved on already, by what is still on its way to the disk

    def abandon(self, live: Live) -> None:
        """The handler, if one runs, is no longer wanted."""
        if (token := live.token) is not None:
            self._over(token)
            live.token = None
            self._workers.abandon(token)
            self.unpark(live.run.workflow_type)
        else:
            self._parked.remove(live.run.run_id)

    def _over(self, token: int) -> _Execution | None:
        """The execution has ended for its run, however it did: what it said of its progress is no longer so."""
        entry = self._tokens.pop(token, None)
        if entry is not None:
            entry.live.token = None
            self._m.hub.over(entry.live.run.key)
        return entry

    def unfit(self, live: Live, step: int, attempt: int, reason: str, needs: str = "") -> None:
        """The step that runs cannot go on with the present code: its run waits for other code (of the type `needs`)."""
        self.abandon(live)
        self._m.stimulate(live, s.StepUnfit(step, attempt, reason, needs))

    def abandon_all(self) -> None:
        for token in list(self._tokens):
            self._over(token)
            self._workers.abandon(token)

    # -- what is shown -------------------------------------------------------------------------

    def demand(self, workflow_type: str) -> Demand:
        """What there is to do for a type, here and at the workers."""
        demand = self._workers.demand(workflow_type)
        return msgspec.structs.replace(demand, waiting=demand.waiting + self._parked.length(workflow_type))

    def waits_for_turn(self, run_id: str, workflow_type: str) -> int | None:
        """The limit of its type that keeps a run from going on; None where it is not that."""
        memory = self._memory
        if self._parked.holds(run_id):
            demand = self._workers.demand(workflow_type)
            return demand.limit if demand.limit is not None and demand.executing >= demand.limit else None
        key = memory.key_of(run_id)
        live = None if key is None else memory.get(key)
        return None if live is None or live.token is None else self._workers.waits_for_turn(live.token)

    def waits_for_worker(self, run_id: str) -> bool:
        """Whether a run's step has no worker yet."""
        memory = self._memory
        if self._parked.holds(run_id):
            return True
        live = None if (key := memory.key_of(run_id)) is None else memory.get(key)
        token = None if live is None else live.token
        return token is not None and self._workers.waits_for_worker(token) is not None

    # -- what the workers say ----------------------------------------------------------------

    def heard(self, message: Heard, now: int) -> None:
        machine = self._m
        if len(self._turn) >= commits.MUCH:
            machine.hand_over()
        entry = self._tokens.get(message.token)
        if entry is None or machine.failure is not None:
            return
        live = entry.live
        said: s.Stimulus
        if type(message) is StepDone:
            said = s.StepReturned(
                entry.step, entry.attempt, message.directive, message.name,
                None if message.names is None else tuple(message.names), message.after_ms,
                message.value, message.failure, message.put, message.deleted,
            )  # fmt: skip
        elif type(message) is Op:
            # They come in order, so one that comes once more is known by its number.
            if message.op > entry.last_op:
                entry.last_op = message.op
                self._asked(live, entry.step, entry.attempt, message, now)
            return
        elif type(message) is channel.Logs:
            for line in message.lines:
                live.logged += line.mark()
            machine.logged(live, message.lines, now)
            return
        elif type(message) is channel.Progress:
            machine.hub.progressed(live, message, now)
            return
        elif type(message) is channel.StepRaised:
            said = s.StepRaised(entry.step, entry.attempt, message.failure, message.cancelled)
        else:
            assert type(message) is channel.StepStuck
            said = self._stuck(entry, message.reason)
        live.source = entry.source
        del self._tokens[message.token]
        live.token = None
        if self._reports:
            machine.hub.over(live.run.key)
        machine.stimulate(live, said, now)
        if self._parked.lines:
            self.unpark(live.run.workflow_type)

    def _stuck(self, entry: _Execution, reason: str) -> s.Stimulus:
        if self._serves(entry):
            return s.StepUnfit(entry.step, entry.attempt, reason)
        # Code that is gone already could not run it. What serves now gets to try.
        reason = f"its code was replaced, on which it was stuck: {reason}"
        return s.StepLost(entry.step, entry.attempt, reason)

    def _serves(self, entry: _Execution) -> bool:
        """Whether the code that it ran on is what steps of its type begin on now."""
        return entry.generation == self._workers.catalog.number_of(entry.workflow_type)

    def timed_out(self, token: int, timeout_ms: int) -> None:
        entry = self._tokens.get(token)
        if entry is not None:
            entry.live.source = entry.source
            # The token stays the run's until the decision is on disk; `abandon` then ends it at the worker.
            self._m.stimulate(entry.live, s.StepTimedOut(entry.step, entry.attempt, timeout_ms))

    def lost(self, tokens: list[int], reason: str, crash: bool) -> None:
        for token in tokens:
            entry = self._over(token)
            if entry is not None:
                entry.live.source = entry.source
                self._m.stimulate(entry.live, s.StepLost(entry.step, entry.attempt, reason, crash, self.crash_limit))
                self.unpark(entry.live.run.workflow_type)


def recorded(op: OpResult) -> channel.OpRecord:
    """An operation as a worker is told of it."""
    return channel.OpRecord(op.key, bytes(op.value), op.error, op.open, op.attempts, op.failure, op.place)
