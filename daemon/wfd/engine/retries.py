"""`retry`: a run that failed goes on, or another begins as it did.

Where it goes on is read from its history, which is on disk and may be long; so what was read is held against the run again, in the
same turn of the loop in which the decision is made.
"""

from __future__ import annotations

import difflib

import msgspec

from wfctl.errors import ConflictError, InvalidArgumentError, NotFoundError, RunNotFoundError, WorkflowAlreadyRunning
from wfctl.protocol import calls
from wfctl.values.commands import command
from wfctl.values.ids import check_new_id
from wfctl.values.opkeys import in_few_words
from wfctl.values.status import Status
from wfd.core import course, records, stimuli as s
from wfd.core.decide import decide
from wfd.core.operations import folded
from wfd.core.state import Run, Sleeping, Stepping, Stuck, Waiting
from wfd.engine.commands import Commands
from wfd.engine.engine import Engine
from wfd.engine.memory import Live

RETRIED = (Status.FAILED, Status.TIMED_OUT, Status.STUCK)


class Retries:
    def __init__(self, engine: Engine, commands: Commands) -> None:
        self._e = engine
        self._c = commands

    async def retry(self, call: calls.Retry) -> calls.Retried:
        """Raises ConflictError where nothing has failed, WorkflowAlreadyRunning, NotFoundError for a step that is not there..."""
        self._c.check_taking()
        if call.new:
            return await self._anew(call)
        if call.workflow_id is not None:
            raise InvalidArgumentError("a run that goes on keeps its workflow ID", hint="wfctl retry --new --id ID")
        live = await self._c.find(call)
        while True:
            while self._e.memory.pending(live):
                # It may go on while that is awaited: its history is all there only once nothing of it is on its way.
                await self._c.on_disk(live)
                live = await self._again(live.run)
            run = live.run
            try:
                self._check(run)
                asked = await self._asked(run, call)
                live = await self._again(run)
                if live.run.seq == run.seq:
                    self._check(run)
                    return await self._go_on(live, asked, call.dry_run)
            finally:
                self._e.memory.settle(live)

    async def _again(self, run: Run) -> Live:
        live = await self._c.load(run.key)
        self._c.check_taking()
        if live is None:
            raise RunNotFoundError(f"no run {run.run_id!r}", hint="wfctl list")
        return live

    def _check(self, run: Run) -> None:
        """Whether the run can be re-opened: something of it has failed, and its workflow ID is free."""
        if run.status not in RETRIED:
            raise ConflictError(
                f"run {run.workflow_id!r} ({run.run_id}) is {run.status}; only what failed, timed out or is stuck goes on",
                hint=command("retry --new", run.workflow_id) if run.closed else command("show", run.workflow_id),
                workflow_id=run.workflow_id,
                run_id=run.run_id,
                status=str(run.status),
            )
        other = self._e.open_ids.get(run.workflow_id, run.key)
        if other != run.key:
            raise WorkflowAlreadyRunning(
                f"run {run.run_id} cannot go on: workflow ID {run.workflow_id!r} has another open run",
                hint=command("show", run.workflow_id),
                workflow_id=run.workflow_id,
                run_id=run.run_id,
            )

    async def _asked(self, run: Run, call: calls.Retry) -> s.RetryAsked:
        """The stimulus, with the point that the history gives."""
        if isinstance(run.phase, Stuck) and call.from_step is None:
            return s.RetryAsked(None, call.reason or "")
        reader = self._e.store.reader
        past = course.Course(run.seq)
        rows = await reader.course(run.key, course.KINDS)
        await self._again(run)  # a purge may have left nothing to read, or half of it
        for row in rows:
            if row.seq <= run.seq:
                past.take(row.seq, row.at, records.decode(row.kind, row.data))
        if call.from_step is not None:
            target = past.find(call.from_step)
            if target is None:
                raise _no_such_step(run, call.from_step, past.steps)
            return s.RetryAsked(past.back_to(target), call.reason or "")
        since = past.standing.seq if isinstance(past.standing, course.Execution) else run.seq
        latest = await reader.history_after(run.key, since)
        point = past.failed(records.decode(row.kind, row.data) for row in latest if row.seq <= run.seq)
        return s.RetryAsked(point, call.reason or "")

    async def _go_on(self, live: Live, asked: s.RetryAsked, dry_run: bool) -> calls.Retried:
        before = live.run
        if dry_run:
            after = decide(before, asked, self._e.clock.now_ms()).run
            return self._with_code(after, _retried(before, after, asked, dry_run=True))
        batch = self._e.batch()
        after = batch.decide(live, asked).run
        await self._e.committed(batch)
        return self._with_code(after, _retried(before, after, asked))

    def _with_code(self, after: Run, answer: calls.Retried) -> calls.Retried:
        """`answer`, with the status that comes of it where the code has no handler for the step."""
        phase, catalog = after.phase, self._e.workers.catalog
        if not isinstance(phase, Stepping) or catalog.step_handler(after.workflow_type, phase.kind, phase.handler):
            return answer
        reason = catalog.missing(after.workflow_type, phase.kind, phase.handler)
        return msgspec.structs.replace(answer, status=Status.STUCK, stuck_reason=reason)

    async def _anew(self, call: calls.Retry) -> calls.Retried:
        """Another run of the same type and input. It is nobody's child, and the old one stays as it is."""
        if call.from_step is not None:
            raise InvalidArgumentError("a new run begins at its start", hint="leave out --from, or --new")
        if call.workflow_id is not None:
            check_new_id(call.workflow_id)
        live = await self._c.find(call)
        run = live.run
        await self._c.on_disk(live)
        self._e.memory.settle(live)
        if not run.closed:
            raise ConflictError(
                f"run {run.workflow_id!r} ({run.run_id}) is {run.status}; a new one like it can begin when it has closed",
                hint=command("show", run.workflow_id),
                workflow_id=run.workflow_id,
                run_id=run.run_id,
                status=str(run.status),
            )
        try:
            started = await self._c.start(
                calls.Start(
                    workflow_type=run.workflow_type, workflow_id=call.workflow_id or run.workflow_id, input=run.input,
                    timeout_ms=run.timeout_ms, dry_run=call.dry_run,
                )
            )  # fmt: skip
        except WorkflowAlreadyRunning as error:
            error.hint = (
                "give the new run an ID that is free: --id ID"  # what a start could do about it, a retry cannot
            )
            raise
        return calls.Retried(
            # A run that was not started has no ID; what it would be like has.
            run_id=started.run.id or run.run_id, workflow_id=started.run.workflow_id, old_run_id=run.run_id, was=run.status,
            status=started.status, new=True, dry_run=call.dry_run,
        )  # fmt: skip


