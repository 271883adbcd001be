"""Runs handlers: messages of the daemon in, their outcome out. Knows no sockets, so a test environment can hold one too.

Whatever a handler does (raise, exit, return nonsense, ignore its cancellation) becomes exactly one answer to its step.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import threading
import time
import types
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from wfctl.errors import InvalidPayloadError, WfctlError
from wfctl.protocol import channel
from wfctl.protocol.channel import OpDone, RunStep, StepGone, StepRaised, StepStuck, ToDaemon, ToWorker
from wfctl.sdk import current, offspring
from wfctl.sdk.blocking import BlockingContext
from wfctl.sdk.checks import bound, event_of, query_of, start_of, workflow_of
from wfctl.sdk.context import Context
from wfctl.sdk.directive import Directive, Next
from wfctl.sdk.failure import describe_exception
from wfctl.sdk.handler import Handler
from wfctl.sdk.hints import did_you_mean, listing
from wfctl.sdk.port import StepUnwind
from wfctl.sdk.sources import Sources
from wfctl.sdk.surroundings import AnyContext
from wfctl.sdk.threads import Threads
from wfctl.sdk.workflow import Workflow
from wfctl.values.codec import decode
from wfd.worker import branches, query, returned
from wfd.worker.fence import Fence
from wfd.worker.fitting import Misfit, arguments
from wfd.worker.host import Host
from wfd.worker.live import LiveOps
from wfd.worker.pool import Pool, ThreadedStep

# Own frames are left out of the tracebacks that users see.
HIDDEN = (os.path.dirname(os.path.abspath(__file__)),)
# Turns of the loop that a handler's remaining tasks get to ask for records before its return is judged.
_SETTLING_TURNS = 20
_enter = current.step.set


class Executor:
    """The steps of one worker. Create it with a running or ready loop; feed `receive`; `send` gets the answers; `now_ms` tells the
    time of log lines (UTC epoch), `time_limit` knows the clock that tasks are limited by, `fence` which steps may begin."""

    _ops_type = LiveOps

    def __init__(
        self,
        workflows: Mapping[str, Workflow],
        sources: Sources,
        send: Callable[[ToDaemon], None],
        loop: asyncio.AbstractEventLoop,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        time_limit: Callable[[int | None, float], current.Limit] = current.time_limit,
        fence: Fence | None = None,
    ) -> None:
        self._fence = fence or Fence()
        self._threads = Threads()
        self._host = Host(workflows, sources, send, loop, self._threads, now_ms, time_limit)
        self._workflows = workflows
        self._sources = sources
        self._send = send
        self._loop = loop
        self._steps: dict[int, LiveOps] = {}
        # By workflow type, kind and name, what has run before.
        self._found: dict[tuple[str, str, str], tuple[Workflow, Handler, Next]] = {}
        # The loop holds its tasks weakly; a handler's must not vanish.
        self._tasks: set[asyncio.Task[None]] = set()
        self._pool = Pool(loop)
        self._queries: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.on_stopped: Callable[[], None] | None = None
        offspring.follow()

    @property
    def idle(self) -> bool:
        return not self._tasks and not self._steps

    def receive(self, *messages: ToWorker) -> None:
        """Take messages, in their order; after `Stop`, `on_stopped` is called as soon as nothing runs. Never raises. To be called
        in the context of nobody's handler: a step begins with what it finds there."""
        steps = self._steps
        for message in messages:
            if type(message) is RunStep:
                self._run(message)
            elif type(message) is OpDone:
                if (step := steps.get(message.token)) is not None:
                    step.answer(message)
            else:
                self._take(message)

    def _take(self, message: ToWorker) -> None:
        match message:
            case channel.CancelStep():
                if (step := self._steps.get(message.token)) is not None:
                    step.request_cancel()
                if (turn := self._pool.beginning.get(message.token)) is not None:
                    turn.hurry()  # it has to begin, or it could not clean up
            case channel.AbandonStep():
                self._abandon(message.token)
            case channel.GiveBack():
                for token in list(self._pool.waiting)[: message.most]:
                    self._abandon(token)
            case channel.Check():
                self._check(message)
            case channel.Query():
                self._ask(message)
            case channel.Ping():
                self._send(self._pool.pong(message.number, self._threads.waiting))
            case channel.Stop():
                self._stopping = True
                self._maybe_stopped()

    def _maybe_stopped(self) -> None:
        if self._stopping and self.idle and self.on_stopped is not None:
            self.on_stopped()

    def cancel_all(self) -> None:
        """The daemon is gone: end every handler, and send nothing more."""
        for token in list(self._steps):
            self._abandon(token)
        for asked in list(self._queries):
            asked.cancel()

    def close(self) -> None:
        """Let go of the threads; those that still run a handler are not waited for."""
        self._pool.close()

    # -- beginning a step -----------------------------------------------------------------------

    def _run(self, message: RunStep) -> None:
        token, fence = message.token, self._fence
        fence.received = number = fence.received + 1
        found = self._found.get((message.workflow_type, message.kind, message.handler))
        if found is None:
            looked_for = self._find(message)
            if isinstance(looked_for, str):
                self._cannot_run(token, number, looked_for)
                return
            found = looked_for
        workflow, handler, after = found
        try:
            kwargs = arguments(handler, message.kwargs)
        except Misfit as error:
            self._cannot_run(token, number, error.reason)
            return
        step = self._ops_type(
            token, message.step, handler, workflow, after, message.cancel,
            _host=self._host, _run=message.run, _store=message.store,
        )  # fmt: skip
        if message.ops:
            step.repeat(message.ops)
        if message.logged:
            step.logged_before = _marks(message.logged)
        self._steps[token] = step
        drive = self._drive(step, kwargs, number) if handler.is_async else self._drive_thread(step, kwargs, number)
        # Not by the loop's factory: it numbers the tasks that a handler makes, and this is the handler.
        step.task = task = Task(drive, loop=self._loop, name=handler.name)
        task.step = step

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._queries.discard(task)
        self._maybe_stopped()

    def _cannot_run(self, token: int, number: int, why: str) -> None:
        if self._fence.begins(number):
            self._send(StepStuck(token, why))

    def _find(self, message: RunStep) -> tuple[Workflow, Handler, Next] | str:
        """What runs the step; in words, where there is nothing."""
        workflow = self._workflows.get(message.workflow_type)
        handler = None if workflow is None else workflow.handler(message.kind, message.handler)
        if workflow is None or handler is None:
            return self._missing(message, workflow)
        found = (workflow, handler, Next(workflow, self._sources))
        if handler.name == message.handler:  # the start handler is found whatever its name
            self._found[workflow.workflow_type, message.kind, handler.name] = found
        return found

    def _missing(self, message: RunStep, workflow: Workflow | None) -> str:
        """Why the step's handler is not there."""
        workflow_type = message.workflow_type
        if workflow is None:
            return (
                f"workflow type {workflow_type!r} is not loaded{did_you_mean(workflow_type, self._workflows)}: put back the "
                f"module that defines it (loaded: {listing(self._workflows)})"
            )
        known = workflow.names(message.kind)
        return (
            f"workflow {workflow_type!r} has no {message.kind} {message.handler!r} any more"
            f"{did_you_mean(message.handler, known)}: put it back (it has: {listing(known)})"
        )

    # -- running it -----------------------------------------------------------------------------

    async def _drive(self, step: LiveOps, kwargs: dict[str, Any], number: int) -> None:
        if not self._fence.begins(number):
            self._leave(step)
            return
        if step.abandoned:
            self._finish(step, None, None, None)
            return
        context = Context(step)
        _enter(step)
        outcome: Any = None
        raised: BaseException | None = None
        step.begun = True
        if step.cancel_requested:
            step.cancel_soon()
        try:
            outcome = step.handler.function(context, **kwargs)
            if type(outcome) is types.CoroutineType or (
                hasattr(outcome, "__await__") and not isinstance(outcome, Directive)
            ):
                outcome = await outcome
        except BaseException as error:
            raised = error
        if step.recorded_before and step.replay.unasked:
            await self._settle(step)
        self._finish(step, context, outcome, raised)
        raised = None  # its traceback holds this frame

    async def _settle(self, step: LiveOps) -> None:
        """Tasks that the handler left behind may be about to ask for the records that look unused."""
        quiet, passed = 0, 0
        while quiet < _SETTLING_TURNS:
            if not step.replay.unasked or all(task.done() for task in step.tasks):
                return
            quiet = quiet + 1 if passed == step._rest.passed and not step._rest.moves else 0
            passed = step._rest.passed
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                return

    async def _drive_thread(self, step: LiveOps, kwargs: dict[str, Any], number: int) -> None:
        """A plain `def`: runs in a thread that cannot be interrupted, so only its operations can end it early."""
        if not self._fence.begins(number):
            self._leave(step)
            return
        if step.abandoned:
            self._finish(step, None, None, None)
            return
        turn = self._pool.turn(step.token)
        if step.cancel_requested:
            turn.hurry()
        here = ThreadedStep(step, self._loop, self._threads, [], self._host.time_limit, live=step, turn=turn)
        context = BlockingContext(step, here.wait, here.read)
        branches.current.set(step)
        _enter(here)
        step.thread = 0  # not known yet, but a thread it will be
        outcome: Any = None
        raised: BaseException | None = None
        try:
            await turn.begin()
            run = partial(contextvars.copy_context().run, _in_thread, step, context, kwargs)
            outcome, raised = await turn.run(run)
        except asyncio.CancelledError as error:  # abandoned before it had a thread
            raised = error
        turn.end()
        self._finish(step, context, outcome, raised)

    def _abandon(self, token: int) -> None:
        step = self._steps.get(token)
        if step is None:
            # Its answer crossed this message; the daemon waits for the handler to let go, which it has.
            self._send(StepGone(token))
            return
        step.abandon()
        if token in self._pool.beginning and step.task is not None:
            step.task.cancel()

    # -- ending it ------------------------------------------------------------------------------

    def _leave(self, step: LiveOps) -> None:
        """Others have it, and answer it: it was given back."""
        if self._steps.get(step.token) is step:
            del self._steps[step.token]
        step.close()
        if self._stopping:
            self._maybe_stopped()

    def _finish(self, step: LiveOps, context: AnyContext | None, outcome: Any, raised: BaseException | None) -> None:
        if self._steps.get(step.token) is step:
            del self._steps[step.token]
        try:
            forgotten = step.close()
            if (
                context is None
                or raised is not None
                or forgotten
                or (step.recorded_before and step.replay.unasked)
                or step.stuck_reason is not None
                or step.abandoned
            ):
                done = None
            else:
                done = returned.done(step, outcome, context)
            self._send(self._answer(step, outcome, raised, forgotten) if done is None else done)
        except Exception as error:  # an outcome that cannot be written must not leave the step without an answer
            self._send(StepRaised(step.token, describe_exception(error, self._sources)))
        if self._stopping:
            self._maybe_stopped()

    def _answer(self, step: LiveOps, outcome: Any, raised: BaseException | None, forgotten: list[str]) -> ToDaemon:
        """What is to be said of a step that did not end with a directive for its run."""
        if step.abandoned:
            return StepGone(step.token)
        if step.stuck_reason is not None:
            return StepStuck(step.token, step.stuck_reason, step.replay.both_sides())
        cancelled = step.cancel_delivered and isinstance(raised, asyncio.CancelledError)
        if step.replay.unasked and not cancelled:
            # Also when it raised: before, it had got further than this, so the code or the world has changed, and failing
            # the run would throw away what was done.
            reason = step.disagreement()
            if raised is not None and not isinstance(raised, StepUnwind):
                reason += f" (it raised {describe_exception(raised, self._sources)})"
            return StepStuck(step.token, reason, step.replay.both_sides())
        if raised is not None:
            return StepRaised(step.token, returned.failure(raised, self._sources), cancelled)
        place = self._sources.place(step.handler.file, step.handler.line, step.handler.function.__name__)
        error = returned.wrong(step, outcome, forgotten)
        return StepRaised(step.token, describe_exception(error, self._sources, frame=place))

    # -- checking and asking --------------------------------------------------------------------

    def _check(self, message: channel.Check) -> None:
        what = f"input of {message.workflow_type!r}"
        try:
            if message.kind == "start":
                handler = start_of(self._workflows, message.workflow_type)
            elif message.kind == "query":
                what = f"arguments of query {message.handler!r}"
                handler = query_of(workflow_of(self._workflows, message.workflow_type), message.handler)
            else:
                what = f"payload of event {message.handler!r}"
                handler = event_of(workflow_of(self._workflows, message.workflow_type), message.handler)
            payload = decode(message.payload) if message.payload else None
            answer = channel.Checked(message.call, bound(handler, payload, what, text=message.text))
        except WfctlError as error:
            answer = channel.Checked(message.call, error=error.to_data())
        except BaseException as error:  # converting runs the user's own code, which may even exit
            refused = InvalidPayloadError(f"{what}: converting it raised {type(error).__name__}: {error}")
            answer = channel.Checked(message.call, error=refused.to_data())
        self._send(answer)

    def _ask(self, message: channel.Query) -> None:
        task = self._loop.create_task(self._answer_query(message))
        self._queries.add(task)
        self._keep(task)

    async def _answer_query(self, message: channel.Query) -> None:
        self._send(await query.answer(message, self._workflows, self._sources, self._threads))


def _marks(logged: bytes) -> Counter[bytes]:
    size = channel.MARK_BYTES
    return Counter(logged[at : at + size] for at in range(0, len(logged), size))


class Task(asyncio.Task[None]):
    """What the handler of `step` runs in. Code that cancels whatever task there is may come before its first turn: it would end
    without a word of the step, which may begin anew instead."""

    __slots__ = ("step",)

    step: LiveOps

    def cancel(self, msg: Any = None) -> bool:
        if inspect.getcoroutinestate(self.get_coro()) != inspect.CORO_CREATED:  # type: ignore[arg-type]
            return super().cancel(msg)
        self.step.abandoned = True
        return True


def _in_thread(step: LiveOps, context: AnyContext, kwargs: dict[str, Any]) -> tuple[Any, BaseException | None]:
    if step.abandoned:
        return None, asyncio.CancelledError()
    step.thread = threading.get_ident()
    step.begun = True
    try:
        return step.handler.function(context, **kwargs), None
    except BaseException as error:
        return None, error
