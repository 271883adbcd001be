"""Which asyncio task of a handler is asking: the branch, a path from the handler's own task.

Operations without arguments (`now`, `random`, `uuid4`) are all alike, so between concurrent tasks the order of asking would
decide who gets which recorded value. The branch tells them apart: it depends on the code, not on the timing. Each part of
the path is a coroutine's name, what of its arguments JSON can hold (`as_completed` begins its coroutines in the order of a set),
and its number among the siblings that are alike in both, so that tasks which a library creates now and then (a connection, a
lookup) do not shift the author's own.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import Coroutine
from typing import Any

import msgspec

from wfctl.sdk import attempts
from wfctl.sdk.current import attempt
from wfctl.sdk.replay import sha256
from wfctl.values.codec import canonical_label

_TASK = attempts.run.__code__


# Kinds whose arguments do not tell one call from another.
_ALIKE = frozenset({"now", "random", "uuid"})
# Kinds whose calls may be alike in all arguments and still have outcomes of their own.
BY_BRANCH = frozenset({"task", "sleep", "child_result"})
_NOT_BY_CONTENT = _ALIKE | BY_BRANCH


class Branch(msgspec.Struct, eq=False, kw_only=True):
    """One task of a handler. `tasks` are all that the handler has created so far, shared between its branches.

    What runs a step is the branch of the handler's own task.
    """

    path: str = ""
    mark: str = ""  # the path in short; nothing for the handler's own task
    tasks: list[asyncio.Task[Any]] = []
    _children: dict[str, int] = {}

    def child(self, name: str) -> Branch:
        number = self._children.get(name, 0)
        self._children[name] = number + 1
        path = f"{self.path}/{name}#{number}"
        return Branch(path=path, mark=sha256(path.encode()).hexdigest()[:8], tasks=self.tasks)


def label(coro: Coroutine[Any, Any, Any]) -> str:
    """A coroutine's name and a digest of its arguments, as far as JSON can hold them."""
    name = getattr(coro, "__qualname__", "")
    frame = getattr(coro, "cr_frame", None)
    if frame is None:
        return name
    code, values = frame.f_code, frame.f_locals
    if code is _TASK:
        # The line that called a task is looked up in a replay only, and the label is to be the same in all executions.
        values = {**values, "place": ""}
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    total = sha256(b"")
    some = False
    for argument in code.co_varnames[:count]:
        try:
            total.update(b"%b=%b;" % (argument.encode(), canonical_label(values[argument])))
            some = True
        except Exception:  # what JSON cannot hold; and encoding runs the user's own code
            continue
    return f"{name}({total.hexdigest()[:8]})" if some else name


current: contextvars.ContextVar[Branch | None] = contextvars.ContextVar("wfctl_branch", default=None)


def _create_task(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, Any],
    *,
    context: contextvars.Context | None = None,
    **options: Any,
) -> asyncio.Task[Any]:
    get = contextvars.ContextVar.get if context is None else context.get
    branch = get(current)
    # What a recorded task's function does inside is not the handler's.
    if branch is None or get(attempt) is not None:
        return asyncio.Task(coro, loop=loop, context=context, **options)
    if context is None:
        context = contextvars.copy_context()
    context.run(current.set, branch.child(label(coro)))
    task = asyncio.Task(coro, loop=loop, context=context, **options)
    while branch.tasks and branch.tasks[-1].done():  # one for each operation, in a thread
        branch.tasks.pop()
    branch.tasks.append(task)
    return task


def hint(branch: Branch) -> str:
    """What else may be wrong where a replay disagrees, and the handler has had branches, which time may move."""
    if not branch._children:
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
    return current.get() is not None and all(task is me or task.done() for task in branch.tasks)


def follow(loop: asyncio.AbstractEventLoop) -> None:
    """Number the tasks created on `loop` from here on."""
    loop.set_task_factory(_create_task)  # type: ignore[arg-type]


def followed(loop: asyncio.AbstractEventLoop) -> bool:
    return loop.get_task_factory() is _create_task


def told_apart(kind: str, content: bytes, *, threaded: bool) -> tuple[bytes, str]:
    """What tells such a call from others: its content, and the mark of the branch that asks."""
    branch = current.get() if not threaded and kind in _NOT_BY_CONTENT else None
    if kind in _ALIKE:
        return b"" if branch is None else branch.path.encode(), ""
    return content, "" if branch is None else branch.mark
