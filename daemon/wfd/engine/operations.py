"""Operations that handlers ask for: recorded, committed, and only then answered.

Each becomes one unit with whatever it does to other runs: a child and its parent's record, an event and the record of its
sender. A refusal is an outcome as well and is recorded too, so that a step that runs again sees the same.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

import msgspec

from wfctl.errors import (
    RunNotFoundError,
    StorageError,
    UnknownEventError,
    UnknownWorkflowTypeError,
    WfctlError,
)
from wfctl.protocol import channel
from wfctl.protocol.views import Outcome
from wfctl.values.failure import Failure
from wfctl.values.opkeys import CLEANUP_MARK
from wfctl.values.signature import unbound
from wfd.core import records as r, stimuli as s
from wfd.core.actions import DISPATCH
from wfd.core.state import Raw, Stepping
from wfd.engine.arguments import bind_any, rebound
from wfd.engine.asked import (
    Asked,
    ChildArgs,
    EndArgs,
    EventArgs,
    ParentEventArgs,
    ResultArgs,
    SleepArgs,
    TaskArgs,
    ValueArgs,
    marked,
)
from wfd.engine.batch import Batch
from wfd.engine.children import Children, question_of
from wfd.engine.code import Code
from wfd.engine.inboxes import Inboxes, no_inbox
from wfd.engine.memory import Live, Memory
from wfd.engine.reads import Reads
from wfd.runtime.clock import Clock
from wfd.runtime.ids import IdSource
from wfd.runtime.promise import Promise
from wfd.store.store import Store
from wfd.supervisor import Unanswered, Workers, WorkersEnded

log = logging.getLogger("wfd.engine")

_child_args = msgspec.json.Decoder(ChildArgs).decode
_parent_event_args = msgspec.json.Decoder(ParentEventArgs).decode
_event_args = msgspec.json.Decoder(EventArgs).decode
_result_args = msgspec.json.Decoder(ResultArgs).decode
_end_args = msgspec.json.Decoder(EndArgs).decode
_task_args = msgspec.json.Decoder(TaskArgs).decode
_TASK = frozenset({"task", "task_at_once", "task_attempt_failed", "task_completed", "task_failed"})
_NO_FAILURE = Failure("Error", "")
# An operation that failed for a reason that passes is tried again after this.
AGAIN_MS = 200


class Enders(Protocol):
    """Who ends executions."""

    def unfit(self, live: Live, step: int, attempt: int, reason: str, needs: str = "") -> None: ...


class Machine(Protocol):
    """What operations need of the engine."""

    store: Store
    workers: Workers
    ids: IdSource
    memory: Memory
    reads: Reads
    clock: Clock
    code: Code
    inboxes: Inboxes
    open_ids: dict[str, int]

    @property
    def executions(self) -> Enders: ...

    def batch(self, now: int | None = None) -> Batch: ...
    def new_key(self) -> int: ...
    def commit(self, batch: Batch, then: Callable[[int], None] | None = None) -> None: ...
    def wait_closed(self, key: int) -> Promise[Outcome]: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...
    async def pause(self, delay_ms: int) -> None: ...


class Operations:
    def __init__(self, machine: Machine) -> None:
        self._m = machine
        self._children = Children(machine, self)

    def asked(self, live: Live, step: int, attempt: int, op: channel.Op, now: int, waited: bool = False) -> None:
        """Take one operation, or take it up again once it has `waited` for room. What needs nothing from disk is decided before
        this returns, as of `now`."""
        asked = Asked(live, step, attempt, op, waited)
        if asked.stale():
            return
        match op.kind:
            case kind if kind in _TASK:
                self._task(asked, _task_args(op.args), now)
            case "child":
                args = _child_args(op.args)
                if args.unbound:
                    self._m.spawn(self._guarded(asked, partial(self._children.unbound, asked, args)))
                elif live.children is None or args.workflow_id in live.children:
                    self._m.spawn(self._guarded(asked, partial(self._children.known, asked, args)))
                else:
                    self._children.new(asked, args, now)
            case "parent_event":
                told = _parent_event_args(op.args)
                if told.unbound:
                    self._m.spawn(self._guarded(asked, partial(self._unbound_parent_event, asked, told)))
                else:
                    self._parent_event(asked, told.payload, now)
            case "event":
                self._m.spawn(self._guarded(asked, partial(self._event, asked, _event_args(op.args))))
            case "child_result":
                question = question_of(asked, _result_args(op.args).run_id)
                self._m.spawn(self._guarded(asked, partial(self._children.result, asked, question)))
            case "child_cancel" | "child_terminate":
                self._m.spawn(self._guarded(asked, partial(self._children.end, asked, _end_args(op.args))))
            case "resume":
                self._resume(asked, now)
            case "task_left":
                pass  # its record stays open: another execution tries it again
            case _:
                self._own(asked, now)

    def _own(self, asked: Asked, now: int) -> None:
        """Values that a handler takes from outside, and sleeps."""
        op, batch, due_at = asked.op, self._m.batch(now), None
        record: r.Operation
        match op.kind:
            case "now":
                record = r.TimestampRecorded(op.key, Raw(str(batch.now).encode()))
            case "random":
                record = r.RandomRecorded(op.key, msgspec.json.decode(op.args, type=ValueArgs).value)
            case "uuid":
                record = r.UuidRecorded(op.key, msgspec.json.decode(op.args, type=ValueArgs).value)
            case "sleep":
                due_at = batch.now + msgspec.json.decode(op.args, type=SleepArgs).duration_ms
                record = r.SleepRecorded(op.key, due_at)
            case other:
                log.error("a worker asked for the unknown operation %r", other)
                return
        self.record(asked, batch, record, due_at)

    def _task(self, asked: Asked, args: TaskArgs, now: int) -> None:
        """An attempt at a task begins, or has ended, or both at once."""
        op, batch, due_at, begun = asked.op, self._m.batch(now), None, None
        kind = op.kind
        record: r.Operation
        if kind == "task_at_once" or kind == "task":
            begun = marked(asked.live, r.TaskStarted(op.key, op.name, args.attempt, args.arguments))
            if kind == "task":
                # Not answered: what comes of it will be, after it.
                batch.decide(asked.live, s.OperationAsked(asked.step, asked.attempt, begun))
                self._m.commit(batch)
                return
        if kind == "task_at_once" or kind == "task_completed":
            record = r.TaskCompleted(op.key, op.name, args.attempts, args.result)
        elif kind == "task_failed":
            record = r.TaskFailed(op.key, op.name, args.attempts, args.failure or _NO_FAILURE, args.max_attempts)
        else:
            due_at, failure = batch.now + args.delay_ms, args.failure or _NO_FAILURE
            record = r.TaskAttemptFailed(op.key, op.name, args.attempt, failure, due_at, args.max_attempts)
        self.record(asked, batch, record, due_at, begun)

    async def _guarded(self, asked: Asked, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Until it is answered. A refusal is recorded and is for ever, so what fails for now only (the disk, a worker that
        was to check a payload) is tried again, and told of once for each reason. A payload whose check ends one worker after the
        other makes its sender stuck."""
        told = ""
        while not asked.stale():
            try:
                await work()
                return
            except WorkersEnded as error:
                if not asked.stale():
                    of = error.detail["workflow_type"]
                    what = f"{asked.op.kind} {asked.op.name!r}"
                    reason = f"workers end while they check {what}: correct the types of {of!r}"
                    self._m.executions.unfit(asked.live, asked.step, asked.attempt, reason, of)
                return
            except (StorageError, Unanswered) as error:
                if str(error) != told:
                    told = str(error)
                    of = asked.live.run.workflow_id
                    log.warning("%s waits for its %s %r: %s", of, asked.op.kind, asked.op.name, told)
            except WfctlError as error:
                self.refuse(asked, error)
                return
            await self._m.pause(AGAIN_MS)

    def record(
        self,
        asked: Asked,
        batch: Batch,
        record: r.Operation,
        due_at: int | None = None,
        begun: r.Operation | None = None,
    ) -> None:
        """Record the operation's outcome, behind that it has `begun` where nothing tells of that yet, commit, answer: at once, or
        when `due_at` has come."""
        live, record = asked.live, marked(asked.live, record)
        batch.decide(live, s.OperationAsked(asked.step, asked.attempt, record, begun), cause=True)
        phase = live.run.phase
        assert type(phase) is Stepping
        result = phase.ops[asked.op.key]
        reply = channel.OpDone(live.token or 0, asked.op.op, bytes(result.value), result.error)
        if result.error is not None or result.failure is not None:
            live.unheard |= {result.key}
            then = partial(self._answer_failed, live, result.key, reply, due_at)
        elif due_at is None:
            then = partial(self._m.workers.answer, reply)
        else:
            then = partial(self._answer, live.run.key, result.key, reply, due_at)
        self._m.commit(batch, then)

    def _answer_failed(self, live: Live, key: str, reply: channel.OpDone, due_at: int | None, now: int) -> None:
        live.unheard -= {key}
        self._answer(live.run.key, key, reply, due_at, now)

    def _answer(self, run: int, key: str, reply: channel.OpDone, due_at: int | None, now: int) -> None:
        if due_at is None:
            self._m.workers.answer(reply, now)
        elif due_at <= now:
            self._over(run, key, reply)
        else:
            # Nobody cancels this timer: a token that has gone by then is no matter.
            self._m.clock.call_at(due_at, partial(self._over, run, key, reply))

    def _over(self, run: int, key: str, reply: channel.OpDone) -> None:
        """Tell the handler that its sleep, or the delay before an attempt, is over. The next record says that a sleep was."""
        live = self._m.memory.get(run)
        if live is None or live.token != reply.token:
            return
        # A cancellation ends a sleep, in a replay too, whether or not it is over by then; those of the clean-up it does not.
        if key.startswith(f"{CLEANUP_MARK}sleep:") or (key.startswith("sleep:") and live.run.cancel is None):
            live.over.append(key)
        if self._m.memory.pending(live):
            # What is on its way was decided before, and is told of before.
            self._m.commit(self._m.batch(), partial(self._m.workers.answer, reply))
        else:
            self._m.workers.answer(reply)

    def _resume(self, asked: Asked, now: int) -> None:
        """Go on with an operation that an earlier execution began: when its sleep or its delay is over."""
        phase = asked.live.run.phase
        assert isinstance(phase, Stepping)
        live, key = asked.live, asked.op.key
        known = phase.ops.get(key)
        self._answer(
            live.run.key,
            key,
            channel.OpDone(live.token or 0, asked.op.op),
            None if known is None else known.due_at,
            now,
        )

    def refuse(self, asked: Asked, error: WfctlError, batch: Batch | None = None) -> None:
        if not asked.stale():
            op = asked.op
            self.record(asked, batch or self._m.batch(), r.OperationRefused(op.key, op.kind, op.name, error.to_data()))

    def code_missing(self, asked: Asked, workflow_type: str) -> None:
        """Nobody is at fault, so the handler hears of nothing: its run waits until the code is back."""
        if not asked.stale():
            reason = self._m.workers.catalog.missing(workflow_type, "start", "")
            self._m.executions.unfit(asked.live, asked.step, asked.attempt, reason, workflow_type)

    # -- events ------------------------------------------------------------------------------

    async def _unbound_parent_event(self, asked: Asked, args: ParentEventArgs) -> None:
        """The child's worker does not know the parent's handler: another generation may, or it was taken out."""
        parent = asked.live.parent
        assert parent is not None
        payload = await self._event_kwargs(parent.run.workflow_type, asked.op.name, args.payload, args.positional)
        if not asked.stale():
            self._parent_event(asked, payload)

    async def _event_kwargs(self, workflow_type: str, event: str, payload: Raw, positional: bool) -> Raw:
        """Keyword arguments for an event's handler. One that was taken out gets them when it is back."""
        catalog = self._m.workers.catalog
        try:
            handler, spec = catalog.event_of(workflow_type, event), catalog.type_of(workflow_type)
            return Raw(await bind_any(self._m.workers, spec, handler, rebound(handler, payload, positional), {}))
        except (UnknownEventError, UnknownWorkflowTypeError):  # also of a worker, whose code may be newer by then
            if not self._m.code.former.knew(workflow_type, event):
                raise
            return unbound(payload, positional)

    def _parent_event(self, asked: Asked, payload: Raw, now: int | None = None) -> None:
        child = asked.live
        assert child.parent is not None
        if self._m.inboxes.waits(asked, child.parent, self.asked):
            return
        batch = self._m.batch(now)
        arrived = batch.decide(child.parent, s.EventArrived(asked.op.name, payload, child.run.workflow_id, report=True))
        if arrived.refused:
            outcome = "parent_closed"
            log.warning(
                "%s sent %r to its parent %s, which is closed",
                child.run.workflow_id, asked.op.name, child.parent.run.workflow_id,
            )  # fmt: skip
        else:
            outcome = "dispatched" if DISPATCH in arrived.actions else "queued"
        self.record(asked, batch, r.ParentEventSent(asked.op.key, asked.op.name, outcome))

    async def _receiver(self, args: EventArgs) -> int:
        """The key of the run that is meant. That of a handle is one run alone, which another may have followed under its ID."""
        if args.run_id is not None:
            key = await self._m.store.reader.key_of(args.run_id)
            if key is None:
                raise RunNotFoundError(f"no run {args.run_id!r}", hint="wfctl list", id=args.run_id)
            return key
        if (key := self._m.open_ids.get(args.workflow_id)) is not None:
            return key
        match = await self._m.reads.resolve(args.workflow_id)
        if args.workflow_id not in (match.workflow_id, match.run_id):
            # A person may write the start of an ID; a program that does means another run.
            raise RunNotFoundError(
                f"no run {args.workflow_id!r}", hint=f"did you mean {match.workflow_id!r}?", id=args.workflow_id
            )
        return match.key

    async def _event(self, asked: Asked, args: EventArgs) -> None:
        machine, event = self._m, asked.op.name
        key = await self._receiver(args)
        target = await machine.memory.load(key)
        if target is None or target.run.closed:
            raise no_inbox(args.workflow_id, event)
        kwargs = await self._event_kwargs(target.run.workflow_type, event, args.payload, args.positional)
        target = await machine.memory.load(key)
        if asked.stale():
            return
        if target is None or target.run.closed:
            raise no_inbox(args.workflow_id, event)
        if machine.inboxes.waits(asked, target, self.asked):
            return
        batch = machine.batch()
        arrived = batch.decide(target, s.EventArrived(event, kwargs, asked.live.run.workflow_id))
        if arrived.refused:
            # In one unit with what the refusal recorded: the event may have met a wait whose time was up.
            self.refuse(asked, no_inbox(args.workflow_id, event), batch)
            return
        outcome = "dispatched" if DISPATCH in arrived.actions else "queued"
        run = target.run
        self.record(asked, batch, r.EventSent(asked.op.key, event, run.workflow_id, run.run_id, outcome))
