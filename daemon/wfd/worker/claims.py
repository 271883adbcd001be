"""Which record of earlier executions answers a call, while there are some that nobody has asked for.

A branch gets what it asked for itself. What another branch asked for it gets only where that one is certain not to ask again, as
when work has gone to another of several workers this time: or each could get what is the other's, and be wrong about the world.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NoReturn, Protocol

from wfctl.protocol.channel import OpRecord
from wfctl.sdk.handler import Handler
from wfctl.sdk.replay import Replay
from wfctl.sdk.sources import Sources
from wfctl.values.opkeys import CLEANUP_MARK, LOCAL, branch_of, in_words
from wfd.worker import branches, standing
from wfd.worker.pending import Pending
from wfd.worker.rest import Rest

# From one look at what the other branches do to the next: they may wait for what nobody here knows of.
_FIRST_S, _MOST_S = 0.002, 0.1
_LONG_S = 1.0
_NO_ARGUMENTS = b"{}"
_SLEEPS = ("sleep:", f"{CLEANUP_MARK}sleep:")


class Step(Protocol):
    """What is asked of the execution of a step, which is the branch of its handler's own task."""

    handler: Handler
    thread: int | None
    task: asyncio.Task[Any] | None
    tasks: list[asyncio.Task[Any]]
    marked: branches.Marked | None
    _pending: dict[int, Pending]
    _bodies: dict[str, asyncio.Task[Any] | None] | None
    _resumed: set[str] | None

    @property
    def sources(self) -> Sources: ...
    @property
    def replay(self) -> Replay[OpRecord]: ...
    @property
    def _rest(self) -> Rest: ...

    def cancel_soon(self) -> None: ...
    def disagreement(self) -> str: ...
    def stuck(self, reason: str) -> NoReturn: ...
    def _admit(self) -> None: ...
    def _is_sequential(self) -> bool: ...
    def _note(self, key: str, place: str) -> None: ...


async def claim(step: Step, kind: str, name: str, content: bytes, place: str) -> tuple[str, OpRecord | None]:
    """The operation's key, and its record if there is one."""
    replay, expected = step.replay, step.replay.next_key
    branch = branches.asking(kind, threaded=step.thread is not None)
    if kind in branches.BY_BRANCH:
        base, marks = replay.base(kind, name, content), ("",) if branch is None else branch.marks
        record = _any(replay.take_own(base, mark) for mark in marks)
        if record is None and replay.has_alike(base):
            if step._is_sequential():
                record = replay.take_alike(base)
            else:
                expected = None
                record = await _of_another(step, kind, base, content)
        key = replay.fresh_key(base, marks[0]) if record is None else record.key
    else:
        contents = [content] if kind not in branches.ALIKE else [b""] if branch is None else branch.paths
        bases = [replay.base(kind, name, one) for one in contents]
        record = _any(replay.take_next(base) for base in bases)
        key = replay.key(bases[0]) if record is None else record.key
    if record is not None and expected not in (None, key) and kind != "child_result" and step._is_sequential():
        step._note(key, place)
        step.stuck(step.disagreement())
    return key, record


def _any(records: Iterable[OpRecord | None]) -> OpRecord | None:
    return next((one for one in records if one is not None), None)


async def _of_another(step: Step, kind: str, base: str, content: bytes) -> OpRecord | None:
    """The first record of the same call by another branch, if that does not come for it."""
    replay, rest = step.replay, step._rest
    # Should the other still come, it is to have its own; the next one's is then later.
    place = -1.0
    while place < (place := replay.place_alike(base)):
        await rest.come(place, step.cancel_soon)
    if kind != "task":
        return replay.take_alike(base)  # it is the same to all that ask for it
    # Else what it is for may be in variables of the handler's, and be another thing in each branch.
    told = LOCAL not in base and content != _NO_ARGUMENTS
    now = asyncio.get_running_loop().time
    delay, since = _FIRST_S, now()
    try:
        while (key := replay.first_alike(base)) is not None:
            step._admit()
            rest.stand(replay.unasked[key].place)
            state = standing.of_owner(
                branch_of(key), step.marked or {}, _scene(step, lasts=now() - since >= _LONG_S), alone=told
            )
            if state is standing.GONE and LOCAL not in base:
                return replay.take(key)
            if state is standing.STANDS and told:
                return replay.take(key)
            if state is standing.GONE or (state is standing.STANDS and rest.is_first):
                step.stuck(_not_told(step, key))
            delay = _FIRST_S if await rest.pause(delay) else min(2 * delay, _MOST_S)
    finally:
        rest.through()
    step._admit()
    return None


def _scene(step: Step, *, lasts: bool) -> standing.Scene:
    """How its branches stand. Sleeps that an earlier execution began would be over if they were then, if that `lasts`."""
    pending, resumed, rest = step._pending.values(), step._resumed or (), step._rest
    going_on = {task for task in (*step.tasks, step.task) if task is not None and not task.done()}
    bodies = {task for key, task in (step._bodies or {}).items() if task is not None and key not in resumed}
    over = {one.answer for one in pending if lasts and one.key.startswith(_SLEEPS)}
    new = {one.answer for one in pending if one.key not in resumed}
    return standing.Scene(going_on, {*rest.standing, *bodies}, {*rest.last, *new, *over}, lasts)


def _not_told(step: Step, key: str) -> str:
    return (
        f"{step.handler.label} ({step.sources.place(step.handler.file, step.handler.line)}) asks for {in_words(key)} in another "
        "branch than before, and nothing tells whether it is the same call: what happens beside its operations came in another "
        "order. `wfctl retry` has the step repeated; a task that gets what it works for as an argument can be told"
    )
