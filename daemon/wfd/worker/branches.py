"""Which asyncio task of a handler is asking: the branch, a path from the handler's own task.

Operations without arguments (`now`, `random`, `uuid4`) are all alike, so between concurrent tasks the order of asking would
decide who gets which recorded value. The branch tells them apart: it depends on the code, not on the timing. Each part of
the path is a coroutine's name, those of its arguments that nobody can change, and its number among the siblings that are alike in
both, so that tasks which a library creates now and then (a connection, a lookup) do not shift the author's own. What a list that
several branches share holds when one of them begins is a matter of timing, so it does not count.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import inspect
import os
import sys
from collections.abc import Coroutine, Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from types import FrameType, NoneType
from typing import Any
from uuid import UUID

import msgspec

from wfctl.sdk import attempts
from wfctl.sdk.current import attempt, step
from wfctl.sdk.replay import sha256
from wfctl.values.codec import canonical_label

_TASK = attempts.run.__code__


# Kinds whose arguments do not tell one call from another.
ALIKE = frozenset({"now", "random", "uuid"})
# Kinds whose calls may be alike in all arguments and still have outcomes of their own.
BY_BRANCH = frozenset({"task", "sleep", "child_result"})
NOT_BY_CONTENT = ALIKE | BY_BRANCH
_LASTING = (str, int, float, bytes, NoneType, Decimal, UUID, date, time, timedelta, Enum)


# Branches and their tasks by the digits of their marks.
Marked = dict[str, tuple["Branch", asyncio.Task[Any]]]


class _Below(msgspec.Struct, eq=False):
    """How many of each name a branch has begun; the same by former names; and the paths of coroutines that are about to begin."""

    children: dict[str, int] = {}
    formerly: dict[str, int] = {}
    named: dict[int, str] = {}


class Branch(msgspec.Struct, eq=False, kw_only=True):
    """One task of a handler. `tasks` are all that the handler has created so far, shared between its branches; so are those that
    are `marked`, which is kept where there are records of earlier executions.

    What runs a step is the branch of the handler's own task.
    """

    path: str = ""
    # The path in short, and after eight digits those above it, the nearest first; nothing for the handler's own task.
    mark: str = ""
    # The path with all arguments that JSON can hold, as it once was recorded; to be found under as well.
    former: str = ""
    tasks: list[asyncio.Task[Any]] = []
    marked: Marked | None = None
    _below: _Below | None = None  # from the first that it begins on

    def child(self, coro: Coroutine[Any, Any, Any]) -> Branch:
        below = self._below = self._below or _Below()
        path = below.named.pop(id(coro), "")
        if not path:
            of = _as_completed()
            path = self._among_others(coro, of, below) if of is not None else self._next(coro, below)
        mark = (_short(path) + self.mark[:_UP] + self.mark[_SELF:])[:_LONGEST]
        former = "" if self.marked is None else _numbered(self.former, below.formerly, label(coro, changing=True))
        return Branch(path=path, mark=mark, former=former, tasks=self.tasks, marked=self.marked)

    def _next(self, coro: Any, below: _Below, *, changing: bool = False) -> str:
        return _numbered(self.path, below.children, label(coro, changing=changing))

    def _among_others(self, coro: Coroutine[Any, Any, Any], of: Any, below: _Below) -> str:
        """The path for one of those that `as_completed` begins, in the order of a set: another one each time."""
        if not isinstance(of, list | tuple):
            # So all that there is has to tell them apart.
            return self._next(coro, below, changing=True)
        below.named.update({id(one): self._next(one, below) for one in dict.fromkeys(of) if asyncio.iscoroutine(one)})
        return below.named.pop(id(coro))

    @property
    def marks(self) -> tuple[str, ...]:
        """All that the branch may be recorded under, the one of today first."""
        return (self.mark, self.mark[:_SELF], _short(self.former)) if self.mark else ("",)

    @property
    def paths(self) -> list[bytes]:
        """The same of its path."""
        return [self.path.encode(), self.former.encode()]

    def made(self, task: asyncio.Task[Any]) -> None:
        while self.tasks and self.tasks[-1].done():  # one for each operation, in a thread
            self.tasks.pop()
        self.tasks.append(task)
        if self.marked is not None:
            for digits in (self.mark[:_UP], *(mark[:_SELF] for mark in self.marks)):
                self.marked[digits] = self, task


# How many digits of a mark are the branch's own, and of each that it is below.
_SELF, _UP = 8, 4
_LONGEST = _SELF + 8 * _UP


def lineage(mark: str) -> Iterator[str]:
    """The digits under which a branch and those that it is below are `marked`, itself first."""
    yield mark[:_SELF]
    for at in range(_SELF, len(mark), _UP):
        yield mark[at : at + _UP]


def _numbered(path: str, numbers: dict[str, int], name: str) -> str:
    number = numbers.get(name, 0)
    numbers[name] = number + 1
    return f"{path}/{name}#{number}"


def _short(path: str) -> str:
    return str(sha256(path.encode()).hexdigest()[:_SELF])


def label(coro: Coroutine[Any, Any, Any], *, changing: bool = False) -> str:
    """A coroutine's name and a digest of its arguments, as far as JSON can hold them; of those that may change, if `changing`."""
    name = getattr(coro, "__qualname__", "")
    frame = getattr(coro, "cr_frame", None)
    if frame is None:
        return name
    code, values = frame.f_code, frame.f_locals
    if code is _TASK:
        # The line that called a task is looked up in a replay only, and the label is to be the same in all executions.
        values = {**values, "place": ""}
    named = code.co_argcount + code.co_kwonlyargcount
    count = named + bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    total = sha256(b"")
    some = False
    for number, argument in enumerate(code.co_varnames[:count]):
        try:
            value = values[argument]
            if not changing and number >= named:  # Python has made it for this call
                value = _lasting(value)
            if changing or number >= named or lasts(value):
                total.update(b"%b=%b;" % (argument.encode(), canonical_label(value)))
                some = True
        except Exception:  # what JSON cannot hold; and encoding runs the user's own code
            continue
    return f"{name}({total.hexdigest()[:8]})" if some else name


