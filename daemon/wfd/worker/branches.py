"""Which asyncio task of a handler is asking: the branch, a path from the handler's own task.

Operations without arguments (`now`, `random`, `uuid4`) are all alike, so between concurrent tasks the order of asking would
decide who gets which recorded value. The branch tells them apart: it depends on the code, not on the timing. Each part of
the path is a coroutine's name and its number among the siblings of that name, so that tasks which a library creates now and
then (a connection, a lookup) do not shift the author's own.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any


class Branch:
    """One task of a handler. `tasks` are all that the handler has created so far, shared between its branches."""

    __slots__ = ("_children", "path", "tasks")

    def __init__(self, path: str = "", tasks: list[asyncio.Task[Any]] | None = None) -> None:
        self.path = path
        self.tasks: list[asyncio.Task[Any]] = [] if tasks is None else tasks
        self._children: dict[str, int] = {}

    def child(self, name: str) -> Branch:
        number = self._children.get(name, 0)
        self._children[name] = number + 1
        return Branch(f"{self.path}/{name}#{number}", self.tasks)


current: contextvars.ContextVar[Branch | None] = contextvars.ContextVar("wfctl_branch", default=None)


def _create_task(
    loop: asyncio.AbstractEventLoop,
    coro: Coroutine[Any, Any, Any],
    *,
    context: contextvars.Context | None = None,
    **options: Any,
) -> asyncio.Task[Any]:
    branch = current.get() if context is None else context.get(current)
    if branch is None:
        return asyncio.Task(coro, loop=loop, context=context, **options)
    if context is None:
        context = contextvars.copy_context()
    context.run(current.set, branch.child(getattr(coro, "__qualname__", "")))
    task = asyncio.Task(coro, loop=loop, context=context, **options)
    branch.tasks.append(task)
    return task


def follow(loop: asyncio.AbstractEventLoop) -> None:
    """Number the tasks created on `loop` from here on."""
    loop.set_task_factory(_create_task)  # type: ignore[arg-type]


def followed(loop: asyncio.AbstractEventLoop) -> bool:
    return loop.get_task_factory() is _create_task
