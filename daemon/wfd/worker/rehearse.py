"""Rehearsing: running the candidate code of a step as far as its records go, to see whether it would repeat what was done.

A rehearsal asks for nothing new, writes nothing, and is stopped before it touches anything outside of its process. What the
handler does before that is the same as in a worker: the executor and its operations are a worker's.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from wfctl.protocol import channel
from wfctl.protocol.channel import OpRecord, StepDone, StepRaised, StepStuck, ToDaemon, ToWorker
from wfctl.sdk.port import StepUnwind
from wfctl.sdk.sources import Sources
from wfctl.sdk.workflow import Workflow
from wfd.worker.execute import Executor
from wfd.worker.fitting import Misfit, arguments
from wfd.worker.guard import Guard
from wfd.worker.live import LiveOps
from wfd.worker.pending import Pending, Question, drop
from wfd.worker.trialloop import TrialLoop

# Turns of the loop without any progress, after which nothing moves any more.
_QUIET_TURNS = 40
_NAP_S = 0.01
# From "let go" to a process that cannot be used again.
_GRACE_S = 1.0


class RehearsedOps(LiveOps, eq=False):
    """Operations that are recorded come back as in a worker; every other holds its caller for good. `held` numbers those."""

    guard: Guard | None = None  # of the trial; it is there before anything runs
    held: set[int] = set()
    differs: bool = False

    def stuck(self, reason: str) -> NoReturn:
        # What differs because something was refused is not held against the code; what differed before is.
        self.differs = self.differs or self.guard is None or not self.guard.stopped
        super().stuck(reason)

    def fresh(self, kind: str, name: str, content: bytes) -> None:
        """It is for `find` to say."""

    async def find(self, kind: str, name: str, content: bytes, place: str = "") -> tuple[str, OpRecord | None]:
        key, record = await super().find(kind, name, content, place)
        # A task that was begun would be tried again; whether a sleep that was begun is over, the daemon knows.
        # How a child ended, whatever was recorded of that, the daemon knows as well.
        if (record is None and kind != "child_result") or (record is not None and record.open and kind == "task"):
            self._admit()
            self._next_op += 1
            self.held.add(self._next_op)
            for_good = self._pending[self._next_op] = Pending(key, self._host.loop.create_future(), patient=False)
            await for_good.answer
            raise StepUnwind("a rehearsal does nothing new")
        return key, record

    def progress(self, done: int | float, total: int | float | None, note: str) -> None:
        """Nobody looks at a rehearsal."""

    def not_yet(self, op: int) -> None:
        asked = self._pending.get(op)
        if asked is not None and asked.answer.done():
            # It was given up; who asks once more is to be answered.
            del self._pending[op]
            if isinstance(asked, Question):
                drop(self._questions, asked)
        elif asked is not None:
            self.held.add(op)

    @property
    def asking(self) -> bool:
        """Whether the daemon still owes an answer."""
        return any(op not in self.held and not one.answer.done() for op, one in self._pending.items())

    @property
    def standing(self) -> tuple[int, ...]:
        return len(self.replay.unasked), self._next_op, len(self.held), self._rest.passed


class _Rehearsal:
    """The one that goes on. `gone` is set when its handler has ended."""

    def __init__(self, loop: TrialLoop) -> None:
        self.ops: RehearsedOps | None = None
        self.verdict: asyncio.Future[tuple[str, str]] = loop.create_future()
        self.gone = asyncio.Event()

    def judge(self, verdict: str, reason: str = "") -> None:
        if not self.verdict.done():
            self.verdict.set_result((verdict, reason))


class Rehearser(Executor):
    """A trial's executor. It rehearses one step at a time, and runs none."""

    _ops_type = RehearsedOps

    def __init__(
        self,
        workflows: Mapping[str, Workflow],
        sources: Sources,
        send: Callable[[ToDaemon], None],
        loop: TrialLoop,
    ) -> None:
        super().__init__(workflows, sources, self._said, loop)
        self._tell = send
        self._trial_loop = loop
        self._thread = threading.get_ident()
        self._now: _Rehearsal | None = None
        self._guard = Guard(sources, self._waiting_at)
        self._guard.install()

    def receive(self, *messages: ToWorker) -> None:
        for message in messages:
            self._hear(message)

    def _hear(self, message: ToWorker) -> None:
        match message:
            case channel.Rehearse():
                self._keep(self._loop.create_task(self._rehearse(message)))
            case channel.Fits():
                self._tell(channel.Fitted(message.call, [self._misfit(item) for item in message.items]))
            case channel.NotYet():
                if self._now is not None and self._now.ops is not None and self._now.ops.token == message.token:
                    self._now.ops.not_yet(message.op)
            case _:
                super().receive(message)

    def _misfit(self, given: channel.Given) -> str:
        workflow = self._workflows.get(given.workflow_type)
        handler = None if workflow is None else workflow.handler(given.kind, given.handler)
        if handler is None:
            return ""  # that it is missing is seen without asking
        try:
            arguments(handler, given.kwargs)
        except Misfit as error:
            return error.reason
        return ""

    # -- one rehearsal --------------------------------------------------------------------------

    async def _rehearse(self, message: channel.Rehearse) -> None:
        token, deadline = message.step.token, self._loop.time() + message.limit_ms / 1_000
        now = self._now = _Rehearsal(self._trial_loop)
        self._guard.arm()
        self._run(message.step)
        ops = self._steps.get(token)
        if isinstance(ops, RehearsedOps):
            now.ops, ops.guard = ops, self._guard
        await self._follow(now, deadline)
        verdict, reason = now.verdict.result()
        clean = await self._let_go(now, token)
        if clean:
            # Otherwise it stays armed: something of the handler still runs.
            self._guard.disarm()
        self._now = None
        self._tell(channel.Rehearsed(token, verdict, reason, clean))

    async def _follow(self, now: _Rehearsal, deadline: float) -> None:
        """Until there is a verdict, nothing moves any more, or the time is up."""
        quiet, expected = 0, False
        last: tuple[int, ...] = ()
        while not now.verdict.done():
            await asyncio.sleep(0)
            ops = now.ops
            if ops is None or now.verdict.done():
                continue
            if ops.held and not ops.replay.unasked:
                now.judge("agrees")
                return
            expecting = self._trial_loop.expecting or ops.asking or (ops.thread is not None and not ops.held)
            # What it waited for may just have come, and its task not have had its turn yet.
            still = ops.standing == last and expecting == expected
            quiet, last, expected = (quiet + 1 if still else 0), ops.standing, expecting
            if quiet < _QUIET_TURNS:
                continue
            # Nothing that it still waits for can disagree with a record that it is through with.
            if not expecting or not ops.replay.unasked or self._loop.time() >= deadline:
                now.judge(*self._standing(ops, expecting))
            else:
                await self._trial_loop.nap(_NAP_S)

    def _standing(self, ops: RehearsedOps, expecting: bool) -> tuple[str, str]:
        """The verdict where the handler does not end by itself."""
        if not ops.replay.unasked:
            return "agrees", ""
        if self._guard.stopped:
            return "stopped", self._guard.stopped
        if expecting:
            return "waits", f"{ops.handler.label} waits for something that is not recorded"
        return "differs", ops.disagreement()

    def _said(self, message: ToDaemon) -> None:
        """What the executor would tell the daemon. Only its questions are for the daemon; its answers are judged."""
        now = self._now
        match message:
            case channel.Op():
                self._tell(message)
            case channel.Checked() | channel.Answered() | channel.Pong():
                self._tell(message)
            case StepDone() | StepRaised() | StepStuck() | channel.StepGone() if now is not None:
                self._judge(now, message)
                now.gone.set()

    def _judge(self, now: _Rehearsal, message: ToDaemon) -> None:
        match message:
            case StepStuck(reason=reason):
                refused = self._guard.stopped and (now.ops is None or not now.ops.differs)
                now.judge(*(("stopped", self._guard.stopped) if refused else ("differs", reason)))
            case StepRaised(failure=failure, cancelled=False) if not self._guard.stopped:
                now.judge("agrees", f"{failure}{f' ({failure.frame})' if failure.frame else ''}")
            case _:
                now.judge("agrees")

    def _waiting_at(self) -> str:
        """The innermost line of the user's own in which the handler's task is, or waits."""
        running = self._sources.caller(sys._current_frames().get(self._thread))
        task = None if self._now is None or self._now.ops is None else self._now.ops.task
        coro: Any = None if running or task is None else task.get_coro()
        place = running
        while coro is not None:
            frame = getattr(coro, "cr_frame", None)
            if frame is not None and self._sources.owns(frame.f_code.co_filename):
                place = self._sources.place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
            coro = getattr(coro, "cr_await", None)
        return place

    async def _let_go(self, now: _Rehearsal, token: int) -> bool:
        """End the handler and the tasks it has left. False where it does not end."""
        ops = now.ops
        if ops is None:
            return True
        if not now.gone.is_set():
            self._abandon(token)
        for task in ops.tasks:
            task.cancel()
        end = self._loop.time() + _GRACE_S
        while not (now.gone.is_set() and all(task.done() for task in ops.tasks)):
            if self._loop.time() >= end:
                return False
            await self._trial_loop.nap(_NAP_S)
        return True
