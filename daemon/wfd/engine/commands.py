"""What clients ask of the engine: start, send, cancel, terminate, wait for a result. One method a verb.

Each checks everything that can be wrong before it decides, decides and submits without an `await` between, and answers after the
commit.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

from wfctl.errors import (
    DaemonDownError,
    InvalidArgumentError,
    RunNotFoundError,
    WfctlError,
    WorkflowAlreadyClosed,
    WorkflowAlreadyRunning,
)
from wfctl.protocol import calls
from wfctl.protocol.views import Outcome
from wfctl.values.ids import check_new_id
from wfctl.values.runinfo import RunInfo
from wfctl.values.signature import HandlerSpec, TypeSpec
from wfctl.values.status import Status
from wfctl.values.times import MAX_MS
from wfd.core import stimuli as s
from wfd.core.decide import decide
from wfd.core.state import Closed, Raw, Run
from wfd.engine.arguments import bind_any, bind_plain, check_timeout, rebound
from wfd.engine.claims import Claims
from wfd.engine.engine import Engine
from wfd.engine.memory import AT_ONCE, Live
from wfd.engine.outcomes import outcome_of
from wfd.runtime.clock import Clock
from wfd.runtime.promise import Promise


class Commands:
    def __init__(self, engine: Engine) -> None:
        self._e = engine
        self._looking = asyncio.Semaphore()
        # Workflow IDs of starts that ask for closed runs: of several at once one begins what the others are to find.
        self._claims: Claims[str] = Claims()

    def check_taking(self) -> None:
        """Raises the error of a daemon that takes no commands."""
        engine = self._e
        if engine.failure is not None:
            raise engine.failure
        if engine.draining:
            raise DaemonDownError("the daemon is stopping and takes no more commands", hint="wfctl up")

    # -- start -------------------------------------------------------------------------------

    async def start(self, call: calls.Start) -> calls.Started:
        """A new run, committed. Raises WorkflowAlreadyRunning, UnknownWorkflowTypeError, InvalidPayloadError..."""
        spec = self._startable(call)
        if call.if_closed == "start" or call.workflow_id is None:
            return await self._start(call, spec)
        async with self._claims.of(call.workflow_id):
            self.check_taking()
            return await self._start(call, spec)

    async def _start(self, call: calls.Start, spec: TypeSpec) -> calls.Started:
        engine = self._e
        if call.workflow_id is not None:
            existing = await self._existing(call)
            if existing is not None:
                return existing
        handler, payload = spec.start, rebound(spec.start, call.input, call.positional)
        if handler.plain:
            kwargs = bind_plain(spec, handler, payload, call.text)
        else:
            kwargs = await bind_any(engine.workers, spec, handler, payload, call.text)
            self.check_taking()
            # While a worker looked at the arguments somebody else may have taken the ID.
            if call.workflow_id is not None and (existing := await self._existing(call)) is not None:
                return existing
        return await self._begin(call, spec, handler, kwargs).future()

    def starting(self, call: calls.Start) -> Promise[calls.Started] | None:
        """What `start` answers, where that needs no one but the disk: as nearly all who ask, and what they ask with then costs no
        task of its own. Else None, and nothing has been done. Raises as `start` does."""
        if call.workflow_id in self._e.open_ids or call.if_closed != "start":
            return None
        spec = self._startable(call)
        handler = spec.start
        if not handler.plain:
            return None
        payload = rebound(handler, call.input, call.positional)
        return self._begin(call, spec, handler, bind_plain(spec, handler, payload, call.text))

    def _startable(self, call: calls.Start) -> TypeSpec:
        """The type to start, once all is well that can be told without waiting."""
        self.check_taking()
        if call.if_running not in ("fail", "use"):
            raise InvalidArgumentError(f"if_running is 'fail' or 'use', not {call.if_running!r}")
        if call.if_closed not in ("start", "use", "fail"):
            raise InvalidArgumentError(f"if_closed is 'start', 'use' or 'fail', not {call.if_closed!r}")
        check_timeout(call.timeout_ms)
        if call.begins_at is not None or call.delay_ms is not None:
            _check_beginning(call, self._e.clock)
        spec = self._e.workers.catalog.type_of(call.workflow_type)
        if call.workflow_id is not None:
            check_new_id(call.workflow_id)
        return spec

    def _begin(self, call: calls.Start, spec: TypeSpec, handler: HandlerSpec, kwargs: bytes) -> Promise[calls.Started]:
        """Begin the run, whose ID is free, with its start handler; the promise is kept when it is on the disk, or never will be."""
        engine = self._e
        workflow_id = call.workflow_id or self._readable(call.workflow_type)
        batch = engine.batch()
        begins_at = call.begins_at if call.delay_ms is None else batch.now + call.delay_ms
        if begins_at is not None and begins_at <= batch.now:
            begins_at = None
        status = Status.RUNNING if begins_at is None else Status.SLEEPING
        if call.dry_run:
            info = RunInfo("", workflow_id, call.workflow_type, started_at_ms=batch.now)
            promise = Promise(engine.loop, calls.Started(run=info, status=status, begins_at=begins_at))
            engine.loop.call_soon(promise.end)
            return promise
        live = batch.open(
            key=engine.new_key(), run_id=engine.ids.run_id(batch.now), workflow_id=workflow_id,
            workflow_type=spec.workflow_type, handler=handler.name, input=kwargs, timeout_ms=call.timeout_ms,
            begins_at=begins_at,
        )  # fmt: skip
        promise = Promise(engine.loop, calls.Started(run=live.info_at(1), status=status, begins_at=begins_at))
        engine.commit(batch, None, promise.end)
        return promise

    def _readable(self, workflow_type: str) -> str:
        while True:
            workflow_id = self._e.ids.readable(workflow_type)
            if workflow_id not in self._e.open_ids:
                return workflow_id

    async def _existing(self, call: calls.Start) -> calls.Started | None:
        """The run of the asked ID, open or, where that is asked for, closed, for `use`; WorkflowAlreadyRunning or
        WorkflowAlreadyClosed for `fail`; None where the ID is free, and then nothing is waited for after that was seen."""
        assert call.workflow_id is not None
        while True:
            key = self._e.open_ids.get(call.workflow_id)
            if key is not None:
                live = await self.load(key)
                # While it was read it may have closed, and somebody else may have taken the ID.
                if live is not None and not live.run.closed:
                    break
            elif call.if_closed == "start":
                return None
            else:
                live, last = await self._newest(call.workflow_id)
                if last and live is None:
                    return None
                if last and live is not None and live.run.closed:
                    break
        run, info, use = live.run, live.info(), call.if_closed if live.run.closed else call.if_running
        await self.on_disk(live)
        self._e.memory.settle(live)
        if use != "use":
            raise _taken(run)
        if run.workflow_type != call.workflow_type:
            raise _of_another_type(run, call.workflow_type)
        return calls.Started(run=info, status=run.status, existing=True)

    async def _newest(self, workflow_id: str) -> tuple[Live | None, bool]:
        """The newest run of an ID that has no open one, and whether none was begun while it was looked for. All that is decided is
        on the disk before that is asked: a run that has just closed is in no list of open ones, and may not be there yet."""
        engine = self._e
        engine.sought.add(workflow_id)
        try:
            await engine.committed(engine.batch())
            key = await engine.store.reader.newest_of(workflow_id)
            live = None if key is None else await self.load(key)
        finally:
            last = workflow_id in engine.sought
            engine.sought.discard(workflow_id)
        self.check_taking()
        return live, last

    # -- runs that are there -----------------------------------------------------------------

    async def load(self, key: int, turn: AbstractAsyncContextManager[Any] = AT_ONCE) -> Live | None:
        """The run, read from disk if need be, once it has its `turn` for that; None where there is no such run."""
        live = await self._e.memory.load(key, turn)
        self._e.check_open()
        return live

    async def on_disk(self, live: Live) -> None:
        """Wait for what is on its way: nobody is told what could still be lost."""
        if self._e.memory.pending(live):
            await self._e.committed(self._e.batch())

    async def _standing(self, live: Live) -> Outcome:
        """How the run stands now, once that is on disk."""
        outcome = outcome_of(live.run)
        await self.on_disk(live)
        self._e.memory.settle(live)
        return outcome

    def _key_of(self, call: calls.RunCall) -> int | None:
        """The key of the run that a call means, where that needs no reading."""
        key = None if call.exact else self._e.open_ids.get(call.id)
        # Programs go on by the run ID they were given, mostly while the run is still at it.
        return self._e.memory.key_of(call.id) if key is None else key

    async def find(self, call: calls.RunCall, turn: AbstractAsyncContextManager[Any] = AT_ONCE) -> Live:
        """The run that a call means, in memory; RunNotFoundError or AmbiguousIdError. What has to be read waits its `turn`."""
        self._e.check_open()
        key = self._key_of(call)
        if key is None:
            async with turn:
                key = (await self._e.reads.resolve(call.id, exact=call.exact)).key
        live = await self.load(key, turn)
        if live is None:
            raise RunNotFoundError(f"no run {call.id!r}", hint="wfctl list")
        return live

    async def cancel(self, call: calls.Cancel) -> calls.Changed:
        return await self._end(call, s.CancelAsked(call.reason or ""))

    async def terminate(self, call: calls.Terminate) -> calls.Changed:
        return await self._end(call, s.TerminateAsked(call.reason or ""))

    async def _end(
        self, call: calls.Cancel | calls.Terminate, stimulus: s.CancelAsked | s.TerminateAsked
    ) -> calls.Changed:
        self.check_taking()
        live = await self.find(call)
        if call.dry_run:
            return await self._would_end(live, stimulus, call.children)
        batch = self._e.batch()
        decision = batch.decide(live, stimulus)
        run = live.run
        await self._e.committed(batch)
        return calls.Changed(
            run_id=run.run_id,
            workflow_id=run.workflow_id,
            status=run.status,
            changed=bool(decision.records),
            descendants=await self._end_below(run.key, stimulus) if call.children else 0,
        )

    async def _would_end(self, live: Live, stimulus: s.CancelAsked | s.TerminateAsked, children: bool) -> calls.Changed:
        """What `_end` would answer now."""
        run, now, below = live.run, self._e.clock.now_ms(), 0
        decision = decide(run, stimulus, now)
        await self.on_disk(live)
        self._e.memory.settle(live)
        for key in await self._e.reads.descendants(run.key) if children else ():
            child = await self.load(key)
            if child is not None:
                below += bool(decide(child.run, stimulus, now).records)
                self._e.memory.settle(child)
        return calls.Changed(
            run_id=run.run_id, workflow_id=run.workflow_id, status=decision.run.status, changed=bool(decision.records),
            descendants=below, dry_run=True,
        )  # fmt: skip

    async def _end_below(self, key: int, stimulus: s.CancelAsked | s.TerminateAsked) -> int:
        """End every open run below, from the top down, until none is found that was started meanwhile."""
        ended = 0
        seen: set[int] = set()
        while found := [below for below in await self._e.reads.descendants(key) if below not in seen]:
            seen.update(found)
            for below in found:
                live = await self.load(below)
                if live is None:
                    continue
                batch = self._e.batch()
                if batch.decide(live, stimulus).records:
                    ended += 1
                    await self._e.committed(batch)
                else:
                    self._e.memory.settle(live)
        return ended

    async def query(self, call: calls.Query) -> calls.QueryAnswer:
        """What a query handler makes of the run's committed store. Nothing is recorded."""
        engine = self._e
        live = await self.find(call)
        run = live.run
        handler = engine.workers.catalog.query_of(run.workflow_type, call.name)
        spec = engine.workers.catalog.type_of(run.workflow_type)
        store, pending = dict(live.store), engine.memory.pending(live)
        if pending:
            await engine.committed(engine.batch())  # what is shown is on disk
        payload = rebound(handler, call.input, call.positional)
        kwargs = await bind_any(engine.workers, spec, handler, payload, call.text)
        value = await engine.workers.query(live.info(), call.name, kwargs, store)
        engine.memory.settle(live)
        return calls.QueryAnswer(run_id=run.run_id, workflow_id=run.workflow_id, value=Raw(value))

    async def result(self, call: calls.Result) -> Outcome:
        """How the run stands; with `wait`, once it has closed, its status is one of those asked for, or the time is up."""
        self._e.check_open()
        key = self._key_of(call)
        if key is None and (ended := self._e.memory.recent.get(call.id)) is not None:
            return ended
        live = None if key is None else self._e.memory.get(key)
        if live is None:
            # Thousands may be asked for in one breath, and nobody else's reads are to stand behind all of theirs.
            live = await self.find(call, self._looking)
        early = {*call.until, Status.STUCK} if call.stuck else {*call.until}
        if live.run.closed or not call.wait or live.run.status in early:
            return await self._standing(live)
        key = live.run.key
        closed = self._e.wait_closed(key)
        timeout_s = None if call.timeout_ms is None else call.timeout_ms / 1_000
        try:
            if early:
                return await self._closed_or_in(early, live, closed, timeout_s)
            return await asyncio.wait_for(closed.future(), timeout_s)
        except TimeoutError:
            return await self._standing(await self.load(key) or live)
        finally:
            closed.cancel()

    def closing(self, call: calls.Result) -> Promise[Outcome] | None:
        """What `result` answers, where it would find the run in memory, open, and wait for nothing but its end: as nearly all who
        ask, and what they ask with then costs no task of its own. Else None."""
        engine = self._e
        if not call.wait or call.timeout_ms is not None or call.stuck or call.until or engine.failure is not None:
            return None
        key = self._key_of(call)
        if key is None or (live := engine.memory.get(key)) is None or type(live.run.phase) is Closed:
            return None
        return engine.wait_closed(key)

    async def _closed_or_in(
        self, early: set[Status], live: Live, closed: Promise[Outcome], timeout_s: float | None
    ) -> Outcome:
        key = live.run.key
        # Followed before it is looked at: what happens while it is read is a notice.
        follower = self._e.hub.follow({live.run.root})
        closed.then(lambda _: follower.end())
        try:
            async with asyncio.timeout(timeout_s):
                while not closed.done:
                    now = await self.load(key)
                    if now is not None and now.run.status in early and not self._e.memory.pending(now):
                        return outcome_of(now.run)
                    await follower.changed()
                return await closed.future()
        finally:
            self._e.hub.leave(follower)


