"""`@task`: a side effect that is recorded. For a handler it happens once, by all appearances; elsewhere it is its function."""

from __future__ import annotations

import copy
import functools
import inspect
import pickle
import sys
from collections.abc import Callable, Coroutine
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import FunctionType, ModuleType, NoneType
from typing import Any, NoReturn, ParamSpec, Protocol, TypeVar, overload
from uuid import UUID

from wfctl.errors import InvalidArgumentError, UsageError
from wfctl.sdk import attempts, current
from wfctl.sdk.definition import Definition
from wfctl.sdk.handler import refuse
from wfctl.sdk.retry import RetryPolicy
from wfctl.values.times import to_ms

P = ParamSpec("P")
R = TypeVar("R")

DEFAULT_TIMEOUT = timedelta(minutes=5)
_ATTRIBUTE = "__wfctl_task__"
_ONCE = RetryPolicy()
_step, _attempt = current.step.get, current.attempt.get
# What nobody can change.
_FIXED = frozenset({str, int, float, bool, NoneType, bytes, Decimal, UUID, datetime, date, time, timedelta})


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R]]: ...


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def task(function: Callable[P, R], /) -> Callable[P, Coroutine[Any, Any, R]]: ...
@overload
def task(*, retry: RetryPolicy = ..., timeout: timedelta | None = ...) -> _Decorator: ...
def task(function: Any = None, /, *, retry: RetryPolicy = _ONCE, timeout: timedelta | None = DEFAULT_TIMEOUT) -> Any:
    """Make a function a task: its result, or its exception, is recorded, and a step that is run again gets what was recorded.

        @task(retry=RetryPolicy(attempts=5), timeout=timedelta(seconds=30))
        async def charge(amount: float) -> Receipt: ...

        receipt = await charge(9.5)

    Called by a handler, or by what a handler calls (helpers, `gather`, `TaskGroup`...), it is awaited, `def` functions too: they
    run in a thread and block nothing. In a plain `def` handler it blocks and returns. Anywhere else, also inside of another task,
    it is just its function. Type checkers see what a handler sees, a coroutine function with the parameters of the function; the
    function itself is `charge.__wrapped__`.

    Arguments and result are kept as JSON; the function gets copies of lists and the like, and the result comes back converted to
    the return annotation. An exception comes back as its own class where that can be imported, with those of its `args` and
    public attributes that JSON holds, as plain data, else as TaskError; its `__cause__` is told in tracebacks only.
    A task is at least once: one whose process died before its outcome was recorded is begun again (see `current_task`).

    `timeout` limits one attempt (TaskTimeoutError); None is no limit. A thread cannot be ended: it is left behind, and what it
    returns later is dropped. `retry` says which exceptions are tried again and when; without it there is one attempt.
    """
    caller = sys._getframe(1)
    file, line = caller.f_code.co_filename, caller.f_lineno

    def fail(message: str, hint: str) -> NoReturn:
        refuse(file, line, f"@task: {message}", hint)

    timeout_ms = _checked_timeout(timeout, fail)
    if not isinstance(retry, RetryPolicy):
        fail(f"retry is {retry!r}", "@task(retry=RetryPolicy(attempts=...))")

    def decorate(function: Any) -> Any:
        if isinstance(function, staticmethod | classmethod):
            fail(f"{function!r} is not a function", f"use it below @{type(function).__name__}")
        if not inspect.isroutine(function) or not isinstance(inspect.unwrap(function), FunctionType):
            fail(f"{function!r} is not a function", "use it above a def")
        definition = Definition(function, retry, timeout_ms)
        definition.resolve_early(caller.f_locals)
        return _called(definition)

    return decorate if function is None else decorate(function)


def _checked_timeout(timeout: timedelta | None, fail: Callable[[str, str], NoReturn]) -> int | None:
    if timeout is None:
        return None
    try:
        timeout_ms = to_ms(timeout, "timeout")
    except InvalidArgumentError as error:
        fail(error.message, error.hint or "give a positive timedelta, or None for no limit")
    if timeout_ms == 0:
        fail("a timeout of zero would end the task at once", "give a positive timedelta, or None for no limit")
    return timeout_ms


def _called(definition: Definition) -> Any:
    function = definition.function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        entered = _step()
        if entered is None or _attempt() is not None:
            if current.strayed.get():
                _refuse_astray(definition.name)
            return function(*args, **kwargs)
        bound = definition.bind(args, kwargs)
        step = entered.current
        # Only told where the records disagree, for which there must be some.
        place = step.ops.sources.caller(sys._getframe(1)) if step.ops.replaying else ""
        work: Any = attempts.run(step, definition, bound, _on_its_own(definition, args, kwargs), place)
        work.__name__, work.__qualname__ = definition.name, f"task {definition.name}"
        return step.hand_out(work)

    setattr(call, _ATTRIBUTE, definition)
    return call


def _refuse_astray(name: str) -> NoReturn:
    raise UsageError(
        f"task {name!r} is called in a thread that a handler made, where it is not recorded: it would happen again whenever the "
        "step is repeated",
        hint="call it in the handler itself; several at once in an `async def` handler, with asyncio.gather, where a plain `def` "
        f"task runs in a thread too; {name}.__wrapped__ is the function without the record",
    )


def _on_its_own(definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], Any]:
    """The function with arguments of its own: what it does to a list that it is given, a replay could not repeat."""
    function = definition.function
    if _FIXED.issuperset(map(type, args)) and _FIXED.issuperset(map(type, kwargs.values())):
        return functools.partial(function, *args, **kwargs)
    # As they are now: the caller may change its own before the function begins.
    copied = _copier((args, kwargs))

    def attempt() -> Any:
        own_args, own_kwargs = copied()
        return function(*own_args, **own_kwargs)

    return attempt


def _copier(given: Any) -> Callable[[], Any]:
    """Makes copies of what `given` is now; where it cannot be copied, it is handed out itself."""
    # Copying runs the user's own code, which may raise anything, or forbid it. A deep copy takes many times as long, and all of it
    # here; what was pickled is taken apart where the function runs, which may be a thread.
    try:
        data = pickle.dumps(given, pickle.HIGHEST_PROTOCOL)
    except Exception:
        try:
            return functools.partial(copy.deepcopy, copy.deepcopy(given))
        except Exception:
            return lambda: given

    def unpickled() -> Any:
        try:
            return pickle.loads(data)
        except Exception:
            return given

    return unpickled


def tasks_of(module: ModuleType) -> list[Definition]:
    """The tasks among a module's attributes that it declares itself."""
    found = [vars(value).get(_ATTRIBUTE) for value in list(vars(module).values()) if type(value) is FunctionType]
    return [one for one in found if isinstance(one, Definition) and one.function.__module__ == module.__name__]
