"""`send`: an event for a run; once, where its sender gives it an ID, and with the run begun for it, where that is asked for.

Everything that can be wrong is checked before anything is decided, so the sender gets the error and no run is touched.
"""

from __future__ import annotations

import asyncio

from wfctl.errors import (
    ConflictError,
    RunClosedError,
    RunNotFoundError,
    UnknownEventError,
    WorkflowAlreadyRunning,
)
from wfctl.protocol import calls
from wfctl.values.commands import command
from wfctl.values.ids import check_name, check_new_id
from wfd.core import stimuli as s
from wfd.core.actions import Action
from wfd.core.state import Raw, Waiting
from wfd.engine.arguments import bind_any, bind_later, bind_plain, check_timeout, rebound
from wfd.engine.batch import Batch
from wfd.engine.claims import Claims
from wfd.engine.commands import Commands
from wfd.engine.engine import Engine
from wfd.engine.inboxes import FULL, LOOK_MS
from wfd.engine.memory import Live
from wfd.supervisor import Catalog

# How long a client waits for room in the inbox of a run that does not take its events.
ROOM_MS = 10_000


class Sending:
    def __init__(self, engine: Engine, commands: Commands) -> None:
        self._e = engine
        self._c = commands
        self._full = engine.inboxes.full
        # Events with an ID that are on their way: (workflow ID, event ID). What is not on disk yet cannot be found there.
        self._claims: Claims[tuple[str, str]] = Claims()

    async def send(self, call: calls.Send) -> calls.Sent:
        """An event, in the run's inbox or handed over. Raises RunClosedError, UnknownEventError, InvalidPayloadError..."""
        self._c.check_taking()
        if call.start is not None:
            check_new_id(call.id)
            check_timeout(call.start.timeout_ms)
        if call.event_id is None:
            return await self._send(call, await self._find(call))
        check_name(call.event_id, "event ID")
        live = await self._find(call)
        async with self._claims.of((call.id if live is None else live.run.workflow_id, call.event_id)):
            # While another one of that ID was on its way, the run may have closed, or begun.
            self._c.check_taking()
            live = await self._find(call)
            if live is not None and await self._e.store.reader.accepted(live.run.key, call.event_id):
                self._e.memory.settle(live)
                return calls.Sent(
                    run_id=live.run.run_id, workflow_id=live.run.workflow_id, dispatched=False, duplicate=True
                )
            return await self._send(call, await self._find(call))

    async def _find(self, call: calls.Send) -> Live | None:
        """The run that is meant; None where it is to be begun, and no run has had its ID."""
        if call.start is None:
            return await self._c.find(call)
        key = self._e.open_ids.get(call.id)
        if key is None:
            key = await self._e.store.reader.newest_of(call.id)
        return None if key is None else await self._c.load(key)

    async def _send(self, call: calls.Send, live: Live | None) -> calls.Sent:
        if call.start is not None:
            if live is None or live.run.closed:
                return await self._begin(call, call.start)
            if live.run.workflow_type != call.start.workflow_type:
                await self._c.on_disk(live)
                raise WorkflowAlreadyRunning(
                    f"workflow ID {live.run.workflow_id!r} has an open run of type {live.run.workflow_type!r}, "
                    f"not {call.start.workflow_type!r}",
                    hint="use another workflow ID",
                    workflow_id=live.run.workflow_id,
                    run_id=live.run.run_id,
                )
        assert live is not None
        if live.run.closed:
            await self._c.on_disk(live)
            raise _closed(live, call.event)
        try:
            payload, waited = await self._payload(call, live.run.workflow_type)
        except UnknownEventError as error:
            raise _taken_out(live, call.event, self._e.workers.catalog) or error from None
        now: Live | None = live
        if waited:
            now = await self._c.load(live.run.key)
        if now is not None and self._full(now):
            now = await self._room(now, call.event)
        if call.start is not None and (now is None or now.run.closed):
            return await self._begin(call, call.start)
        if now is None:  # it has closed and was purged
            raise RunNotFoundError(f"no run {call.id!r}", hint="wfctl list", id=call.id)
        return await self._deliver(self._e.batch(), now, call, payload)

    async def _room(self, live: Live, event: str) -> Live | None:
        """The run, once there is room in its inbox, or it has closed, or is gone; ConflictError where that takes too long."""
        now: Live | None = live
        run, over = live.run, asyncio.Event()
        timer = self._e.clock.call_later(ROOM_MS, over.set)  # by elapsed time: a clock may be set back
        self._e.pressure.begin(FULL)
        try:
            while now is not None and not now.run.closed and self._full(now):
                if over.is_set():
                    raise ConflictError(
                        f"run {run.workflow_id!r} has {len(now.run.inbox):,} events in its inbox that it does not take; "
                        f"event {event!r} was not delivered",
                        hint=command("show", run.workflow_id),
                        workflow_id=run.workflow_id,
                        run_id=run.run_id,
                    )
                await self._e.pause(LOOK_MS)
                self._c.check_taking()
                now = await self._c.load(run.key)
        finally:
            timer.cancel()
            self._e.pressure.end(FULL)
        return now

    async def _begin(self, call: calls.Send, start: calls.StartFirst) -> calls.Sent:
        """A run of that ID, with the event in its inbox, in one commit."""
        engine = self._e
        spec = engine.workers.catalog.type_of(start.workflow_type)
        payload, _ = await self._payload(call, start.workflow_type)
        given = rebound(spec.start, start.input, start.positional)
        kwargs = await bind_any(engine.workers, spec, spec.start, given, start.text)
        self._c.check_taking()
        key = engine.open_ids.get(call.id)
        if key is not None:
            # Somebody else has begun it while the arguments were looked at.
            return await self._send(call, await self._c.load(key))
        batch = engine.batch()
        live = batch.open(
            key=engine.new_key(), run_id=engine.ids.run_id(batch.now), workflow_id=call.id, workflow_type=start.workflow_type,
            handler=spec.start.name, input=kwargs, timeout_ms=start.timeout_ms,
        )  # fmt: skip
        return await self._deliver(batch, live, call, payload, started=True)

    async def _deliver(
        self, batch: Batch, live: Live, call: calls.Send, payload: bytes, *, started: bool = False
    ) -> calls.Sent:
        decision = batch.decide(live, s.EventArrived(call.event, Raw(payload), id=call.event_id))
        run = live.run
        dispatched = Action.DISPATCH in decision.actions
        position = 0 if dispatched else len(run.inbox)
        # A refusal can still have records: the event may have met a wait whose time was up.
        await self._e.committed(batch)
        if decision.refused:
            raise _closed(live, call.event)
        return calls.Sent(
            run_id=run.run_id, workflow_id=run.workflow_id, dispatched=dispatched, position=position, started=started
        )

    async def _payload(self, call: calls.Send, workflow_type: str) -> tuple[bytes, bool]:
        """The event's keyword arguments, and whether a worker was asked about them meanwhile."""
        workers = self._e.workers
        known = workers.catalog.types.get(workflow_type)
        if call.any_event and (known is None or known.handler("event", call.event) is None):
            check_name(call.event, "event name")
            return bind_later(bytes(call.payload), call.text, call.event, call.positional), False
        handler = workers.catalog.event_of(workflow_type, call.event)
        spec = workers.catalog.type_of(workflow_type)
        payload = rebound(handler, call.payload, call.positional)
        if handler.plain:
            return bind_plain(spec, handler, payload, call.text), False
        kwargs = await bind_any(workers, spec, handler, payload, call.text)
        self._c.check_taking()
        return kwargs, True


def _taken_out(live: Live, event: str, catalog: Catalog) -> UnknownEventError | None:
    """The error for an event that the run waits for by its name, and that its code has no handler for any more."""
    run, spec = live.run, catalog.types.get(live.run.workflow_type)
    if spec is None or not isinstance(run.phase, Waiting) or event not in (run.phase.names or ()):
        return None
    return UnknownEventError(
        f"run {run.workflow_id!r} waits for event {event!r}, but its handler is not in {spec.file} any more",
        hint=f"put the handler back and save {spec.file}, or have the event kept until then: --allow-unknown",
        event=event,
        known=spec.names("event"),
    )


def _closed(live: Live, event: str) -> RunClosedError:
    run = live.run
    return RunClosedError(
        f"run {run.workflow_id!r} ({run.run_id}) is {run.status}; event {event!r} was not delivered",
        hint=command("show", run.workflow_id),
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        status=str(run.status),
    )
