"""The live port: one execution of one step, whose operations the daemon records before they return.

Owns the step's replay, its pending operations, its log lines, and how a cancellation reaches the handler. All of it happens
on the loop's thread, but `log`. Knows nothing of sockets: `send` takes messages.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from wfctl.errors import StaleStepError, UsageError, from_data
from wfctl.protocol.channel import LogLine, Logs, Op, OpDone, OpRecord, Progress
from wfctl.sdk import current
from wfctl.sdk.directive import Next
from wfctl.sdk.failure import readable
from wfctl.sdk.handler import Handler
from wfctl.sdk.port import StepUnwind
from wfctl.sdk.replay import Replay, first_key
from wfctl.sdk.surroundings import discard_unawaited
from wfctl.sdk.workflow import Workflow
from wfctl.values.opkeys import in_words
from wfd.worker import branches
from wfd.worker.claims import claim
from wfd.worker.host import Hosted
from wfd.worker.pending import PATIENT, REFUSABLE, Pending, Question, Questions, heard, taken_up, told
from wfd.worker.progress import Reporter
from wfd.worker.rest import BEGUN, LAST, InTurn, Rest

MAX_LOG_CHARS, MAX_NOTE_CHARS = 32_000, 200
_MAKING = threading.Lock()  # Two threads of a handler's may begin to report at a time.


class LiveOps(Hosted, eq=False):
    """`wfctl.sdk.port.Ops` of a running handler, plus what its executor steers it with."""

    token: int
    step: int
    handler: Handler
    workflow: Workflow
    next: Next
    cancel_requested: bool
    cancel_delivered: bool = False
    abandoned: bool = False
    begun: bool = False
    closed: bool = False
    stuck_reason: str | None = None
    task: asyncio.Task[Any] | None = None
    thread: int | None = None  # of a plain `def` handler
    recorded_before: bool = False
    logged_before: Counter[bytes] | None = None  # by their marks
    _replay: Replay[OpRecord] | None = None
    _seen: dict[str, int] = {}
    _pending: dict[int, Pending] = {}
    # The functions of tasks that take their time: the asyncio task that waits for it, by the task's key.
    _bodies: dict[str, asyncio.Task[Any] | None] | None = None
    # The beginning of a task that is still to be said: what ends in this very turn of the loop is told with it.
    _begun: Op | None = None
    _next_op: int = 0
    # The operations that an earlier execution began and this one went on with.
    _resumed: set[str] | None = None
    _questions: Questions = {}
    _told: bool = False
    _lines: list[LogLine] | None = None
    _reporter: Reporter | None = None
    _in_turn: InTurn | None = None
    _resting: Rest | None = None  # made for those that have to do with it

    @property
    def _rest(self) -> Rest:
        self._resting = self._resting or Rest()
        return self._resting

    @property
    def replay(self) -> Replay[OpRecord]:
        self._replay = self._replay or Replay(_seen=self._seen)
        return self._replay

    def repeat(self, records: list[OpRecord]) -> None:
        """Before it begins: what earlier executions of the step recorded."""
        self.recorded_before, self._replay = True, Replay.of(records)
        if self.handler.is_async:
            self.marked = {}

    # -- the port -------------------------------------------------------------------------------

    @property
    def replaying(self) -> bool:
        return self.recorded_before and bool(self.replay.unasked)

    @property
    def cleans_up(self) -> bool:
        return self.cancel_delivered and not self.abandoned

    def perform(self, kind: str, name: str, content: bytes, arguments: Callable[[], bytes]) -> Awaitable[bytes]:
        key = self.fresh(kind, name, content)
        return self._perform(kind, name, content, arguments) if key is None else self._ask(kind, name, key, arguments())

    async def _perform(self, kind: str, name: str, content: bytes, arguments: Callable[[], bytes]) -> bytes:
        key, record = await self.find(kind, name, content)
        if record is None:
            return await self.tell(kind, name, key, arguments())
        if record.error is not None:
            raise from_data(record.error)
        return record.value

    def fresh(self, kind: str, name: str, content: bytes) -> str | None:
        if self.recorded_before or self.cancel_requested:
            return None
        if self.stuck_reason is not None or self.abandoned or self.closed or current.attempt.get() is not None:
            self.refuse()
        if kind not in branches.NOT_BY_CONTENT:
            return first_key(self._seen, kind, name, content)
        return first_key(self._seen, kind, name, *branches.told_apart(kind, content, threaded=self.thread is not None))

    async def find(self, kind: str, name: str, content: bytes, place: str = "") -> tuple[str, OpRecord | None]:
        self._admit()
        self._rest.moved()
        record: OpRecord | None = None
        if self.replay.unasked:
            key, record = await claim(self, kind, name, content, place)
        else:
            content, mark = branches.told_apart(kind, content, threaded=self.thread is not None)
            key = self.replay.fresh_key(self.replay.base(kind, name, content), mark)
        await self._turn(record)
        if record is not None:
            self.cancel_soon()
            return key, record
        if self.cancel_requested and self._cancel_next:
            await self._cancel_here()
            self._admit()
        if self.recorded_before:
            self._note(key, place)
        if self.replay.unasked and kind != "child_result" and self._is_sequential():
            # No other branch is left that could still ask for the records: this call is what the code was changed to.
            self.stuck(self.disagreement())
        return key, None

    async def _turn(self, record: OpRecord | None) -> None:
        """Outcomes are told in the order in which they were recorded, and before anything is done that has none yet: each may
        decide what is asked for next, as the first of several does."""
        if (self.replay.unasked or self._rest.awaited) and not self._is_sequential():
            place = LAST if record is None else BEGUN if record.open else record.place
            await self._rest.come(place, self.cancel_soon)
            self._admit()

    def tell(self, kind: str, name: str, key: str, arguments: bytes) -> Awaitable[bytes]:
        if self._bodies:
            self._bodies.pop(key, None)
        if self.stuck_reason is not None or self.abandoned or self.closed or current.attempt.get() is not None:
            self.refuse()
        return self._ask(kind, name, key, arguments)

    def _ask(self, kind: str, name: str, key: str, arguments: bytes) -> Awaitable[bytes]:
        patient = kind in PATIENT
        if patient:
            if self.cancel_requested and kind == "resume" and self._cancel_next:
                return self._ask_cancelled(kind, name, key, arguments)
            if kind == "child_result" and (again := taken_up(self._questions, name, key)) is not None:
                self.cancel_soon()
                return heard(self._questions, again)
            if kind == "resume":
                self._resumed = self._resumed or set()
                self._resumed.add(key)
        self._next_op = number = self._next_op + 1
        answer: asyncio.Future[Any] = self._host.loop.create_future()
        if kind != "child_result":
            asked = Pending(key, answer, patient)
        else:
            asked = Question(key, answer, patient, name)
            self._questions.setdefault(name, []).append(asked)
        self._pending[number] = asked
        if self._begun is None and not self._lines:
            self._host.send(Op(self.token, number, key, kind, name, arguments))
        else:
            self._say(number, kind, name, key, arguments)
        if patient:
            self.cancel_soon()
            if type(asked) is Question:
                return heard(self._questions, asked)
        return told(answer) if kind in REFUSABLE else answer

    async def _ask_cancelled(self, kind: str, name: str, key: str, arguments: bytes) -> bytes:
        # An earlier execution was cancelled while it waited here, or has not come as far.
        await self._cancel_here()
        return await self.tell(kind, name, key, arguments)

    def begin(self, name: str, key: str, arguments: bytes) -> None:
        self._admit()
        # It is not answered: the outcome is recorded after this, and its answer says that both are.
        if self._begun is not None or self._lines:
            self._say_rest()
        self._next_op += 1
        self._begun = Op(self.token, self._next_op, key, "task", name, arguments)

    def waits(self, key: str) -> None:
        self._say_rest()
        self._bodies = self._bodies or {}
        self._bodies[key] = asyncio.current_task()

    def left(self, name: str, key: str) -> None:
        if self._bodies:
            self._bodies.pop(key, None)
        if not (self.abandoned or self.closed):
            # Nobody says that its function runs no more: its handler may only wait from now on.
            self._next_op += 1
            self._say(self._next_op, "task_left", name, key, b"{}")

    def _say(self, number: int, kind: str, name: str, key: str, arguments: bytes) -> None:
        begun = self._begun
        if begun is not None and kind == "task_completed" and key == begun.key and not self._lines:
            self._begun = None
            begun.op, begun.kind = number, "task_at_once"
            begun.args = begun.args[:-1] + b"," + arguments[1:]  # two JSON objects, other fields
            self._host.send(begun)
            return
        self._say_rest()
        self._host.send(Op(self.token, number, key, kind, name, arguments))

    def _note(self, key: str, place: str) -> None:
        self.replay.new.append((key, self.sources.caller(sys._getframe(1)) or place))

    def stuck(self, reason: str) -> NoReturn:
        if self.stuck_reason is None:
            self.stuck_reason = reason
            if self.thread is None and self.task not in (None, asyncio.current_task()):
                self.task.cancel()  # it may wait for what this branch does not come to any more
        raise StepUnwind(reason)

    def log(self, level: str, message: str, *, new: bool = False) -> None:
        # What a task logs is not looked for: it runs now, and did not in place of another call's that is replayed.
        new = new or self.logged_before is None or current.attempt.get() is not None
        line = LogLine(self._host.now_ms(), level, readable(message, MAX_LOG_CHARS))
        if asyncio._get_running_loop() is self._host.loop:
            self._keep(line, new)
        else:
            self._host.loop.call_soon_threadsafe(self._keep, line, new)

    def progress(self, done: int | float, total: int | float | None, note: str) -> None:
        message = Progress(self.token, done, total, readable(note, MAX_NOTE_CHARS))
        if self._reporter is None:
            with _MAKING:
                self._reporter = self._reporter or Reporter(self._host.send, self._host.loop)
        if not self.closed:
            # What a replay passes by in an instant was shown once already.
            self._reporter.report(message, later=self.replaying)

    # -- logs -----------------------------------------------------------------------------------

    def _keep(self, line: LogLine, new: bool) -> None:
        if not new and self.logged_before and self.logged_before[mark := line.mark()]:
            self.logged_before[mark] -= 1
        elif not self.closed:
            if self._lines is None:
                self._lines = []
                self._host.loop.call_soon(self._say_rest)
            self._lines.append(line)

    def _say_rest(self) -> None:
        """Say now, in their order, what was to be said in the next turn of the loop at the latest."""
        if self._begun is not None:
            begun, self._begun = self._begun, None
            self._host.send(begun)
        if self._lines:
            lines, self._lines = self._lines, None
            self._host.send(Logs(self.token, lines))

    # -- replay ---------------------------------------------------------------------------------

    def disagreement(self) -> str:
        """Why this execution is not the one that was recorded: the handler, and both sides."""
        return (
            f"{self.handler.label} ({self.sources.place(self.handler.file, self.handler.line)}) does not repeat what it did: "
            f"{self.replay.difference()}. Put the code back as it was; the step then goes on by itself{branches.hint(self)}"
        )

    def _is_sequential(self) -> bool:
        return branches.is_alone(self._host.loop, self.task, self, threaded=self.thread is not None)

    # -- answers and cancellation ---------------------------------------------------------------

    def answer(self, message: OpDone) -> None:
        alone = not self.tasks or self.thread is not None or all(task.done() for task in self.tasks)
        if alone and (self._in_turn is None or self._in_turn.idle):
            self._answer(message)
        else:
            self._in_turn = self._in_turn or InTurn()
            self._in_turn.take(message, self._answer, self._host.loop)

    def _answer(self, message: OpDone) -> None:
        if (waiting := self._pending.pop(message.op, None)) is None:
            return
        # Where whoever asked has given it up, a cancellation may have waited for it all the same.
        waiting.settle(message.value, message.error)
        if self.cancel_requested:
            self.cancel_soon()

    def request_cancel(self) -> None:
        self.cancel_requested = True
        self.cancel_soon()

    @property
    def _cancel_due(self) -> bool:
        return not self._rest.awaited and self._cancel_next

    @property
    def _cancel_next(self) -> bool:
        """Whether it comes before whoever asks now goes on. Others may wait to go on, but not for what they are told before it."""
        due = self.cancel_requested and self.begun and not self.cancel_delivered and not self.closed
        return due and self.replay.caught_up and not self._rest.tells and not (self._in_turn and self._in_turn.holds)

    def cancel_soon(self) -> None:
        """Where a cancellation is due, bring it."""
        # Not at once: before its first await the handler has not entered the `try` it would clean up in, and an answered
        # operation must return its value, or the replay would see a value where this execution saw none.
        if self._cancel_due:
            self._host.loop.call_soon(self._cancel_now)

    def _cancel_now(self) -> None:
        # An operation on its way is let through; its answer, or the next operation, brings the cancellation.
        if not self._cancel_due or not all(one.patient or one.answer.done() for one in self._pending.values()):
            return
        if self.thread is None:
            self._deliver()
        elif self._bodies or any(not waiting.answer.done() for waiting in self._pending.values()):
            self._deliver()
            self._end_waits()

    def _end_waits(self) -> None:
        """End what a thread may be waiting for, or who stays until one has ended."""
        for waiting in list(self._pending.values()):
            waiting.answer.cancel()
        for task in list((self._bodies or {}).values()):
            if task is not None:
                task.cancel()

    def _deliver(self) -> None:
        self.cancel_delivered = True
        self.replay.cleaning()
        if self.thread is None and self.task is not None:
            self.task.cancel()

    async def _cancel_here(self) -> None:
        """The asking task, when it belongs to what is cancelled, gets its CancelledError in this call."""
        self._deliver()
        if self.thread is not None:
            raise asyncio.CancelledError
        await asyncio.sleep(0)

    def abandon(self) -> None:
        """The step is someone else's now: end the handler, and let nothing more of it out."""
        self.abandoned = True
        self._end_waits()
        if self.thread is None and self.begun and self.task is not None:
            self.task.cancel()

    def _admit(self) -> None:
        if self.stuck_reason is not None or self.abandoned or self.closed or current.attempt.get() is not None:
            self.refuse()

    def refuse(self) -> NoReturn:
        if self.stuck_reason is not None:
            raise StepUnwind(self.stuck_reason)
        if (info := current.attempt.get()) is not None:
            raise UsageError(
                f"task {info.name!r} uses the context of its handler: what happens in a task is not recorded on its own",
                hint="do it in the handler, before or after the task",
            )
        if self.abandoned and self.thread is not None and not self._told:
            self._told = True
            raise asyncio.CancelledError
        why = "has returned" if self.closed else "was ended by the daemon (it timed out, or its run was closed)"
        raise StaleStepError(
            f"{self.handler.label} {why}, so it cannot do more", hint="await every operation before returning"
        )

    def close(self) -> list[str]:
        """The handler has ended. What it did not await is cancelled, and said in its log. Gives what never even began."""
        unawaited = discard_unawaited(self.handed_out) if self.handed_out else []
        if self._pending or self._bodies or unawaited:
            bodies = self._bodies or ()
            left = [*(waiting.key for waiting in self._pending.values() if not waiting.answer.done()), *bodies]
            self._end_waits()
            if (left or unawaited) and not self.abandoned:
                names = [*unawaited, *(in_words(key) for key in left)]
                self.log("warning", f"{self.handler.label} returned without awaiting {', '.join(names)}: write `await`")
        if self._begun is not None or self._lines:
            self._say_rest()
        self.closed = True
        if self._reporter is not None:
            self._reporter.close(tell=not self.abandoned)
        # The tasks' contexts lead back here: as a circle, each step would be left to the garbage collector.
        self.task = None
        if self.tasks:
            self.tasks[:] = [task for task in self.tasks if not task.done()]
        return unawaited