def _lasting(given: Any) -> Any:
    """Those of the arguments that came beside the named ones which last."""
    if isinstance(given, dict):
        return {name: value for name, value in given.items() if lasts(value)}
    return tuple(value if lasts(value) else None for value in given)


def lasts(value: Any) -> bool:
    """Whether `value` is certain to stay what it is."""
    if isinstance(value, _LASTING):
        return True
    if isinstance(value, tuple | frozenset):
        return all(map(lasts, value))
    kind = type(value)
    if isinstance(value, msgspec.Struct):
        return kind.__struct_config__.frozen and all(lasts(getattr(value, name)) for name in kind.__struct_fields__)
    if dataclasses.is_dataclass(kind):
        frozen = kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
        return frozen and all(lasts(getattr(value, field.name)) for field in dataclasses.fields(kind))
    return False


def _as_completed() -> Any:
    """What `as_completed` was called with, where it is what begins a coroutine."""
    frame: FrameType | None = sys._getframe(3)
    while frame is not None and frame.f_code.co_filename.startswith(_ASYNCIO):
        if (name := _AS_COMPLETED.get(frame.f_code)) is not None:
            return frame.f_locals.get(name)
        frame = frame.f_back
    return None


_ASYNCIO = os.path.dirname(asyncio.__file__)
_AS_COMPLETED = {asyncio.as_completed.__code__: "fs"}
if (_iterator := getattr(asyncio.tasks, "_AsCompletedIterator", None)) is not None:  # from Python 3.13 on
    _AS_COMPLETED[_iterator.__init__.__code__] = "aws"


# Where it is not the branch of the handler's own task, which its step tells.
current: contextvars.ContextVar[Branch | None] = contextvars.ContextVar("wfctl_branch", default=None)


def here() -> Branch | None:
    """The branch of the running code."""
    return _of(current.get(), step.get())


def _of(begun: Branch | None, entered: Any) -> Branch | None:
    # What is entered for a query is none.
    return begun if begun is not None else entered if isinstance(entered, Branch) else None


def _create_task(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, Any],
    *,
    context: contextvars.Context | None = None,
    **options: Any,
) -> asyncio.Task[Any]:
    get = contextvars.ContextVar.get if context is None else context.get
    branch = _of(get(current), get(step))
    # What a recorded task's function does inside is not the handler's.
    if branch is None or get(attempt) is not None:
        return asyncio.Task(coro, loop=loop, context=context, **options)
    if context is None:
        context = contextvars.copy_context()
    child = branch.child(coro)
    context.run(current.set, child)
    task = asyncio.Task(coro, loop=loop, context=context, **options)
    child.made(task)
    return task


def hint(branch: Branch) -> str:
    """What else may be wrong where a replay disagrees, and the handler has had branches, which time may move."""
    if branch._below is None:
        return ""
    return (
        ". If it was not changed, it goes by what is not recorded, as by the timer of asyncio.wait_for, asyncio.timeout or "
        "asyncio.sleep: use ctx.sleep, or @task(timeout=...), and begin it anew with `wfctl retry --from`"
    )


def is_alone(
    loop: asyncio.AbstractEventLoop, handler: asyncio.Task[Any] | None, branch: Branch, threaded: bool
) -> bool:
    """Whether the asker is certainly the only part of a handler that is still going on. `branch` is that of its own task."""
    if handler is None or not followed(loop):
        return False
    me = asyncio.current_task()
    if not threaded:
        return me is handler and all(task.done() for task in branch.tasks)
    # In a thread, each operation comes as a task of its own; other threads of the handler have no branch.
    return here() is not None and all(task is me or task.done() for task in branch.tasks)


def follow(loop: asyncio.AbstractEventLoop) -> None:
    """Number the tasks created on `loop` from here on."""
    loop.set_task_factory(_create_task)  # type: ignore[arg-type]


def followed(loop: asyncio.AbstractEventLoop) -> bool:
    return loop.get_task_factory() is _create_task


def asking(kind: str, *, threaded: bool) -> Branch | None:
    """The branch that asks, where that tells such a call from others."""
    return here() if not threaded and kind in NOT_BY_CONTENT else None


def told_apart(kind: str, content: bytes, *, threaded: bool) -> tuple[bytes, str]:
    """What tells such a call from others: its content, and the mark of the branch that asks."""
    branch = asking(kind, threaded=threaded)
    if kind in ALIKE:
        return b"" if branch is None else branch.path.encode(), ""
    return content, "" if branch is None else branch.mark
