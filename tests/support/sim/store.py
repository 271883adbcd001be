"""The engine's store on a simulated disk: commits in groups, that take time, fail, or are cut by a crash; reads that take time."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

import msgspec

from support.sim.disk import BrokenRule, Disk
from support.sim.loop import Loop
from wfctl.errors import StorageError
from wfd.core import records as r, state
from wfd.store.batch import Batch
from wfd.store.rows import HistoryRow, Loaded, Match, RunRef, ScheduleRow, Unit

Done = Callable[[BaseException | None], None]
T = TypeVar("T")


class Weather(Protocol):
    """What the seed decides for the disk."""

    def wake_us(self) -> int:
        """From the submission to when the writer looks."""

    def commit_us(self) -> int: ...

    def read_us(self) -> int: ...

    def at_most(self) -> int:
        """Units in the next commit."""

    def fate(self) -> str:
        """Of a commit: well, fails, fails_but_kept, crash_before or crash_after."""

    def heals(self) -> bool:
        """Whether the next reset succeeds."""

    def unreadable(self) -> bool:
        """Whether this read fails."""

    def crash(self) -> None: ...

    def broken(self, what: str) -> None: ...


class _Work(msgspec.Struct, frozen=True):
    unit: Unit
    done: Done
    term: int


class Writer:
    """As `wfd.store.writer`: units in order, groups, terms. Its thread is a chain of timers."""

    def __init__(self, disk: Disk, loop: Loop, weather: Weather) -> None:
        self._disk = disk
        self._loop = loop
        self._weather = weather
        self._items: deque[_Work | asyncio.Future[None]] = deque()
        self._turning = False
        self._term = 0
        self._valid_term = 0
        self._broken: StorageError | None = None
        self._last: StorageError | None = None
        self._said_us = 0
        self.failure: StorageError | None = None

    # -- on the engine's loop ------------------------------------------------------------------

    def submit(self, unit: Unit, done: Done) -> None:
        self._put(_Work(unit, done, self._term))

    async def note(self, key: str, value: str) -> None:
        await self.flush()
        self._disk.meta[key] = value

    async def flush(self) -> None:
        settled: asyncio.Future[None] = self._loop.create_future()
        self.submit(Unit(), functools.partial(_settle, settled))
        await settled

    async def reset(self) -> None:
        future: asyncio.Future[None] = self._loop.create_future()
        self._put(future)
        await future
        self._term = self._valid_term
        self.failure = None

    def _put(self, item: _Work | asyncio.Future[None]) -> None:
        self._items.append(item)
        if not self._turning:
            self._turning = True
            self._loop.after_us(self._weather.wake_us(), self._turn)

    # -- in the writer's thread ----------------------------------------------------------------

    def _turn(self) -> None:
        if not self._items:
            self._turning = False
            return
        first = self._items[0]
        if isinstance(first, asyncio.Future):
            self._items.popleft()
            self._loop.after_us(self._weather.commit_us(), self._reopen, first)
        elif not self._takes(first):
            self._items.popleft()
            self._say(self._answer, [first], self._broken or self._last)
            self._loop.call_soon(self._turn)
        else:
            self._begin()

    def _takes(self, work: _Work) -> bool:
        return self._broken is None and work.term == self._valid_term

    def _begin(self) -> None:
        batch, works = Batch(), []
        limit = self._weather.at_most()
        while self._items and len(works) < limit:
            item = self._items[0]
            if isinstance(item, asyncio.Future) or not self._takes(item):
                break
            self._items.popleft()
            works.append(item)
            try:
                batch.add(item.unit)
            except StorageError as error:
                self._weather.broken(error.message)
        self._loop.after_us(0 if batch.empty else self._weather.commit_us(), self._commit, batch, works)

    def _commit(self, batch: Batch, works: list[_Work]) -> None:
        fate = "well" if batch.empty else self._weather.fate()
        if fate == "crash_before":
            self._weather.crash()
            return
        if fate == "fails":
            self._fail(works)
        else:
            try:
                self._disk.commit(batch)
            except BrokenRule as broken:
                self._weather.broken(str(broken))
            if fate == "crash_after":
                self._weather.crash()
                return
            if fate == "fails_but_kept":
                self._fail(works)
            else:
                self._say(self._answer, works, None)
        self._loop.after_us(self._weather.wake_us() if self._items else 0, self._turn)

    def _fail(self, works: list[_Work]) -> None:
        self._broken = self._last = StorageError("the simulated disk is full")
        self._say(self._answer, works, self._broken)

    def _reopen(self, future: asyncio.Future[None]) -> None:
        if not self._weather.heals():
            self._say(_settle, future, StorageError("the simulated disk is still full"))
        else:
            if self._broken is not None:
                self._broken = None
                self._valid_term += 1
            self._say(_settle, future, None)
        self._loop.call_soon(self._turn)

    def _say(self, fn: Callable[..., None], *args: Any) -> None:
        """To the loop of the engine: some time later, and in order."""
        self._said_us = max(self._said_us, self._loop.now_us + self._weather.wake_us())
        self._loop.at_us(self._said_us, fn, *args)

    def _answer(self, works: list[_Work], error: StorageError | None) -> None:
        if error is not None and works[0].term == self._term:
            self.failure = error
        for work in works:
            work.done(error)


def _settle(future: asyncio.Future[None], error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


class Reader:
    """What the engine asks `wfd.store.reader` for. What is seen is what was on disk at some moment of the read."""

    def __init__(self, disk: Disk, loop: Loop, weather: Weather) -> None:
        self._disk = disk
        self._loop = loop
        self._weather = weather

    async def _see(self, look: Callable[[], T]) -> T:
        await self._pass()
        if self._weather.unreadable():
            raise StorageError("the simulated disk cannot be read")
        seen = look()
        await self._pass()
        return seen

    async def _pass(self) -> None:
        us = self._weather.read_us()
        if us:
            await self._loop.pause(us)
        else:
            await asyncio.sleep(0)

    # -- runs ----------------------------------------------------------------------------------

    async def load_run(self, key: int) -> Loaded | None:
        return await self._see(lambda: self._loaded(key))

    def _loaded(self, key: int) -> Loaded | None:
        disk = self._disk
        row = disk.runs.get(key)
        if row is None:
            return None
        parent = None
        if row.parent is not None:
            of = disk.runs[row.parent]
            parent = RunRef(of.key, of.run_id, of.workflow_id, of.type)
        inbox = [event for _, event in sorted(disk.inbox.get(key, {}).items())]
        return Loaded(row, dict(disk.store.get(key, {})), inbox, parent, disk.runs[row.root].run_id)

    async def history_after(self, key: int, seq: int) -> list[HistoryRow]:
        return await self._see(lambda: self._disk.history.get(key, [])[seq:])

    async def course(self, key: int, kinds: Iterable[str]) -> list[HistoryRow]:
        wanted = set(kinds)
        return await self._see(lambda: [row for row in self._disk.history.get(key, []) if row.kind in wanted])

    async def accepted(self, key: int, event_id: str) -> bool:
        return await self._see(lambda: self._accepted(key, event_id))

    def _accepted(self, key: int, event_id: str) -> bool:
        return any(
            isinstance(record, r.EventReceived) and record.id == event_id and record.refused is None
            for _, record in self._disk.records(key)
        )

    async def logged_since(self, key: int, seq: int) -> list[tuple[str, str]]:
        return await self._see(lambda: self._logged(key, seq))

    def _logged(self, key: int, seq: int) -> list[tuple[str, str]]:
        since = self._disk.history[key][seq - 1].rev
        return [(line.level, line.message) for line in self._disk.logs.get(key, ()) if line.rev > since]

    async def children_ids(self, parent_key: int) -> dict[str, tuple[int, str]]:
        return await self._see(
            lambda: {
                row.workflow_id: (key, row.run_id)
                for key in self._disk.children.get(parent_key, ())
                for row in (self._disk.runs[key],)
            }
        )

    async def bound_children(self, parent_key: int) -> list[tuple[int, str]]:
        return await self._see(lambda: self._bound(self._disk.children.get(parent_key, [])))

    async def orphans(self) -> list[tuple[int, str]]:
        return await self._see(lambda: self._bound([key for key in self._disk.runs if self._orphaned(key)]))

    def _orphaned(self, key: int) -> bool:
        row = self._disk.runs[key]
        closed_at = None if row.parent is None else self._disk.runs[row.parent].closed_at
        return closed_at is not None and closed_at > (state.parse(row.state).reopened_at or -1)

    def _bound(self, keys: list[int]) -> list[tuple[int, str]]:
        rows = [self._disk.runs[key] for key in keys]
        return [(r.key, r.on_parent_close) for r in rows if r.closed_at is None and r.on_parent_close != "abandon"]

    # -- recovery and timers -------------------------------------------------------------------

    async def open_workflow_ids(self) -> dict[str, int]:
        return await self._see(lambda: dict(self._disk.open_ids))

    async def max_key(self) -> int:
        return await self._see(lambda: max(self._disk.runs, default=0))

    async def max_rev(self) -> int:
        return await self._see(lambda: self._disk.rev)

    async def meta(self, key: str) -> str | None:
        return await self._see(lambda: self._disk.meta.get(key))

    async def max_run_id(self) -> str | None:
        return await self._see(lambda: max(self._disk.run_ids, default=None))

    async def recoverable(self) -> list[int]:
        return await self._see(lambda: self._of_status("running", "cancelling"))

    async def stuck_runs(self) -> list[tuple[int, str]]:
        return await self._see(lambda: [(key, self._disk.runs[key].type) for key in self._of_status("stuck")])

    def _of_status(self, *statuses: str) -> list[int]:
        return sorted(key for key, row in self._disk.runs.items() if row.status in statuses)

    async def due(self, now_ms: int, limit: int, after: tuple[int, int] = (0, 0)) -> list[tuple[int, int]]:
        return await self._see(lambda: [one for one in self._wakes() if one > after and one[0] <= now_ms][:limit])

    async def next_wake(self) -> int | None:
        return await self._see(lambda: min((at for at, _ in self._wakes()), default=None))

    def _wakes(self) -> list[tuple[int, int]]:
        return sorted((row.wake_at, key) for key, row in self._disk.runs.items() if row.wake_at is not None)

    async def schedules(self) -> list[ScheduleRow]:
        return await self._see(lambda: [row for _, row in sorted(self._disk.schedules.items())])

    async def statuses_of(self, run_ids: Iterable[str]) -> dict[str, str]:
        rows = [self._disk.runs[self._disk.run_ids[id]] for id in run_ids]
        return await self._see(lambda: {row.run_id: row.status for row in rows})

    # -- ids -----------------------------------------------------------------------------------

    async def key_of(self, run_id: str) -> int | None:
        return await self._see(lambda: self._disk.run_ids.get(run_id))

    async def newest_of(self, workflow_id: str) -> int | None:
        return await self._see(lambda: self._newest(workflow_id))

    def _newest(self, workflow_id: str) -> int | None:
        runs = (key for key, row in self._disk.runs.items() if row.workflow_id == workflow_id)
        return self._disk.open_ids.get(workflow_id) or max(runs, default=None)

    async def resolve(self, text: str, *, exact: bool = False) -> list[Match]:
        return await self._see(lambda: self._resolve(text, exact))

    def _resolve(self, text: str, exact: bool) -> list[Match]:
        disk = self._disk
        key = disk.run_ids.get(text)
        if not exact:
            key = disk.open_ids.get(text) or key or self._newest(text)
        if key is None:
            return []
        row = disk.runs[key]
        return [Match(key, row.run_id, row.workflow_id, row.closed_at is not None)]

    async def newest_workflow_ids(self, limit: int) -> list[str]:
        return await self._see(lambda: [row.workflow_id for row in list(self._disk.runs.values())[::-1]][:limit])

    async def descendants(self, key: int) -> list[int]:
        return await self._see(lambda: self._below(key))

    def _below(self, key: int) -> list[int]:
        found = list(self._disk.children.get(key, ()))
        for child in found:
            found += self._disk.children.get(child, ())
        return sorted(found)


class Store:
    """What the engine takes for `wfd.store.store.Store`."""

    def __init__(self, disk: Disk, loop: Loop, weather: Weather) -> None:
        self.writer = Writer(disk, loop, weather)
        self.reader = Reader(disk, loop, weather)
