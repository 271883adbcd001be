"""`Context`: what a handler works with. One for each execution of a step; it talks to its host through `port.Ops`."""

from __future__ import annotations

import functools
import random
import uuid
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, get_args, overload

import msgspec

from wfctl.errors import InvalidArgumentError, NoParentError
from wfctl.sdk.checks import bound, start_of
from wfctl.sdk.directive import outcome_step
from wfctl.sdk.handler import Handler
from wfctl.sdk.store import Store
from wfctl.sdk.surroundings import AnyContext, StartedChild
from wfctl.values.codec import all_flat, canonical, decode, identified
from wfctl.values.handle import WorkflowHandle
from wfctl.values.ids import check_name, check_workflow_id
from wfctl.values.runinfo import RunInfo, records_ends
from wfctl.values.times import left_ms, to_ms

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

OnParentClose = Literal["abandon", "cancel", "terminate"]
_ON_PARENT_CLOSE = get_args(OnParentClose)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_json = msgspec.json.Encoder().encode
_sorted_json = msgspec.json.Encoder(order="sorted").encode
# Not the module's shared generator, which an author may have seeded.
_entropy = random.SystemRandom()


def _operation(
    method: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Context, P], Coroutine[Any, Any, R]]:
    """Remember each coroutine made, so that one that was never awaited is noticed when the handler returns."""

    @functools.wraps(method)
    def call(self: Context, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        made = method(self, *args, **kwargs)
        self._ops.handed_out.append(made)
        return made

    return call


class ChildHandle(StartedChild, WorkflowHandle):
    """A started child. `run_info` is about its run: `run_info.id`, `workflow_id`, `workflow_type`, `parent`...

    What it does is of that very run, also where its workflow ID has been taken again since.
    """

    __slots__ = ()

    _context: Context

    def send(self, event: str, payload: Any = None) -> Coroutine[Any, Any, None]:
        """Send an event to the child; as `ctx.send`."""
        return self._context._send_to(self.run_info, event, payload)

    @overload
    def result(self) -> Coroutine[Any, Any, Any]: ...
    @overload
    def result(self, type: type[T]) -> Coroutine[Any, Any, T]: ...
    def result(self, type: Any = None) -> Coroutine[Any, Any, Any]:
        """Wait until the child has closed; what it completed with, as plain data or converted to `type`.

        Raises RunFailedError, RunCancelledError, RunTerminatedError or RunTimedOutError when it closed otherwise. The step goes
        on meanwhile, its timeout too: for a child that takes long, `on_completed_step` waits without a running step. What it hears
        is recorded: a replay hears the same, whatever the child came to since.
        """
        return self._context._result_of(self.run_info, type)

    def cancel(self, reason: str | None = None) -> Coroutine[Any, Any, None]:
        """Ask the child to end: its handler gets `asyncio.CancelledError` and may clean up. Returns when that is on disk, not when
        the child has closed. One that has closed already is no error. A replay asks nobody again."""
        return self._context._end("child_cancel", self, reason)

    def terminate(self, reason: str | None = None) -> Coroutine[Any, Any, None]:
        """End the child now; its handler is not asked. One that has closed already is no error. A replay ends nothing again."""
        return self._context._end("child_terminate", self, reason)


class Context(AnyContext):
    """The first argument of every handler.

    `run` says which run this is, `store` holds its state, `next` makes the directive to return, `logger` writes to its log.

    The operations (`start`, `run_child`, `send_to_parent`, `send`, `now`, `random`, `uuid4`, `sleep`) are committed before they
    return. When a step is cut short it runs again from its top, and each returns what was recorded instead of happening twice; so
    call them with the same arguments each time. That of a plain `def` handler is `BlockingContext`.
    """

    __slots__ = ()

    store: Store
    _new_store = Store
    _new_child = ChildHandle

    # -- operations -----------------------------------------------------------------------------

    @_operation
    async def start(
        self,
        workflow_type: str,
        workflow_id: str,
        workflow_input: Any = None,
        workflow_timeout: timedelta | None = None,
        *,
        on_completed_step: Callable[..., Any] | str | None = None,
        on_parent_close: OnParentClose = "abandon",
    ) -> ChildHandle:
        """Start a child run of `workflow_type`; it begins at once and runs in parallel.

        `workflow_id` is its stable name: this run starting the same ID again gets the same child, as it was started.
        `workflow_input`: a dict becomes keyword arguments of its start handler, None none, anything else the first argument.
        `workflow_timeout` limits the child's whole life (None: unlimited).

        `on_completed_step`: a step of this workflow that runs when the child has closed, however it did, and gets its
        `ChildOutcome`: like an event, once this run waits. `on_parent_close`: what becomes of the child when this run closes first:
        it goes on ("abandon"), is asked to end ("cancel"), or is ended ("terminate").

        Raises InvalidDirectiveError for a step that takes no ChildOutcome, UnknownWorkflowTypeError, InvalidPayloadError (what the
        start handler takes), WorkflowAlreadyRunning when someone else's open run has that ID, and InvalidArgumentError when the
        same child was started as something else (type, input, the two above), or its `on_completed_step` was told of its end.
        """
        workflow = self._ops.types.get(workflow_type) if isinstance(workflow_type, str) else None
        if workflow is None:
            check_name(workflow_type, "workflow type")
        check_name(workflow_id, "workflow ID")
        timeout_ms = None if workflow_timeout is None else to_ms(workflow_timeout, "workflow_timeout")
        if timeout_ms == 0:
            raise InvalidArgumentError(
                "workflow_timeout of zero would end the child at once", hint="give a positive timedelta, or None"
            )
        if on_parent_close not in _ON_PARENT_CLOSE:
            raise InvalidArgumentError(
                f"on_parent_close is {on_parent_close!r}", hint='"abandon", "cancel" or "terminate"'
            )
        given, content = identified(workflow_input, "input of", workflow_type)
        original = _as_it_is(workflow_input)
        same: dict[str, Any] = {"workflow_id": workflow_id, "timeout_ms": timeout_ms}
        if on_completed_step is not None:
            same["on_completed_step"] = outcome_step(self._ops.workflow, on_completed_step)
        if on_parent_close != "abandon":
            same["on_parent_close"] = on_parent_close

        def arguments() -> bytes:
            if workflow is None:
                return _json({**same, "input": msgspec.Raw(given), **_unbound(original)})
            handler = workflow.begins or start_of(self._ops.types, workflow_type)
            same["input"] = msgspec.Raw(_bound(handler, given, original, "input of", workflow_type))
            return _json(same)

        same["input"] = msgspec.Raw(content)
        identity = _sorted_json(same)
        value = await self._ops.perform("child", workflow_type, identity, arguments)
        handle: ChildHandle = self._new_child(value, self)
        return handle

    @overload
    async def run_child(
        self,
        /,
        workflow_type: str,
        workflow_id: str,
        workflow_input: Any = ...,
        workflow_timeout: timedelta | None = ...,
    ) -> Any: ...
    @overload
    async def run_child(
        self,
        /,
        workflow_type: str,
        workflow_id: str,
        workflow_input: Any = ...,
        workflow_timeout: timedelta | None = ...,
        *,
        result_type: type[T],
    ) -> T: ...
    @_operation
    async def run_child(
        self,
        workflow_type: str,
        workflow_id: str,
        workflow_input: Any = None,
        workflow_timeout: timedelta | None = None,
        *,
        result_type: Any = None,
    ) -> Any:
        """Start a child and wait for its result, as plain data or converted to `result_type`: `start`, then `result`."""
        # By its class: that of a plain handler's context blocks.
        handle = await Context.start(self, workflow_type, workflow_id, workflow_input, workflow_timeout)
        return await self._closed(handle.run_info, result_type)

    @_operation
    async def _result_of(self, child: RunInfo, result_type: Any) -> Any:
        return await self._closed(child, result_type)

    @_operation
    async def send_to_parent(self, event_name: str, payload: Any = None) -> None:
        """Put an event into the parent's inbox; a parent that waits for it handles it at once.

        A dict payload becomes keyword arguments of the parent's event handler, None none, anything else the first argument.
        When the parent has closed, that is logged and kept in both histories, and this run goes on.

        Raises NoParentError (a RuntimeError) without a parent, UnknownEventError and InvalidPayloadError for what the
        parent's handlers cannot take.
        """
        parent = self.run.parent
        workflow = None if parent is None else self._ops.types.get(parent.workflow_type)
        handler = (
            workflow.handler("event", event_name) if workflow is not None and isinstance(event_name, str) else None
        )
        if handler is None:
            check_name(event_name, "event name")
        if parent is None:
            raise NoParentError(
                f"run {self.run.workflow_id!r} has no parent to send {event_name!r} to",
                hint="it was not started by ctx.start; test `ctx.run.parent is not None` before sending",
                event=event_name,
                workflow_id=self.run.workflow_id,
            )
        given, content = identified(payload, "payload of event", event_name)
        original = _as_it_is(payload)

        def arguments() -> bytes:
            if handler is None:
                return _json({"payload": msgspec.Raw(given), **_unbound(original)})
            return b'{"payload":%b}' % _bound(handler, given, original, "payload of event", event_name)

        identity = b'{"payload":%b}' % content
        value = await self._ops.perform("parent_event", event_name, identity, arguments)
        if decode(value).get("outcome") == "parent_closed":
            self.logger.warning(
                "event %r not delivered: the parent %s %r has closed",
                event_name,
                parent.workflow_type,
                parent.workflow_id,
            )

    @_operation
    async def send(self, workflow_id: str, event: str, payload: Any = None) -> None:
        """Send an event to the open run of `workflow_id`; it stays in that run's inbox until it is handled.

        Raises RunNotFoundError, RunClosedError, UnknownEventError, and InvalidPayloadError for a payload its handler cannot
        take. An error that was recorded is raised again on replay.
        """
        check_workflow_id(workflow_id)
        await self._sent(event, payload, {"workflow_id": workflow_id})

    @_operation
    async def _send_to(self, child: RunInfo, event: str, payload: Any) -> None:
        await self._sent(event, payload, {"workflow_id": child.workflow_id}, {"run_id": child.id})

    @_operation
    async def _end(self, kind: str, child: StartedChild, reason: str | None) -> None:
        if not isinstance(reason, str | None):
            raise InvalidArgumentError(f"the reason must be text, not {type(reason).__name__}")
        name, asked = child.workflow_id, {"run_id": child.run_info.id, "reason": reason or ""}
        if records_ends(child._started):
            await self._ops.perform(kind, name, canonical({"reason": reason or ""}), lambda: _json(asked))
        else:
            # What this step recorded after it, before, tells nothing of it: it is asked for as it was then.
            await self._ops.tell(
                kind, name, f"{kind}:{name}:{child.run_info.id}:0", _json({**asked, "recorded": False})
            )

    @_operation
    async def now(self) -> datetime:
        """The time (UTC, aware, milliseconds), the same on replay."""
        value = decode(await self._ops.perform("now", "", b"{}", lambda: b"{}"))
        return _EPOCH + timedelta(milliseconds=value)

    @_operation
    async def random(self) -> float:
        """A random float in [0, 1), the same on replay."""
        return float(await self._proposed("random", _entropy.random))

    @_operation
    async def uuid4(self) -> uuid.UUID:
        """A random UUID, the same on replay: for an idempotency key."""
        return uuid.UUID(await self._proposed("uuid", lambda: str(uuid.uuid4())))

    @_operation
    async def sleep(self, duration: timedelta) -> None:
        """Wait inside the step (not at all where negative); a crash does not begin the wait again, and a cancellation ends it.

        The step goes on meanwhile, and its timeout; for long waits, `ctx.next.step(..., after=...)` ends the step first.
        """
        content = _json({"duration_ms": left_ms(duration, "duration")})
        key, record = await self._ops.find("sleep", "", content)
        if record is None:
            await self._ops.tell("sleep", "", key, content)
        elif record.open:
            await self._ops.tell("resume", "", key, b"{}")


def _as_it_is(value: Any) -> Any:
    """A dict as it is now: by when it is checked it may have been changed, as a call may have to wait for its turn."""
    return value.copy() if type(value) is dict else value


def _bound(handler: Handler, given: bytes, original: Any, what: str, name: str) -> bytes:
    named = isinstance(original, dict)
    # The check is of what others will read: of these that is the same.
    if type(original) is dict and all_flat(original.values()) and handler.takes_as_it_is(original):
        return given
    payload = decode(given)
    if named and handler.takes_as_it_is(payload):
        return given
    return bound(handler, payload, f"{what} {name!r}", positional=not named)


def _unbound(original: Any) -> dict[str, bool]:
    """This code does not have the receiver: what the daemon, which may know of it, needs to bind what it was sent."""
    return {"unbound": True, "positional": not isinstance(original, dict)}
