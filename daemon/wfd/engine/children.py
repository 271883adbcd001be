"""Children: begun once for each ID, however often their parent asks; waited for, and ended, by their run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from wfctl.errors import (
    InvalidArgumentError,
    RunNotFoundError,
    UnknownWorkflowTypeError,
    WfctlError,
    WorkflowAlreadyRunning,
)
from wfctl.protocol import channel
from wfctl.protocol.views import Outcome
from wfctl.values.codec import canonical, decode
from wfctl.values.commands import command
from wfctl.values.ids import check_new_id
from wfctl.values.opkeys import CLEANUP_MARK
from wfd.core import records as r, stimuli as s
from wfd.core.state import Raw, Run, Stepping
from wfd.engine.arguments import bind_any, rebound
from wfd.engine.asked import Asked, ChildArgs, EndArgs, marked
from wfd.engine.batch import Batch
from wfd.engine.code import Code
from wfd.engine.memory import Live, Memory, child_value
from wfd.engine.outcomes import as_child, outcome_of
from wfd.runtime.ids import IdSource
from wfd.runtime.promise import Promise
from wfd.store.store import Store
from wfd.supervisor import Workers


class Machine(Protocol):
    """What children need of the engine."""

    store: Store
    workers: Workers
    ids: IdSource
    memory: Memory
    code: Code
    open_ids: dict[str, int]

    def batch(self, now: int | None = None) -> Batch: ...
    def new_key(self) -> int: ...
    def commit(self, batch: Batch, then: Callable[[int], None] | None = None) -> None: ...
    def wait_closed(self, key: int) -> Promise[Outcome]: ...


class Desk(Protocol):
    """Where operations are recorded and answered."""

    def record(self, asked: Asked, batch: Batch, record: r.Operation, due_at: int | None = None) -> None: ...
    def refuse(self, asked: Asked, error: WfctlError, batch: Batch | None = None) -> None: ...
    def code_missing(self, asked: Asked, workflow_type: str) -> None: ...


class Question(msgspec.Struct, frozen=True):
    """How the child `run_id` ends. `place` and `unaware` tell what the handler did not know yet when it asked."""

    run_id: str
    place: int
    unaware: list[str]


def question_of(asked: Asked, run_id: str) -> Question:
    run = asked.live.run
    assert isinstance(run.phase, Stepping)
    return Question(run_id, run.seq - run.phase.since, sorted(asked.live.unheard))


class Children:
    def __init__(self, machine: Machine, desk: Desk) -> None:
        self._m = machine
        self._desk = desk

    async def known(self, asked: Asked, args: ChildArgs) -> None:
        """The parent has had children before: perhaps this one."""
        live = asked.live
        if live.children is None:
            rows = await self._m.store.reader.children_ids(live.run.key)
            # Children begun while this was read are on disk or in memory; both counts.
            live.children = {workflow_id: key for workflow_id, (key, _) in rows.items()} | (live.children or {})
        key = live.children.get(args.workflow_id)
        child = None if key is None else await self._m.memory.load(key)
        if asked.stale():
            return
        if child is None:
            self.new(asked, args)
            return
        run = child.run
        if (error := _differs(run, asked.op.name, args) or _heard(live.run, run, args)) is not None:
            self._desk.refuse(asked, error)
            self._m.memory.settle(child)
            return
        value = child_value(child.told_at(child.attempt)[1])
        record = r.ChildStarted(asked.op.key, run.run_id, run.workflow_id, run.workflow_type, value, existing=True)
        self._desk.record(asked, self._m.batch(), record)
        self._m.memory.settle(child)

    async def unbound(self, asked: Asked, args: ChildArgs) -> None:
        """The parent's worker does not have the child's type: another generation may, or it was taken out."""
        catalog, workflow_type = self._m.workers.catalog, asked.op.name
        try:
            spec = catalog.type_of(workflow_type)
        except UnknownWorkflowTypeError:
            if not self._m.code.former.knew(workflow_type):
                raise
            self._desk.code_missing(asked, workflow_type)
            return
        given = rebound(spec.start, args.input, args.positional)
        bound = Raw(await bind_any(self._m.workers, spec, spec.start, given, {}))
        if not asked.stale():
            await self.known(asked, msgspec.structs.replace(args, input=bound))

    def new(self, asked: Asked, args: ChildArgs, now: int | None = None) -> None:
        machine, parent, workflow_type = self._m, asked.live, asked.op.name
        try:
            check_new_id(args.workflow_id)
            if args.workflow_id in machine.open_ids:
                raise WorkflowAlreadyRunning(
                    f"workflow ID {args.workflow_id!r} has an open run already, which this run did not start",
                    hint=command("show", args.workflow_id),
                    workflow_id=args.workflow_id,
                )
        except WfctlError as error:
            self._desk.refuse(asked, error)
            return
        spec = machine.workers.catalog.types.get(workflow_type)
        if spec is None:
            # The handler's own code has it, or it would not have asked.
            self._desk.code_missing(asked, workflow_type)
            return
        batch = machine.batch(now)
        key, run_id = machine.new_key(), machine.ids.run_id(batch.now)
        workflow_type = spec.workflow_type  # the same text, one for all its runs
        child = batch.open(
            key=key, run_id=run_id, workflow_id=args.workflow_id, workflow_type=workflow_type,
            handler=spec.start.name, input=bytes(args.input), timeout_ms=args.timeout_ms, parent=parent,
            on_completed_step=args.on_completed_step, on_parent_close=args.on_parent_close,
        )  # fmt: skip
        record = r.ChildStarted(asked.op.key, run_id, args.workflow_id, workflow_type, child_value(child.told_at(1)[1]))
        batch.decide(parent, s.OperationAsked(asked.step, asked.attempt, marked(parent, record)), cause=True)
        if parent.children is None:
            parent.children = {}
        parent.children[args.workflow_id] = key
        reply = channel.OpDone(parent.token or 0, asked.op.op, bytes(record.value))
        machine.commit(batch, partial(machine.workers.answer, reply))

    async def result(self, asked: Asked, question: Question) -> None:
        """Answer with how a child ended, once it has. Its end is in its parent's history by then."""
        child = await self._of_run(question.run_id)
        if child is None or asked.stale():
            return
        if child.run.closed:
            self._closed(asked, question, outcome_of(child.run))
        else:
            # Not awaited here: that may take months, and is nothing that is on its way.
            self._m.wait_closed(child.run.key).then(partial(self._closes, asked, question))

    def _closes(self, asked: Asked, question: Question, closed: Promise[Outcome]) -> None:
        # With an error the engine stops, or begins again from the disk: then the handler asks again.
        if closed.value is not None:
            self._closed(asked, question, closed.value)

    def _closed(self, asked: Asked, question: Question, outcome: Outcome) -> None:
        if asked.stale():
            return
        live, key, value = asked.live, asked.op.key, msgspec.json.encode(as_child(outcome))
        if live.run.cancel is not None and not key.startswith(CLEANUP_MARK):
            # Its cancellation comes first, and ends this wait, in a replay too: nothing is to be found in its place.
            reply = channel.OpDone(live.token or 0, asked.op.op, value)
            self._m.commit(self._m.batch(), partial(self._m.workers.answer, reply))
            return
        record = r.ChildResultRecorded(
            key,
            outcome.run_id,
            outcome.workflow_id,
            str(outcome.status),
            Raw(value),
            question.place,
            unaware=question.unaware,
        )
        self._desk.record(asked, self._m.batch(), record)

    async def end(self, asked: Asked, args: EndArgs) -> None:
        """A child is asked to end, or ended, and that is recorded, in one unit. One that has closed stays as it is."""
        child = await self._of_run(args.run_id)
        if child is None or asked.stale():
            return
        live, op, run, reason, batch = asked.live, asked.op, child.run, args.reason, self._m.batch()
        cancels = op.kind == "child_cancel"
        if args.recorded:
            kind = r.ChildCancelRequested if cancels else r.ChildTerminated
            record = kind(op.key, run.run_id, run.workflow_id, reason, str(run.status) if run.closed else None)
            batch.decide(live, s.OperationAsked(asked.step, asked.attempt, marked(live, record)))
        batch.decide(child, s.CancelAsked(reason) if cancels else s.TerminateAsked(reason))
        reply = channel.OpDone(live.token or 0, op.op)
        self._m.commit(batch, partial(self._m.workers.answer, reply))

    async def _of_run(self, run_id: str) -> Live | None:
        """By its run ID alone: somebody's workflow ID may be the same."""
        key = await self._m.store.reader.key_of(run_id)
        if key is None:
            raise RunNotFoundError(f"no run {run_id!r}", hint="wfctl list", id=run_id)
        return await self._m.memory.load(key)


