"""The context of a plain `def` handler: the same operations, which block and return their value.

Nothing is written twice: each method runs the coroutine of `Context` on the host's loop and waits for it, and its parameters are
those of the method that it is made of. Only what has several signatures repeats them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar, cast, overload

from wfctl.sdk.context import ChildHandle, Context
from wfctl.sdk.port import Ops
from wfctl.sdk.store import AnyStore, Store
from wfctl.sdk.surroundings import AnyContext, StartedChild

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
D = TypeVar("D")

Wait = Callable[[Coroutine[Any, Any, Any]], Any]


def _blocking(
    method: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[BlockingContext, P], R]:
    coroutine: Any = inspect.unwrap(method)

    @functools.wraps(coroutine)
    def call(self: BlockingContext, /, *args: P.args, **kwargs: P.kwargs) -> R:
        value: R = self._wait(coroutine(self, *args, **kwargs))
        return value

    return call


def _starting(
    method: Callable[Concatenate[Context, P], Coroutine[Any, Any, ChildHandle]],
) -> Callable[Concatenate[BlockingContext, P], BlockingChildHandle]:
    """What it returns is of the kind that the context says."""
    return cast("Callable[Concatenate[BlockingContext, P], BlockingChildHandle]", _blocking(method))


def _of_handle(
    method: Callable[Concatenate[ChildHandle, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[BlockingChildHandle, P], R]:
    """It hands on what its context returns, which is the value here."""
    return cast("Callable[Concatenate[BlockingChildHandle, P], R]", method)


class BlockingChildHandle(StartedChild):
    """A child that a plain `def` handler has started: a `ChildHandle` whose methods block and return their value."""

    __slots__ = ()

    send = _of_handle(ChildHandle.send)
    cancel = _of_handle(ChildHandle.cancel)
    terminate = _of_handle(ChildHandle.terminate)

    @overload
    def result(self) -> Any: ...
    @overload
    def result(self, type: type[T]) -> T: ...
    @functools.wraps(ChildHandle.result)
    def result(self, type: Any = None) -> Any:
        return self._context._result_of(self.run_info, type)


class BlockingStore(AnyStore):
    """`ctx.store` of a plain `def` handler: a `Store` whose `get` blocks and returns the value."""

    __slots__ = ("_wait",)

    def __init__(self, ops: Ops, wait: Wait) -> None:
        super().__init__(ops)
        self._wait = wait

    @overload
    def get(self, key: str) -> Any: ...
    @overload
    def get(self, key: str, type: type[T]) -> T: ...
    @overload
    def get(self, key: str, type: type[T], *, default: D) -> T | D: ...
    @overload
    def get(self, key: str, type: Any = ..., *, default: Any = ...) -> Any: ...
    @functools.wraps(Store.get)
    def get(self, *args: Any, **kwargs: Any) -> Any:
        self._admit()  # in a task on the loop's own thread, waiting for that loop would never end
        return self._wait(cast("Any", Store.get)(self, *args, **kwargs))


class BlockingContext(AnyContext):
    """The first argument of a plain `def` handler, which runs in a thread: what `Context` is to an `async def` one.

    The operations are the same, but block and return their value: `ctx.now()`, not `await ctx.now()`. So does `ctx.store.get`, and
    the handle of a child that was started.
    """

    __slots__ = ("_wait",)

    store: BlockingStore
    _new_child = BlockingChildHandle

    def __init__(self, ops: Ops, wait: Wait, read: Wait) -> None:
        """`wait` runs an operation on the host's loop, from the handler's thread, and returns what it returns; `read` the rest."""
        super().__init__(ops)
        self.store = BlockingStore(ops, read)
        self._wait = wait

    start = _starting(Context.start)
    send_to_parent = _blocking(Context.send_to_parent)
    send = _blocking(Context.send)
    now = _blocking(Context.now)
    random = _blocking(Context.random)
    uuid4 = _blocking(Context.uuid4)
    sleep = _blocking(Context.sleep)
    _result_of = _blocking(Context._result_of)
    _send_to = _blocking(Context._send_to)
    _end = _blocking(Context._end)

    @overload
    def run_child(
        self,
        /,
        workflow_type: str,
        workflow_id: str,
        workflow_input: Any = ...,
        workflow_timeout: timedelta | None = ...,
    ) -> Any: ...
    @overload
    def run_child(
        self,
        /,
        workflow_type: str,
        workflow_id: str,
        workflow_input: Any = ...,
        workflow_timeout: timedelta | None = ...,
        *,
        result_type: type[T],
    ) -> T: ...
    @functools.wraps(Context.run_child)
    def run_child(self, *args: Any, **kwargs: Any) -> Any:
        return self._wait(inspect.unwrap(cast("Any", Context.run_child))(self, *args, **kwargs))
