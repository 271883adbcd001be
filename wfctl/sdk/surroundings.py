"""What the contexts of all handlers have in common, be they `async def` or plain `def`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar

import msgspec

from wfctl.errors import InvalidArgumentError
from wfctl.sdk.checks import check_amount
from wfctl.sdk.current import attempt
from wfctl.sdk.directive import Next
from wfctl.sdk.hints import Done
from wfctl.sdk.logger import RunLogger
from wfctl.sdk.port import Ops
from wfctl.sdk.store import AnyStore
from wfctl.values.codec import canonical, convert, decode, encode, one_argument
from wfctl.values.ids import check_name
from wfctl.values.outcome import ChildOutcome
from wfctl.values.runinfo import RunInfo, decode as read_run

_SHOWN: Any = Done("ctx.progress")
_task = attempt.get
_NOTHING: Mapping[str, str] = {}
_json = msgspec.json.Encoder().encode
_outcome: Callable[[bytes], ChildOutcome[Any]] = msgspec.json.Decoder(ChildOutcome).decode

# Operations of a child's handle, as its author wrote them.
_OF_HANDLES = {
    "Context._result_of": "handle.result()",
    "Context._send_to": "handle.send()",
    "Context._end": "handle.cancel(), or terminate()",
}


class StartedChild:
    """What the handles on children have in common."""

    __slots__ = ("_context", "_started", "run_info", "workflow_id")

    run_info: RunInfo
    workflow_id: str

    def __init__(self, started: bytes, context: Any) -> None:
        self._started = started
        self._context = context

    def __getattr__(self, name: str) -> Any:
        """What few handlers look at is read for those that do."""
        if name == "run_info":
            self.run_info = read_run(self._started)
        elif name == "workflow_id":
            self.workflow_id = self.run_info.workflow_id
        else:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        return getattr(self, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.run_info.workflow_type} {self.run_info.workflow_id!r})"


class AnyContext:
    """What a handler works with, but for the operations. `_new_store` and `_new_child` are what the store and the handles of a kind
    of context are."""

    __slots__ = ("_logger", "_ops", "store")

    _new_store: ClassVar[type[AnyStore]] = AnyStore
    _new_child: ClassVar[type[StartedChild]] = StartedChild

    def __init__(self, ops: Ops) -> None:
        self.store: AnyStore = self._new_store(ops)
        self._ops = ops
        self._logger: RunLogger | None = None

    @property
    def run(self) -> RunInfo:
        """The handler's run."""
        return self._ops.run

    @property
    def next(self) -> Next:
        """Makes the directive that the handler returns."""
        if _task() is not None:
            self._ops.refuse()
        return self._ops.next

    @property
    def logger(self) -> RunLogger:
        """A `logging.Logger` whose lines appear in `wfctl tail`; they are not repeated when the step is replayed."""
        if self._logger is None:
            self._logger = RunLogger(self._ops)
        return self._logger

    def progress(self, done: int | float, total: int | float | None = None, note: str = "") -> None:
        """Show how far this step has got: `done` of `total` (None: unknown how much there is), and a word on what it does now.

        Not an operation: nothing is recorded, nothing is awaited, and it may be called as often as one likes, from any thread and
        from inside a task. `wfctl tail -f`, `wfctl tree -f` and `wfctl start --wait` show it as a bar, at most ten times a second
        and the newest always, until the step ends or is begun again. More `done` than `total` is shown as all of it.

        Raises InvalidArgumentError for what is no number, is negative, infinite or not a number, and for a note that is no text.
        """
        check_amount(done, "done")
        if total is not None:
            check_amount(total, "total")
        if not isinstance(note, str):
            raise InvalidArgumentError(
                f"progress note is {note!r}, a {type(note).__name__}",
                hint="give text, as in ctx.progress(3, 10, 'resizing')",
            )
        self._ops.progress(done, total, note)
        return _SHOWN  # type: ignore[no-any-return]

    # -- parts of operations --------------------------------------------------------------------

    async def _closed(self, child: RunInfo, result_type: Any) -> Any:
        # Recorded, for a child that failed may be re-opened, and end otherwise.
        arguments = _json({"run_id": child.id})
        value = await self._ops.perform("child_result", child.workflow_id, b"{}", lambda: arguments)
        result = _outcome(value).unwrap()
        return result if result_type is None else convert(result, result_type, f"result of {child.workflow_id!r}")

    async def _sent(self, event: str, payload: Any, to: dict[str, str], more: Mapping[str, str] = _NOTHING) -> None:
        check_name(event, "event name")
        given = encode(payload, f"payload of event {event!r}")

        def arguments() -> bytes:
            positional = {"positional": True} if one_argument(payload, given) else {}
            return _json({**to, **more, "payload": msgspec.Raw(given), **positional})

        await self._ops.perform("event", event, canonical({**to, "payload": payload}), arguments)

    async def _proposed(self, kind: str, make: Callable[[], float | str]) -> Any:
        value = await self._ops.perform(kind, "", b"{}", lambda: _json({"value": make()}))
        return decode(value)


def discard_unawaited(made: list[Any]) -> list[str]:
    """For the host, when the handler has ended: the operations whose coroutine was never awaited; they are closed."""
    forgotten = []
    for one in made:
        # One that has ended, as nearly all have, has no frame any more.
        if one.cr_frame is not None and inspect.getcoroutinestate(one) == inspect.CORO_CREATED:
            forgotten.append(_shown(one))
            one.close()
    made.clear()
    return forgotten


def _shown(made: Coroutine[Any, Any, Any]) -> str:
    name: str = getattr(made, "__qualname__", "operation")
    return _OF_HANDLES.get(name) or (f"{name.replace('Context.', 'ctx.')}()" if name.startswith("Context.") else name)
