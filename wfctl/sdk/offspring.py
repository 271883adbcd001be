"""Threads that a handler or a task makes, itself or in an executor, know whose they are.

Python begins a thread without the context of whoever made it. In one that a handler made, a task would be just its function:
nothing of it recorded, all of it done again with every repetition, and not a word said. Only whose the thread is goes along; all
other context variables stay as Python has them.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from wfctl.sdk import current

T = TypeVar("T")

_start = threading.Thread.start
_submit = ThreadPoolExecutor.submit
# A thread of an executor is nobody's: it takes the next call from somebody else.
_in_executor: contextvars.ContextVar[bool] = contextvars.ContextVar("wfctl_in_executor", default=False)


def follow() -> None:
    """Have all threads of this process know it from here on."""
    if threading.Thread.start is _start:
        threading.Thread.start = _started  # type: ignore[method-assign, assignment]
    if ThreadPoolExecutor.submit is _submit:
        ThreadPoolExecutor.submit = _submitted  # type: ignore[method-assign, assignment]


def _along() -> tuple[contextvars.ContextVar[Any], Any] | None:
    """What a thread that begins here is to know."""
    inside = current.attempt.get()
    if inside is not None:
        return current.attempt, inside
    if current.step.get() is not None or current.strayed.get():
        return current.strayed, True
    return None


def _with(along: tuple[contextvars.ContextVar[Any], Any], call: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    known, value = along
    outside = known.set(value)
    try:
        return call(*args, **kwargs)
    finally:
        known.reset(outside)


def _started(thread: threading.Thread) -> None:
    along = None if _in_executor.get() else _along()
    if along is not None:
        run = thread.run

        def first() -> None:
            # Or the thread would hold itself, and live until the garbage collector comes.
            vars(thread).pop("run", None)
            _with(along, run)

        thread.run = first  # type: ignore[method-assign]
    _start(thread)


def _submitted(executor: ThreadPoolExecutor, call: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
    along = _along()
    if along is None:
        return _submit(executor, call, *args, **kwargs)
    outside = _in_executor.set(True)
    try:
        return _submit(executor, partial(_with, along, call), *args, **kwargs)
    finally:
        _in_executor.reset(outside)
