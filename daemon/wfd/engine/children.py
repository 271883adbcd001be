"""Children: begun once for each ID, however often their parent asks; waited for, and ended, by their run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Protocol

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
from wfctl.values.commands import command
from wfctl.values.ids import check_new_id
from wfctl.values.runinfo import ParentInfo, RunInfo
from wfd.core import records as r, stimuli as s
from wfd.core.state import Raw, Run
from wfd.engine.arguments import bind_any, rebound
from wfd.engine.asked import Asked, ChildArgs, marked
from wfd.engine.batch import Batch
from wfd.engine.code import Code
from wfd.engine.memory import Live, Memory, child_value
from wfd.engine.outcomes import as_child, outcome_of
from wfd.runtime.ids import IdSource
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

    def batch(self) -> Batch: ...
    def new_key(self) -> int: ...
    def commit(self, batch: Batch, then: Callable[[], None] | None = None) -> None: ...
    async def committed(self, batch: Batch) -> None: ...
    def wait_closed(self, key: int) -> asyncio.Future[Outcome]: ...


class Desk(Protocol):
    """Where operations are recorded and answered."""

    def record(self, asked: Asked, batch: Batch, record: r.Operation, due_at: int | None = None) -> None: ...
    def refuse(self, asked: Asked, error: WfctlError, batch: Batch | None = None) -> None: ...
    def code_missing(self, asked: Asked, workflow_type: str) -> None: ...


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
        if asked.stale:
            return
        if child is None:
            self.new(asked, args)
            return
        run = child.run
        if (error := _differs(run, args)) is not None:
            self._desk.refuse(asked, error)
            self._m.memory.settle(child)
            return
        record = r.ChildStarted(
            asked.op.key, run.run_id, run.workflow_id, run.workflow_type, child_value(child.info), existing=True
        )
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
        if not asked.stale:
            await self.known(asked, msgspec.structs.replace(args, input=bound))

    def new(self, asked: Asked, args: ChildArgs) -> None:
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
        batch = machine.batch()
        key, run_id, of = machine.new_key(), machine.ids.run_id(), parent.run
        info = RunInfo(
            run_id, args.workflow_id, workflow_type, ParentInfo(of.run_id, of.workflow_id, of.workflow_type),
            of.root_id, 1, batch.now,
        )  # fmt: skip
        record = r.ChildStarted(asked.op.key, run_id, args.workflow_id, workflow_type, child_value(info))
        batch.decide(parent, s.OperationAsked(asked.step, asked.attempt, marked(parent, record)))
        batch.open(
            key=key, run_id=run_id, workflow_id=args.workflow_id, workflow_type=workflow_type,
            handler=spec.start.name, input=bytes(args.input), timeout_ms=args.timeout_ms, parent=parent,
            on_completed_step=args.on_completed_step, on_parent_close=args.on_parent_close,
        )  # fmt: skip
        if parent.children is None:
            parent.children = {}
        parent.children[args.workflow_id] = key
        reply = channel.OpDone(parent.token or 0, asked.op.op, bytes(record.value))
        machine.commit(batch, lambda: machine.workers.answer(reply))

    async def result(self, asked: Asked) -> None:
        """Answer with how a child ended, once it has. Its end is in its parent's history by then."""
        child = await self._of_run(asked)
        if child is None or asked.stale:
            return
        if child.run.closed:
            outcome = outcome_of(child.run)
            await self._m.committed(self._m.batch())  # its end may be on its way to the disk
            self._closed(asked, outcome)
        else:
            # Not awaited here: that may take months, and is nothing that is on its way.
            self._m.wait_closed(child.run.key).add_done_callback(partial(self._closes, asked))

    def _closes(self, asked: Asked, closed: asyncio.Future[Outcome]) -> None:
        # With an error the engine stops, or begins again from the disk: then the handler asks again.
        if not closed.cancelled() and closed.exception() is None:
            self._closed(asked, closed.result())

    def _closed(self, asked: Asked, outcome: Outcome) -> None:
        if not asked.stale:
            reply = channel.OpDone(asked.live.token or 0, asked.op.op, msgspec.json.encode(as_child(outcome)))
            self._m.workers.answer(reply)

    async def end(self, asked: Asked, stimulus: s.CancelAsked | s.TerminateAsked) -> None:
        """A child is asked to end, or ended; not recorded, as one that has closed, or was asked before, stays as it is."""
        child = await self._of_run(asked)
        if child is None or asked.stale:
            return
        batch = self._m.batch()
        batch.decide(child, stimulus)
        reply = channel.OpDone(asked.live.token or 0, asked.op.op)
        self._m.commit(batch, lambda: self._m.workers.answer(reply))

    async def _of_run(self, asked: Asked) -> Live | None:
        """By its run ID alone: somebody's workflow ID may be the same."""
        key = await self._m.store.reader.key_of(asked.op.name)
        if key is None:
            raise RunNotFoundError(f"no run {asked.op.name!r}", hint="wfctl list", id=asked.op.name)
        return await self._m.memory.load(key)


def _differs(run: Run, args: ChildArgs) -> InvalidArgumentError | None:
    """Why the child that there is cannot be what is asked for. Nothing but its start says who hears of its end."""
    if args.on_completed_step not in (None, run.on_completed_step):
        asked, there = f"on_completed_step {args.on_completed_step!r}", run.on_completed_step
    elif args.on_parent_close not in ("abandon", run.on_parent_close):
        asked, there = f"on_parent_close {args.on_parent_close!r}", run.on_parent_close
    else:
        return None
    return InvalidArgumentError(
        f"child {run.workflow_id!r} was started before with {repr(there) if there else 'none'}, and not with {asked}",
        hint="start it once, with all that it is to have, or start another under an ID of its own",
        workflow_id=run.workflow_id,
    )
