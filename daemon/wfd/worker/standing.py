"""Whether a branch of a handler may still go on by itself, or waits for others of its branches alone."""

from __future__ import annotations

import asyncio
from asyncio import locks, queues, taskgroups
from collections.abc import Collection
from enum import Enum
from typing import Any

import msgspec

from wfd.worker.branches import Marked, lineage


class Scene(msgspec.Struct, frozen=True):
    """The tasks of a handler that are `going_on`, those of them that are `held` until something is known of others, and what
    is `new`: the futures of operations that no earlier execution began, so that nothing which is recorded came after them. `lasts`:
    it has been so for long. What a lock or an event waits for may come from elsewhere, but hardly after that."""

    going_on: Collection[asyncio.Task[Any]]
    held: Collection[asyncio.Task[Any]]
    new: Collection[asyncio.Future[Any]]
    lasts: bool


class _State(Enum):
    GONE = "it has ended"
    STANDS = "only others can let it go on"
    MAY_MOVE = "it waits for something else, or is about to run"


GONE, STANDS, MAY_MOVE = _State
# The code in which a coroutine waits for what another one does.
_FILES = {queues.__file__, taskgroups.__file__}
_CODES = {asyncio.tasks._wait.__code__, asyncio.wait_for.__code__}  # type: ignore[attr-defined]


def of_owner(mark: str, marked: Marked, scene: Scene, *, alone: bool) -> _State:
    """How it is with the branch of `mark`; where it has not begun, with what could begin it. `alone`: it stands where it and all
    below it do. Else, and where only the handler's own task could begin it, it stands where everything does."""
    found = next((marked[digits] for digits in lineage(mark) if digits in marked), None)
    if found is not None and found[1].done():
        return GONE
    looked = scene.going_on
    if found is not None and alone:
        below = f"{found[0].path}/"
        looked = {found[1], *(task for branch, task in marked.values() if branch.path.startswith(below))}
    return STANDS if all(_stands(task, scene, set()) for task in looked) else MAY_MOVE


def _stands(task: asyncio.Task[Any], scene: Scene, seen: set[asyncio.Task[Any]]) -> bool:
    if task.done() or task in scene.held or task in seen:
        return True
    waits: Any = getattr(task, "_fut_waiter", None)
    if waits is None or waits.done() or task not in scene.going_on:
        return False
    if waits in scene.new:
        return True
    seen.add(task)
    several = getattr(waits, "_children", None)  # of `gather`
    if several is not None or isinstance(waits, asyncio.Task):
        return all(isinstance(one, asyncio.Task) and _stands(one, scene, seen) for one in several or [waits])
    frame = _innermost(task.get_coro())
    if frame is None:
        return False
    file = frame.f_code.co_filename
    return file in _FILES or frame.f_code in _CODES or (scene.lasts and file == locks.__file__)


def _innermost(coro: Any) -> Any:
    """The frame in which a coroutine waits."""
    frame = None
    while (inner := getattr(coro, "cr_frame", None)) is not None:
        frame, coro = inner, coro.cr_await
    return frame