def _differs(run: Run, workflow_type: str, args: ChildArgs) -> InvalidArgumentError | None:
    """Why the child that there is cannot be what is asked for. Nothing but its start says who hears of its end."""
    if workflow_type != run.workflow_type:
        asked, there = f"as {workflow_type!r}", f"as {run.workflow_type!r}"
    elif _unordered(decode(args.input)) != _unordered(decode(run.input)):
        asked, there = f"with input {_shown(args.input)}", f"with {_shown(run.input)}"
    elif args.on_completed_step not in (None, run.on_completed_step):
        asked = f"with on_completed_step {args.on_completed_step!r}"
        there = f"with {repr(run.on_completed_step) if run.on_completed_step else 'none'}"
    elif args.on_parent_close not in ("abandon", run.on_parent_close):
        asked, there = f"with on_parent_close {args.on_parent_close!r}", f"with {run.on_parent_close!r}"
    else:
        return None
    return InvalidArgumentError(
        f"child {run.workflow_id!r} was started before {there}, and not {asked}",
        hint="start it once, with all that it is to have, or start another under an ID of its own",
        workflow_id=run.workflow_id,
    )


def _heard(parent: Run, run: Run, args: ChildArgs) -> InvalidArgumentError | None:
    """Why nobody would hear of the child's end any more, which its parent would then wait for in vain."""
    if args.on_completed_step is None or not run.closed:
        return None
    named = b'"run_id":"%b"' % run.run_id.encode()
    if any(event.step is not None and named in bytes(event.payload) for event in parent.inbox):
        return None
    return InvalidArgumentError(
        f"child {run.workflow_id!r} has closed ({run.status}), and step {args.on_completed_step!r} has been told of that",
        hint="an end is told once: start another under an ID of its own, or ask handle.result()",
        workflow_id=run.workflow_id,
    )


def _unordered(value: Any) -> Any:
    """The same for the lists that two processes make of one set."""
    if isinstance(value, list):
        return sorted(map(_unordered, value), key=canonical)
    return {name: _unordered(one) for name, one in value.items()} if isinstance(value, dict) else value


def _shown(input: Raw) -> str:
    text = bytes(input).decode()
    return text if len(text) <= 80 else f"{text[:77]}..."
