"""Which step, and which task, the running code belongs to: context variables, so they follow calls, asyncio tasks and threads.

A host enters a step before its handler; what a task's function does is outside of it again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import hashlib
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from wfctl.sdk.port import Ops
from wfctl.sdk.threads import Threads
from wfctl.values.opkeys import LOCAL, call_of


class TaskInfo(msgspec.Struct, frozen=True):
    """What a task can know about itself, from `current_task()`.

    `attempt` counts from 1; an attempt that a crash cut short is made again under its number. `idempotency_key` is the same for
    every attempt of this very call, whatever crashes in between: give it to a provider that tells repeated requests apart.
    """

    name: str
    attempt: int
    idempotency_key: str


Limit = AbstractAsyncContextManager[asyncio.Timeout]


class Entered(Protocol):
    """What a host enters for a handler. Few handlers call tasks, so what these need may be made for each call."""

    @property
    def current(self) -> CurrentStep: ...


def time_limit(ms: int | None, begun: float) -> Limit:
    """Ends the block it is entered for with TimeoutError, `ms` after `begun` (time of the loop)."""
    return asyncio.timeout_at(None if ms is None else begun + ms / 1_000)


class CurrentStep(msgspec.Struct, eq=False):
    """The step that a handler works for: where its tasks are recorded, and the loop, the threads and the clock they run on.

    `made` collects the coroutines that were handed out, so that one that was never awaited is noticed; `asked` is what was asked
    for last in an event loop of a thread's own.
    """

    ops: Ops
    loop: asyncio.AbstractEventLoop
    threads: Threads
    made: list[Coroutine[Any, Any, Any]]
    time_limit: Callable[[int | None, float], Limit] = time_limit
    asked: asyncio.Future[Any] | None = None

    @property
    def current(self) -> CurrentStep:
        return self

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run an operation on the host's loop, from a thread, and return what it returns."""
        return _result(self._ask(work))

    def read(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The same of what is no operation."""
        return _result(self._cross(work))

    def hand_out(self, work: Coroutine[Any, Any, Any]) -> Any:
        """`work` as whoever calls now can use it: to be awaited in a coroutine, its value in a plain function's thread."""
        running = asyncio._get_running_loop()
        if running is None:
            return self.wait(work)
        if running is not self.loop:  # a thread of the handler's with a loop of its own
            self.asked = asked = asyncio.wrap_future(self._ask(work))
            return asked
        self.made.append(work)
        return work

    def _ask(self, work: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
        return self._cross(work)

    def _cross(self, work: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self.loop)


def _result(crossed: concurrent.futures.Future[Any]) -> Any:
    try:
        return crossed.result()
    except concurrent.futures.CancelledError:
        raise asyncio.CancelledError from None


step: contextvars.ContextVar[Entered | None] = contextvars.ContextVar("wfctl_step", default=None)


class Attempt(msgspec.Struct, eq=False):
    """One attempt of a task. While it is that of the running code, `current_task()` tells of it, and tasks are just functions."""

    _ops: Ops
    _key: str
    name: str
    _number: int

    def info(self) -> TaskInfo:
        # From what stays the same: the run, the number of the step, and which of its calls this is.
        call = self._key if LOCAL in self._key else call_of(self._key)
        same = f"{self._ops.run.id}\n{self._ops.step}\n{call}"
        return TaskInfo(self.name, self._number, hashlib.sha256(same.encode()).hexdigest()[:32])

    def waits(self) -> None:
        """The function does not end in this turn of the loop."""
        self._ops.waits(self._key)


# The task that the running code is part of.
attempt: contextvars.ContextVar[Attempt | None] = contextvars.ContextVar("wfctl_task", default=None)
# Whether it runs in a thread that a handler made, and without the handler's context.
strayed: contextvars.ContextVar[bool] = contextvars.ContextVar("wfctl_strayed", default=False)


def current_task() -> TaskInfo:
    """Name, attempt and idempotency key of the task that calls this, also from a thread; RuntimeError outside of a task."""
    inside = attempt.get()
    if inside is None:
        raise RuntimeError(
            "current_task() is for the inside of a function that is decorated with @task and called by a handler"
        )
    return inside.info()
