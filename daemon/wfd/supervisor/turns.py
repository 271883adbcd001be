"""How many steps execute at once: of each type, where wfctl.toml limits that, and at each worker.

A step has its turn from when a worker gets it until it ends. While all that its handler does is wait (for a sleep, for the
delay before a task is tried again, for how a child ends, for room in an inbox) it lends the turn to others, or a parent could
keep the child that it waits for from ever beginning. What it waited for is then answered when it has a turn again, before any
step that has not begun.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import msgspec

from wfctl.protocol import channel
from wfctl.values.times import format_duration
from wfd.runtime.clock import Clock, TimerHandle
from wfd.supervisor.contract import Handler, Runner, StepOrder

# Operations that are answered when time has passed, or another run has closed.
_PATIENT = frozenset({"sleep", "resume", "task_attempt_failed", "child_result"})
# Operations that say that a task's function runs, or does not any more. `task_at_once` says both, and changes nothing.
_OF_TASKS = frozenset({"task", "task_attempt_failed", "task_completed", "task_failed", "task_left"})
# A handler that has asked for nothing else for so long only waits, where nothing else is said: what its branches ask for comes
# together.
RESTS_AFTER_MS = 100


class Execution(msgspec.Struct, gc=False):
    """`handler`: as in its order. `abandoned`: nobody wants it any more. `moved` (why): it is to begin again
    elsewhere, once it has let go; until then it is heard, since what it asks for is recorded and will be found again. `turn`: it
    counts as executing. `heard`: it has said something. `number`: it is the how-many-th step of its worker. `given_at` is when it
    was given its step, or an answer since; `held` what it is to be told when it has its turn back, `late_at` when its time is up,
    `held_at` since when that is put off, as it waits for its turn."""

    order: StepOrder
    worker: Runner
    handler: Handler
    begun_at: int
    given_at: int
    number: int
    heard: bool = False
    abandoned: bool = False
    moved: str = ""
    turn: bool = True
    held: list[channel.OpDone] | None = None
    late_at: int | None = None
    held_at: int | None = None
    timer: TimerHandle | None = None
    kill_timer: TimerHandle | None = None
    # Until it is taken for one that only waits. It leads back here only until it is over, or cancelled: at the end at the latest.
    rests: TimerHandle | None = None
    # What it has asked for and has no answer to, by number, and the tasks whose functions run, by key: whether it takes its time.
    _open: dict[int | str, bool] | None = None
    # How many of them do; and those among them that ask how a child ends.
    patient: int = 0
    ends: set[int] | None = None
    _last_op: int = 0

    def asks(self, op: channel.Op) -> None:
        number, kind = op.op, op.kind
        if number <= self._last_op:
            return
        self._last_op = number
        if (waits := self._open) is None:
            waits = self._open = {}
        if kind in _OF_TASKS:
            if kind == "task":  # not answered: its end is
                waits[op.key] = False
                return
            waits.pop(op.key, None)
            if kind == "task_left":  # nor is that
                return
        waits[number] = takes_time = kind in _PATIENT
        if takes_time:
            self.patient += 1
            if kind == "child_result":
                self.ends = self.ends or set()
                self.ends.add(number)

    def is_patient(self, op: int) -> None:
        if self._open and self._open.get(op) is False:
            self._open[op] = True
            self.patient += 1

    def is_told(self, op: int) -> None:
        if self._open and self._open.pop(op, False):
            self.patient -= 1
            if self.ends:
                self.ends.discard(op)

    @property
    def unheard(self) -> bool:
        """It is wanted where it is, and may not have begun."""
        return not (self.heard or self.abandoned or self.moved)

    @property
    def only_waits(self) -> bool:
        return 0 < self.patient == len(self._open or ())

    def rests_in(self, timer: TimerHandle | None) -> None:
        if self.rests is not None:
            self.rests.cancel()
        self.rests = timer

    def stop_timers(self) -> None:
        if self.rests is not None:
            self.rests_in(None)
        if self.timer is not None:
            self.timer.cancel()
        if self.kill_timer is not None:
            self.kill_timer.cancel()


def in_words(executions: Iterable[Execution], now: int, first: Sequence[int], most: int = 3) -> tuple[str, ...]:
    """The `most` that have run longest; those with the tokens of `first` before the others."""
    ordered = sorted(executions, key=lambda one: (one.order.token not in first, one.begun_at))
    return tuple(
        f"{one.order.workflow_type} {one.order.message.handler!r} of "
        f"{one.order.run.workflow_id} for {format_duration(now - one.begun_at)}"
        for one in ordered[:most]
    )


class Turns:
    """Those that are `running`, by token. `freed` is called when a turn has been lent or a limit has changed, `resumed(execution)`
    when one whose timer was stopped goes on."""

    def __init__(
        self, clock: Clock, freed: Callable[[], None], resumed: Callable[[Execution], None], rests_ms: int
    ) -> None:
        self._clock = clock
        self.running: dict[int, Execution] = {}
        # How many of them have said something, or are not waited for any more.
        self._spoken = 0
        self._rests_ms = rests_ms
        self._freed = freed
        self._resumed = resumed
        self.limits: Mapping[str, int] = {}
        # By type, as long as any is limited: else nobody asks for each step.
        self._executing: defaultdict[str, int] = defaultdict(int)
        # How many steps of a worker have lent their turn, where any have.
        self.lent: Counter[Runner] = Counter()
        # Those that have what they waited for, and wait for their turn, by type; none of these is empty.
        self.waiting: dict[str, OrderedDict[int, Execution]] = {}

    def executing(self, workflow_type: str) -> int:
        if self.limits:
            return self._executing.get(workflow_type, 0)
        return sum(one.turn and one.handler.workflow_type == workflow_type for one in self.running.values())

    def silent(self) -> int:
        """How many steps workers have been given that they have said nothing of yet."""
        return len(self.running) - self._spoken

    def returning(self, workflow_type: str) -> int:
        """How many have what they waited for, and wait for their turn."""
        return len(self.waiting.get(workflow_type, ()))

    def free(self, workflow_type: str) -> bool:
        """Whether another step of this type may execute."""
        limit = self.limits.get(workflow_type)
        return limit is None or self.executing(workflow_type) < limit

    def limited(self, workflow_type: str) -> bool:
        return workflow_type in self.limits

    def limit(self, limits: Mapping[str, int]) -> None:
        """These limits count from now on. A lower one stops nothing that executes."""
        self.limits = limits
        self._executing.clear()
        if limits:
            for execution in self.running.values():
                self._executing[execution.handler.workflow_type] += execution.turn
        self._freed()

    def counts(self, execution: Execution) -> None:
        """It begins, while there are limits."""
        self._executing[execution.handler.workflow_type] += 1

    def speaks(self, execution: Execution) -> None:
        """It has said something for the first time, or nobody waits for that any more."""
        execution.heard = True
        self._spoken += 1

    def ends(self, execution: Execution) -> None:
        del self.running[execution.order.token]
        if execution.heard:
            self._spoken -= 1
        if execution.timer is not None or execution.rests is not None or execution.kill_timer is not None:
            execution.stop_timers()
        if not execution.turn:
            self._forget_held(execution)
            self._has_back(execution)
        if self.limits:
            self._executing[execution.handler.workflow_type] -= 1

    # -- lending a turn, and having it back ---------------------------------------------------

    def asked(self, execution: Execution) -> None:
        """The handler has asked for an operation: whatever it waited for, it goes on."""
        if not execution.turn:
            self.go_on(execution)
        if execution.patient or execution.rests is not None:
            self._look(execution)

    def op_waits(self, token: int, op: int) -> None:
        """What it has asked for takes its time after all."""
        if (execution := self.running.get(token)) is not None:
            execution.is_patient(op)
            self._look(execution)

    def _look(self, execution: Execution) -> None:
        if not execution.turn:
            return
        if execution.only_waits:
            if execution.rests is None:  # or one that sleeps again and again, beside what it waits for, would never
                execution.rests_in(self._clock.call_later(self._rests_ms, partial(self._lend, execution)))
        else:
            execution.rests_in(None)

    def _lend(self, execution: Execution) -> None:
        execution.rests_in(None)
        execution.turn = False
        if self.limits:
            self._executing[execution.handler.workflow_type] -= 1
        self.lent[execution.worker] += 1
        self._freed()

    def _has_back(self, execution: Execution) -> None:
        execution.turn = True
        if self.limits:
            self._executing[execution.handler.workflow_type] += 1
        self.lent[execution.worker] -= 1
        if not self.lent[execution.worker]:
            del self.lent[execution.worker]

    def answer(self, message: channel.OpDone, now: int | None = None) -> None:
        """Tell a handler the outcome of its operation, when it is its turn; a token that is gone is no matter."""
        execution = self.running.get(message.token)
        if execution is None:
            return
        if not execution.turn:
            execution.held = execution.held or []
            execution.held.append(message)
            waiting = self.waiting.setdefault(execution.handler.workflow_type, OrderedDict())
            waiting[execution.order.token] = execution
            if execution.timer is not None and execution.held_at is None:
                # The wait for its turn is not the handler's time.
                execution.timer.cancel()
                execution.held_at = self._clock.now_ms()
            self.give_back()
            return
        execution.is_told(message.op)
        execution.given_at = self._clock.now_ms() if now is None else now
        execution.worker.send(message)
        if execution.patient or execution.rests is not None:
            self._look(execution)

    def cancelled(self, execution: Execution) -> None:
        """It goes on to clean up; or to wait on for what it has asked for already, and nobody hears of that.

        How a child has ended it is told before: that is recorded already, and a replay will come that far.
        """
        held, ends = execution.held or [], execution.ends or ()
        for message in [one for one in held if one.op in ends]:
            held.remove(message)
            execution.is_told(message.op)
            execution.worker.send(message)
        execution.worker.send(channel.CancelStep(execution.order.token))
        self.go_on(execution)
        if execution.patient:
            self._look(execution)

    def give_back(self) -> None:
        """Let those go on that have what they waited for, as far as there are turns."""
        for workflow_type, waiting in list(self.waiting.items()):
            while waiting and self.free(workflow_type):
                self.go_on(next(iter(waiting.values())))

    def lets_go(self, execution: Execution) -> None:
        """It is to end, and has its turn for that."""
        if not execution.heard:
            self.speaks(execution)
        self.go_on(execution)

    def go_on(self, execution: Execution) -> None:
        """It has its turn, whether or not there is one: it executes."""
        if execution.turn:
            return
        self._has_back(execution)
        held = self._forget_held(execution)
        if execution.held_at is not None and execution.late_at is not None:
            execution.late_at += self._clock.now_ms() - execution.held_at
            execution.held_at = None
            self._resumed(execution)
        for message in held:
            self.answer(message)

    def _forget_held(self, execution: Execution) -> list[channel.OpDone]:
        workflow_type = execution.handler.workflow_type
        waiting = self.waiting.get(workflow_type)
        if waiting is not None and waiting.pop(execution.order.token, None) is not None and not waiting:
            del self.waiting[workflow_type]
        held, execution.held = execution.held, None
        return held or []

    def clear(self) -> None:
        self.running.clear()
        self._spoken = 0
        self._executing.clear()
        self.lent.clear()
        self.waiting.clear()
