"""Who runs which step: a queue in order, executions at workers, their time limits, and the ones told to let go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, get_args

import msgspec

from wfctl.protocol import channel
from wfctl.protocol.channel import Op, StepGone
from wfd.runtime.clock import Clock
from wfd.supervisor.alone import Alone
from wfd.supervisor.contract import Demand, Listener, Runner, Spoken, StepOrder
from wfd.supervisor.queues import Queues
from wfd.supervisor.turns import RESTS_AFTER_MS, Execution, Turns, in_words

log = logging.getLogger("wfd.supervisor")

# Steps one worker executes at a time; bounded, so that a flood of starts queues here, in order, and not in a process that may
# die. Those that have lent their turn do not count: what they wait for may need the very place.
STEPS_PER_WORKER = 256
# With those. Beyond it no new runs begin there but children, which somebody may wait for.
MOST_IN_WORKER = 4_096
# So many steps, of handlers that are brief, go to one worker where they begin within so many milliseconds: each worker that is
# woken for a few costs more than they do, here and there, and what they say comes together as well. Brief is a handler that had
# something to say, or had ended, within so many whenever it was last given its step or an answer: then its worker was soon free.
TOGETHER = 64
TOGETHER_MS = 2
BRIEF_MS = 20
# From "let go" to SIGKILL.
GRACE_MS = 3_000
# Whether what is said of a step ends it, by kind.
_ENDS = {kind: kind not in (Op, channel.Logs, channel.Progress) for kind in get_args(Spoken)}


class Steps:
    """Shares steps out among the workers that `taking(workflow_type)` lists, as far as its limit goes: to the least busy one, where
    it is not of a few brief ones that begin together. `takes(worker, workflow_type)` says the same of one, for less.

    A queued step has no worker yet, and is lost by nobody's death. `others(worker, message, now)` gets what workers say that is of
    no step.
    """

    def __init__(
        self, clock: Clock, taking: Callable[[str], Sequence[Runner]], rests_ms: int = RESTS_AFTER_MS,
        takes: Callable[[Any, str], bool] | None = None,
        others: Callable[[Any, Any, int], None] = lambda worker, message, now: None,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._taking = taking
        self._takes = takes or (lambda worker, workflow_type: worker in taking(workflow_type))
        self._others = others
        self._listener: Listener | None = None
        self._queues = Queues()
        self._turns = Turns(clock, self.share_out, self._time, rests_ms)
        self._running = self._turns.running
        self.answer, self.op_waits, self.silent = self._turns.answer, self._turns.op_waits, self._turns.silent
        self.lined_up, self.lines = self._queues.lined_up, self._queues.queues
        self._returning, self._lent = self._turns.waiting, self._turns.lent
        self._alone = Alone(clock, taking, self._may_begin, self._give_now, self._lapsed)
        self._suspects = self._alone.waiting
        # Who gets the brief steps that begin now, since when, and how many it got.
        self._together: Runner | None = None
        self._together_since = self._begun = 0
        self._paused = False
        self._idle = asyncio.Event()

    def listen(self, listener: Listener) -> None:
        self._listener = listener

    @property
    def queued(self) -> int:
        return len(self._queues) + len(self._suspects)

    @property
    def oldest_queued_at(self) -> int | None:
        return self._queues.oldest_at(self._suspects.values())

    def in_line(self) -> set[str]:
        return self._queues.types(self._suspects.values())

    def demand(self, workflow_type: str) -> Demand:
        """What there is of a type, and how many of it may execute."""
        suspects = sum(order.workflow_type == workflow_type for order in self._suspects.values())
        return Demand(
            self._turns.limits.get(workflow_type),
            self._turns.executing(workflow_type),
            self._queues.length(workflow_type) + self._turns.returning(workflow_type) + suspects,
        )

    def limit(self, limits: Mapping[str, int]) -> None:
        """How many steps of a type may execute at once, by type; from now on."""
        self._turns.limit(limits)

    def waits_for_turn(self, token: int) -> int | None:
        execution = self._running.get(token)
        order = execution.order if execution is not None and execution.held else self.waits_for_worker(token)
        if order is None or self._turns.free(order.workflow_type):
            return None
        return self._turns.limits.get(order.workflow_type)

    def run(self, order: StepOrder, now: int | None = None) -> None:
        """Give the step to a worker, now or when one has room."""
        if now is None:
            now = self._clock.now_ms()
        if (
            not (order.alone or self._paused)
            # Neither for a worker nor for a turn.
            and not (self.lines or self._suspects or self._returning or self._alone.worker is not None)
            and (not self._turns.limits or self._may_begin(order))
            and (worker := self._free_at_once(order, now)) is not None
        ):
            self._give(order, worker, now)
            return
        order.queued_at = now
        if order.alone:
            self._suspects[order.token] = order
            self.share_out()
        elif self._queues.add(order):
            self.share_out()

    def _free_at_once(self, order: StepOrder, now: int) -> Runner | None:
        """The worker of a step that need not be lined up."""
        handler = order.handler
        new = order.begins() if self._lent else False  # and where none has lent its turn that is all the same
        if not handler.brief:
            return self._least_busy_of(self._taking(handler.workflow_type), new)
        worker = self._together
        if (
            worker is None
            or self._begun >= TOGETHER
            or not 0 <= now - self._together_since < TOGETHER_MS
            or not self._takes(worker, handler.workflow_type)
            or (worker.crowded and worker.full)
            or (len(worker.steps) >= STEPS_PER_WORKER and not self._least_busy_of((worker,), new))
        ):
            worker = self._together = self._least_busy_of(self._taking(handler.workflow_type), new)
            self._begun, self._together_since = 0, now
        self._begun += 1
        return worker

    def share_out(self) -> None:
        """Give queued steps to workers as far as there is room."""
        self._turns.give_back()
        if self._paused:
            return
        self._alone.share_out()
        self._share_queues()

    def _share_queues(self) -> None:
        turns = self._turns
        while found := self._queues.take(self.least_busy, turns.free, turns.limited):
            order, worker = found
            self._give_now(order, worker)
            if self._listener is not None:
                self._listener.left_line(order.workflow_type)

    def _may_begin(self, order: StepOrder) -> bool:
        return order.message.cancel or self._turns.free(order.workflow_type)

    def _lapsed(self, worker: Runner) -> None:
        """A suspect was alone with `worker`, or others did not make room for it, for long enough: from now on it shares that."""
        if self._paused:
            return
        self._alone.begin_beside(worker)
        # Before another suspect takes a worker from them.
        self._share_queues()
        self._alone.share_out()

    def least_busy(self, workflow_type: str, new: bool) -> Runner | None:
        return self._least_busy_of(self._taking(workflow_type), new)

    def _least_busy_of(self, workers: Iterable[Runner], new: bool) -> Runner | None:
        """The one that executes the fewest steps, of those with room for another, which begins a `new` run or not."""
        found: Runner | None = None
        fewest, reserved, lent = 2 * STEPS_PER_WORKER, self._alone.worker, self._lent
        for worker in workers:
            executing = len(worker.steps)
            if lent:  # else one that has too many for a new run has enough as it is
                if new and executing >= MOST_IN_WORKER:
                    continue
                executing -= lent.get(worker, 0)
            if executing >= STEPS_PER_WORKER:
                continue
            if worker.held_at is not None:
                executing += STEPS_PER_WORKER
            if executing < fewest and worker is not reserved and not (worker.crowded and worker.full):
                found, fewest = worker, executing
        return found

    def _give_now(self, order: StepOrder, worker: Runner) -> None:
        self._give(order, worker, self._clock.now_ms())

    def _give(self, order: StepOrder, worker: Runner, now: int) -> None:
        token = order.token
        worker.handed = number = worker.handed + 1
        execution = self._running[token] = Execution(order, worker, order.handler, now, now, number)
        if self._turns.limits:
            self._turns.counts(execution)
        order.generation, order.source = worker.generation, worker.source
        worker.steps.add(token)
        worker.send(order.message)
        if order.timeout_ms is not None:
            # Not since `now`, which is that of all that is given in one turn of the loop: the last of many would have less.
            execution.late_at = self._clock.now_ms() + order.timeout_ms
            self._time(execution)

    def _time(self, execution: Execution) -> None:
        """Let the step know when its time is up."""
        left = (execution.late_at or 0) - self._clock.now_ms()
        execution.timer = self._clock.call_later(max(left, 0), partial(self._late, execution.order.token))

    def _late(self, token: int) -> None:
        execution = self._running.get(token)
        if execution is not None and self._listener is not None and not (execution.abandoned or execution.moved):
            self._listener.timed_out(token, execution.order.timeout_ms or 0)

    def cancel(self, token: int) -> None:
        """Raise CancelledError in the handler; it still answers. Neither that nor its cleaning up waits for a turn."""
        execution = self._running.get(token)
        if execution is not None:
            order = execution.order
            # For where it is given to another; what it was given may not have left yet.
            order.message = msgspec.structs.replace(order.message, cancel=True)
            self._turns.cancelled(execution)
            return
        queued = self.waits_for_worker(token)
        if queued is not None:
            queued.message.cancel = True
            self._queues.hasten(token)
            self.share_out()

    def abandon(self, token: int) -> None:
        """Nobody wants this step any more. A handler that has not let go after `GRACE_MS` costs its worker."""
        execution = self._running.get(token)
        if execution is None:
            if self._queues.remove(token) is None:
                self._suspects.pop(token, None)
            return
        if not execution.abandoned:
            execution.abandoned = True
            if not execution.moved:  # or it is letting go already
                self._let_go(execution)

    def move(self, worker: Runner, reason: str, *, timed: bool) -> None:
        """What this worker runs is begun again elsewhere, once its handler has let go; steps with a timeout only if `timed`."""
        for token in sorted(worker.steps):
            execution = self._running[token]
            if not (execution.abandoned or execution.moved) and (timed or execution.order.timeout_ms is None):
                execution.moved = reason
                self._let_go(execution)

    def waits_for_worker(self, token: int) -> StepOrder | None:
        """A step that has no worker yet."""
        return self._queues.get(token) or self._suspects.get(token)

    def _let_go(self, execution: Execution) -> None:
        token = execution.order.token
        execution.stop_timers()
        execution.worker.send(channel.AbandonStep(token))
        self._turns.lets_go(execution)
        execution.kill_timer = self._clock.call_later(GRACE_MS, partial(self._no_grace, token))

    def _no_grace(self, token: int) -> None:
        if (execution := self._running.get(token)) is not None:
            what = f"handler {execution.order.message.handler!r} of {execution.order.run.workflow_id}"
            log.warning("worker %d is killed: %s did not let go", execution.worker.pid, what)
            execution.worker.kill(f"it was killed because {what} did not let go")

    def heard(self, worker: Runner, messages: Iterable[Any], now: int) -> None:
        """Pass on what handlers said, as long as each has its step and somebody wants to hear it. It came at `now`."""
        listener, running, turns = self._listener, self._running, self._turns
        for message in messages:
            kind = type(message)
            if (ends := _ENDS.get(kind)) is None:  # nearly none
                self._others(worker, message, now)
                continue
            execution = running.get(message.token)
            if listener is None or execution is None or execution.worker is not worker:
                continue
            if now - execution.given_at > BRIEF_MS:
                execution.handler.brief = False
            elif not execution.heard:
                execution.handler.brief = True
            if ends:
                turns.ends(execution)
                worker.steps.discard(message.token)
                if self.lines or self._suspects or self._returning or self._alone.worker is not None:
                    self.share_out()
                if self._paused and not running:
                    self._idle.set()
                if execution.abandoned:
                    continue
                if kind is StepGone:
                    self._gone(execution, now)
                    continue
            else:
                if not execution.heard:
                    turns.speaks(execution)
                if execution.abandoned:
                    continue
                if kind is Op:
                    execution.asks(message)
                    if execution.patient or execution.rests is not None or not execution.turn:
                        turns.asked(execution)
            # One that was to be moved may have ended before it heard of that.
            listener.heard(message, now)

    def _gone(self, execution: Execution, now: int) -> None:
        """Its handler has let go, though the step is wanted."""
        order = execution.order
        if not execution.moved:  # it has not begun, and another worker may have a thread for it, or does answer
            self.run(order, now)
        elif self._listener is not None:
            self._listener.lost([order.token], execution.moved, False)

    def at_work(self, worker: Runner, first: Sequence[int] = ()) -> tuple[str, ...]:
        """What the worker has run longest, in words; those that are to come `first` before the others."""
        return in_words([self._running[token] for token in worker.steps], self._clock.now_ms(), first)

    def unheard(self, worker: Runner) -> list[tuple[int, int]]:
        """Those that it may not have begun, and others would begin: their numbers and tokens."""
        return [
            (one.number, token)
            for token in worker.steps
            if (one := self._running[token]).unheard and self.least_busy(one.order.workflow_type, one.order.begins())
        ]

    def lose(self, worker: Runner, reason: str, crash: bool) -> int:
        """The worker has ended: what it ran, and is still wanted, is lost. Returns how many steps that were."""
        tokens = sorted(worker.steps)
        worker.steps.clear()
        wanted = []
        for token in tokens:
            execution = self._running[token]
            self._turns.ends(execution)
            if not execution.abandoned:
                wanted.append(token)
        if wanted and self._listener is not None:
            self._listener.lost(wanted, reason, crash)
        # Their turns are free.
        self.share_out()
        if self._paused and not self._running:
            self._idle.set()
        return len(wanted)

    async def drain(self, wait_ms: int) -> bool:
        """Begin no more steps; wait up to `wait_ms` for those that run. True when all have ended."""
        self._paused = True
        if self._running:
            self._idle.clear()
        else:
            self._idle.set()
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
        self._turns.clear()
        self._queues.clear()
        self._alone.clear()
        self._together = None
