"""`Workflow`: a workflow type and its handlers. Importing the module that creates it is its registration."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, NoReturn, TypeVar, overload

from wfctl.errors import InvalidArgumentError
from wfctl.sdk.handler import Handler, refuse
from wfctl.values.ids import check_name
from wfctl.values.signature import TypeSpec
from wfctl.values.times import to_ms

F = TypeVar("F", bound=Callable[..., Any])
# Where those that are made are kept, while somebody wants to know.
_noticed: list[Workflow] | None = None


class Workflow:
    """A workflow type; its decorators register handlers and return the function unchanged.

        order_wf = Workflow("Order")

        @order_wf.start()
        async def order_start(ctx: Context, order_id: str) -> Directive: ...

    Handlers are `async def`, or `def` (run in a thread, where `ctx` is a `BlockingContext`, whose operations block: leave out
    `await`). RegistrationError, raised while the module is imported, names the file, the line and the remedy.
    """

    def __init__(self, workflow_type: str) -> None:
        frame = sys._getframe(1)
        self.module: str = frame.f_globals.get("__name__", "")
        self.file = frame.f_code.co_filename
        self.line = frame.f_lineno
        # A workflow made by a function belongs to the module that keeps it, not to the one that holds the function.
        self.made_in_function = frame.f_code.co_name != "<module>"
        # The globals of the module whose import made it, whatever functions or classes that went through; None: no import did.
        self.home = _importing(frame)
        # Whether that import failed: then it is nobody's.
        self.failed = False
        try:
            self.workflow_type = check_name(workflow_type, "workflow type")
        except InvalidArgumentError as error:
            refuse(self.file, self.line, error.message, "Workflow('Order')")
        self._handlers: dict[tuple[str, str], Handler] = {}
        self.steps: dict[str, Handler] = {}
        # The start handler.
        self.begins: Handler | None = None
        # Whether it has handlers that a wait can end in: of events, or of how a child ended.
        self.hears = False
        self._by_function: dict[tuple[str, Any], Handler] = {}
        if _noticed is not None:
            _noticed.append(self)

    def __repr__(self) -> str:
        return f"Workflow({self.workflow_type!r})"

    # -- declaring ------------------------------------------------------------------------------

    @overload
    def start(self, function: F, /) -> F: ...
    @overload
    def start(self, /, *, timeout: timedelta | None = None) -> Callable[[F], F]: ...
    def start(self, function: Any = None, /, *, timeout: timedelta | None = None) -> Any:
        """The handler a run begins with, exactly one; its parameters after `ctx` are the workflow's input.

        `timeout` limits one execution of the handler (None: no limit).
        """
        return self._register("start", function, None, timeout)

    @overload
    def step(self, function: F, /) -> F: ...
    @overload
    def step(self, /, *, name: str | None = None, timeout: timedelta | None = None) -> Callable[[F], F]: ...
    def step(self, function: Any = None, /, *, name: str | None = None, timeout: timedelta | None = None) -> Any:
        """A handler that `ctx.next.step(...)` goes to, kept as step `name` (default: the function's name). It takes only `ctx`.

        Runs that wait or sleep know the step they go on with by its name: a function that is renamed keeps it with `name`. A
        function that is declared under several names is gone to by the topmost.

        One with a second parameter annotated `ChildOutcome[T]` is for `ctx.start(..., on_completed_step=...)`.
        """
        return self._register("step", function, name, timeout)

    @overload
    def event(self, function: F, /) -> F: ...
    @overload
    def event(self, /, *, name: str | None = None, timeout: timedelta | None = None) -> Callable[[F], F]: ...
    def event(self, function: Any = None, /, *, name: str | None = None, timeout: timedelta | None = None) -> Any:
        """The handler of event `name` (default: the function's name); its parameters after `ctx` are the payload."""
        return self._register("event", function, name, timeout)

    @overload
    def query(self, function: F, /) -> F: ...
    @overload
    def query(self, /, *, name: str | None = None) -> Callable[[F], F]: ...
    def query(self, function: Any = None, /, *, name: str | None = None) -> Any:
        """The handler of query `name` (default: the function's name): reads `ctx.store`, changes nothing, and returns an answer.

        Its parameters after `ctx` are the query's arguments. It may be asked at any time, also when the run has closed, and sees
        what the last step left.
        """
        return self._register("query", function, name, None)

    def _register(self, kind: str, function: Any, name: str | None, timeout: timedelta | None) -> Any:
        caller = sys._getframe(2)
        file, line = caller.f_code.co_filename, caller.f_lineno

        def fail(message: str, hint: str) -> NoReturn:
            refuse(file, line, f"@{kind} of workflow {self.workflow_type!r}: {message}", hint)

        try:
            timeout_ms = None if timeout is None else to_ms(timeout, "timeout")
        except InvalidArgumentError as error:
            fail(error.message, error.hint or "give a positive timedelta, or no timeout")
        try:
            if name is not None:
                check_name(name, f"{kind} name")
        except InvalidArgumentError as error:
            fail(error.message, error.hint or f"give a text, as in @...{kind}(name={str(name)!r}), or no name")
        if timeout_ms == 0:
            fail("a timeout of zero would end the handler at once", "give a positive timedelta, or no timeout")

        def register(function: F) -> F:
            if not inspect.isroutine(function) or inspect.isbuiltin(function):
                fail(f"{function!r} is not a function", f"use it as @{kind}() above a def")
            handler = Handler(self.workflow_type, kind, name, function, timeout_ms)
            handler.home = home
            self._add(handler)
            handler.resolve_early(caller_locals)
            return function

        caller_locals, home = caller.f_locals, _importing(caller)
        if function is None:
            return register
        if isinstance(function, str):
            fail(
                f"{function!r} is not a function",
                f"@...{kind}()" if kind == "start" else f"@...{kind}(name={function!r})",
            )
        return register(function)

    def _add(self, handler: Handler) -> None:
        key = (handler.kind, handler.name)
        known = self.begins if handler.kind == "start" else self._handlers.get(key)
        if known is not None:
            what = (
                "a workflow has exactly one start handler"
                if handler.kind == "start"
                else f"there is a {handler.kind} of that name already"
            )
            refuse(
                handler.file,
                handler.line,
                f"{handler.label}: {what}: {known.function.__name__} at {known.file}:{known.line}",
                f"remove one of the two{'' if handler.kind == 'start' else ', or give one another name (name=...)'}",
            )
        self._handlers[key] = handler
        if handler.kind == "step":
            self.steps[handler.name] = handler
        self._by_function[handler.kind, handler.function] = handler
        if handler.kind == "start":
            self.begins = handler
        self.hears = self.hears or handler.kind == "event" or handler.outcome

    def _forget(self, home: dict[str, Any]) -> None:
        self.failed = self.failed or self.home is home
        left = [handler for handler in self.handlers if handler.home is not home]
        if len(left) < len(self._handlers):
            self._handlers, self.steps, self._by_function = {}, {}, {}
            self.begins, self.hears = None, False
            for handler in left:
                self._add(handler)

    # -- asking ---------------------------------------------------------------------------------

    @property
    def handlers(self) -> tuple[Handler, ...]:
        return tuple(self._handlers.values())

    def handler(self, kind: str, name: str) -> Handler | None:
        """The handler, or None. The start handler is found whatever its name: there is only one."""
        return self.begins if kind == "start" else self._handlers.get((kind, name))

    def handler_of(self, kind: str, function: Callable[..., Any]) -> Handler | None:
        """The handler that `function`, or what a later decorator wrapped around it, was registered as."""
        seen: Any = function
        while seen is not None:
            try:
                found = self._by_function.get((kind, seen))
            except TypeError:  # not hashable, so never registered
                return None
            if found is not None:
                return found
            seen = getattr(seen, "__wrapped__", None)
        return None

    def names(self, kind: str) -> list[str]:
        return [handler.name for handler in self._handlers.values() if handler.kind == kind]

    def describe(self) -> TypeSpec:
        """The workflow as data. Raises RegistrationError without a start handler or for an unresolvable annotation."""
        if self.begins is None:
            refuse(
                self.file,
                self.line,
                f"workflow {self.workflow_type!r} has no start handler",
                "decorate the function a run begins with: @....start()",
            )
        return TypeSpec(
            self.workflow_type,
            tuple(handler.describe() for handler in self._handlers.values()),
            module=self.module,
            file=self.file,
            line=self.line,
            doc=self.begins.describe().doc,
        )


def _importing(frame: FrameType | None) -> dict[str, Any] | None:
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return None if frame is None else frame.f_globals


def forget(made: Iterable[Workflow], home: dict[str, Any]) -> None:
    """The import of the module with these globals has failed: nothing that it made or registered is there."""
    for workflow in made:
        workflow._forget(home)


@contextmanager
def noticing(made: list[Workflow]) -> Iterator[None]:
    """Has `made` get the workflows that are made inside of it, in order, also those that no name leads to any more."""
    global _noticed
    before, _noticed = _noticed, made
    try:
        yield
    finally:
        _noticed = before