def _taken(run: Run) -> WfctlError:
    """Why no run can be started under the ID of this one, by who does not want to use it."""
    kind, word, option = (
        (WorkflowAlreadyClosed, "a closed", "--if-closed=use")
        if run.closed
        else (WorkflowAlreadyRunning, "an open", "--if-running=use")
    )
    return kind(
        f"workflow ID {run.workflow_id!r} has {word} run: {run.run_id} ({run.status})",
        hint=f"add {option} to take that run, or use another --id",
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        status=str(run.status),
    )


def _of_another_type(run: Run, wanted: str) -> WfctlError:
    kind, word = (WorkflowAlreadyClosed, "a closed") if run.closed else (WorkflowAlreadyRunning, "an open")
    return kind(
        f"workflow ID {run.workflow_id!r} has {word} run of type {run.workflow_type!r}, not {wanted!r}",
        hint="use another --id",
        workflow_id=run.workflow_id,
        run_id=run.run_id,
    )


def _check_beginning(call: calls.Start, clock: Clock) -> None:
    if call.begins_at is not None and call.delay_ms is not None:
        raise InvalidArgumentError("a run begins at a time or after a delay, not both", hint="give one of them")
    if call.delay_ms is not None and not 0 <= call.delay_ms <= MAX_MS:
        raise InvalidArgumentError(f"a delay is from nothing to 100 years, not {call.delay_ms} ms")
    if call.begins_at is not None and call.begins_at > clock.now_ms() + MAX_MS:
        raise InvalidArgumentError(
            "a run begins within 100 years", hint="give an earlier time", begins_at=call.begins_at
        )