def _no_such_step(run: Run, name: str, steps: list[course.Execution]) -> NotFoundError:
    known = [f"{one.step} {one.handler}" for one in steps]
    near = difflib.get_close_matches(name, [one.handler for one in steps], n=1, cutoff=0.6)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    return NotFoundError(
        f"run {run.workflow_id!r} has come through no step {name!r}{meant}; its steps are: {', '.join(known)}",
        hint=command("history", run.workflow_id),
        step=name,
        steps=known,
    )


def _retried(before: Run, after: Run, asked: s.RetryAsked, *, dry_run: bool = False) -> calls.Retried:
    point, phase = asked.point, after.phase
    answer = calls.Retried(
        run_id=after.run_id, workflow_id=after.workflow_id, old_run_id=before.run_id, was=before.status,
        status=after.status, dry_run=dry_run,
    )  # fmt: skip
    kept: list[str] = []
    recorded = list(before.phase.resume.ops) if isinstance(before.phase, Stuck) and point is None else []
    if point is not None:
        recorded = list(folded(point.records))
        answer = msgspec.structs.replace(
            answer, from_step=point.from_step, stored=sorted(point.put), unstored=sorted(point.deleted),
            requeued=[event.name for event in point.requeued],
        )  # fmt: skip
    match phase:
        case Stepping():
            kept = [key for key in recorded if key in phase.ops]
            answer = msgspec.structs.replace(answer, handler=phase.handler, step=phase.step, attempt=phase.attempt)
        case Sleeping():
            answer = msgspec.structs.replace(answer, handler=phase.handler)
        case Waiting():
            pass
    return msgspec.structs.replace(
        answer,
        kept=[in_few_words(key) for key in kept],
        dropped=[in_few_words(key) for key in recorded if key not in kept],
    )
