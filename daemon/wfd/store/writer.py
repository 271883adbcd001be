"""The one writer: the only connection that writes, wherever it runs (`places`); and that checkpoints, but for `upkeep`'s, to which
it leaves the log meanwhile.

Units commit in the order they are submitted. What waits when a commit can be asked for goes into it, and a process of its own makes
one of all those it has been asked for by then: a lone unit pays one fsync, a thousand share one. After a failed commit nothing is
written any more until `reset`: what memory has decided since is built on what disk does not have.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from wfctl.errors import StorageError, WfctlError, from_data
from wfd.runtime.lifecycle import Service
from wfd.store import database, purge
from wfd.store.connect import BUSY_MS, Durability, explain
from wfd.store.database import Setting
from wfd.store.places import Apart, InThread, Place
from wfd.store.rows import Unit

log = logging.getLogger("wfd.store")

Done = Callable[[BaseException | None], None]

MAX_UNITS = 2_000
MAX_BYTES = 8 << 20
# With so much asked for there are two commits at most, one under way and one behind it. It is about what a socket has room for:
# what has not come when the first ends cannot become part of the second, and is better asked for as one later.
READY_BYTES = 128 << 10
# At a stop: a process that does nothing for so long will not.
HANGS_S = 3.0


class WriterStats(msgspec.Struct):
    """Counts since the start: commits that were asked for and made, the units in them, and the units of the newest one."""

    commits: int = 0
    units: int = 0
    last_batch: int = 0


class _Work(msgspec.Struct, frozen=True, gc=False):
    """A unit on its way: packed, None where there is nothing to write; `error` is why it cannot be."""

    unit: bytes | None
    done: Done
    error: WfctlError | None = None


class _Commit(msgspec.Struct, frozen=True):
    """These are asked for together; `size` is in bytes."""

    works: list[_Work]
    size: int


class _Order(msgspec.Struct, frozen=True):
    """Something else to ask of the database in its turn."""

    request: bytes
    future: asyncio.Future[bytes]


class Writer(Service):
    """Made and used on the event loop; `start` opens the database (and creates or migrates it).

    `failure` is why nothing can be written, None while all is well. With `held` the database is written by a process of its
    own, which inherits these descriptors, else in a thread. `before_commit` is for tests, with a thread: it is called there with
    the number of the commit that is about to happen, and may raise or block.
    """

    def __init__(
        self,
        path: Path,
        *,
        durability: Durability = "full",
        before_commit: Callable[[int], None] | None = None,
        busy_ms: int = BUSY_MS,
        held: Callable[[], Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.path = path
        self.failure: WfctlError | None = None
        self.stats = WriterStats()
        # How many times it has been answered, and what there is to say where it has not been for long (`silence`).
        self.answers = 0
        self.silent = ""
        self.before_commit = before_commit
        setting = Setting(str(path), busy_ms, durability)
        self._place: Place = InThread(setting, self._before) if held is None else Apart(setting, held)
        self._open = False
        self._kept = False
        self._items: deque[_Work | _Order] = deque()
        # What is asked and not answered, in order: one order, or as many commits as the place takes.
        self._asked: deque[_Commit | _Order] = deque()
        self._asked_bytes = 0
        self._placed = False
        self._replacing: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop

    def _before(self, number: int) -> None:
        if self.before_commit is not None:
            self.before_commit(number)

    @property
    def pid(self) -> int | None:
        """Of the process that writes, where it is one of its own."""
        return self._place.pid if isinstance(self._place, Apart) else None

    @property
    def keeps_log(self) -> bool:
        """Whether commits leave the log as it is, or are to (`keep_log`)."""
        return self._kept

    @property
    def under_way(self) -> bool:
        """Whether anything waits to be written, or is being written."""
        return bool(self._items or self._asked)

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.failure = None
        self._kept = False
        try:
            await self._begin("open")
        except BaseException:
            await self._end()
            raise
        self._open = True

    async def _begin(self, verb: str) -> None:
        if not self._placed:
            await self._place.start(self._answered, self._lost)
            self._placed = True
        await self._order(verb, self._kept)

    def submit(self, unit: Unit, done: Done) -> None:
        """Commit `unit` after all submitted before it, then call `done` on the loop: with None, or with why it is not
        on disk. At once, where there is nothing to write or to wait for. The rows belong to the writer from here on."""
        if not self._open or self.failure is not None:
            error = self.failure or self._closed()
            asyncio.get_running_loop().call_soon(self._tell, done, error)
            return
        try:
            work = _Work(None if unit.empty else database.packed(unit), done)
        except Exception as raised:
            work = _Work(b"", done, explain(raised, self.path, "write"))
        self._items.append(work)
        self._pump()

    async def flush(self) -> None:
        """Return when everything submitted so far is on disk; raise the failure if it is not."""
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.submit(Unit(), functools.partial(_settle, settled))
        await settled

    async def reset(self) -> None:
        """Write again after a failure, once memory has been thrown away: reopen, and prove it with a small commit.

        Units submitted before this returns still get the failure. Raises why it still cannot be written.
        """
        if not self._open:
            raise self._closed()
        await self._begin("reopen")
        # Here and not where the answer comes in: until its caller goes on, units are decided on memory that is thrown away.
        self.failure = None

    async def note(self, key: str, value: str) -> None:
        """Keep a fact about the database itself, in a commit of its own."""
        await self._order("note", key, value)

    async def keep_log(self, keep: bool) -> None:
        """From here on no commit copies the log into the database, whatever process or connection it is made with; or again.

        When this returns, the end of a log that is kept is not in the database yet.
        """
        self._kept = self._kept or keep
        await self._order("keep_log", keep)
        self._kept = keep

    async def shorten_log(self, size: int = 0) -> bool:
        """Copy the whole log into the database file and cut it to so many bytes; false where somebody reads from it still."""
        return bool(database.answer(await self._order("shorten_log", size), bool))

    async def remove(self, removal: purge.Removal) -> purge.Removed:
        """Take closed runs away for good, in a commit of their own behind what was submitted before."""
        reply = await self._order("remove", removal)
        self.stats.commits += 1
        removed: purge.Removed = database.answer(reply, purge.Removed)
        return removed

    async def give_back(self, pages: int) -> purge.Room:
        """Return up to so many free pages of the file to the file system, where it can; 0 only tells the room."""
        room: purge.Room = database.answer(await self._order("give_back", pages), purge.Room)
        return room

    async def _stop(self) -> None:
        if self.failure is None:
            settled: asyncio.Future[None] = self._loop.create_future()
            self.submit(Unit(), functools.partial(_settle, settled))
            self._open = False
            await self._wait_for(settled)
        self._open = False
        if self._placed:
            await self._wait_for(asyncio.ensure_future(self._order("close")))
        await self._end()

    async def _wait_for(self, asked: asyncio.Future[Any]) -> None:
        """Until `asked` is done, however it ends. A process that hangs is killed: that costs what has not been answered."""
        while not asked.done():
            commits = self.stats.commits
            await asyncio.wait({asked}, timeout=HANGS_S if isinstance(self._place, Apart) else None)
            if not asked.done() and commits == self.stats.commits:
                await self._place.stop()
                self._lost(f"killed: it had not answered for {HANGS_S:g} s")
                break
        await asyncio.gather(asked, return_exceptions=True)

    async def _end(self) -> None:
        self._placed = False
        await self._place.stop()

    async def _order(self, verb: str, *arguments: object) -> bytes:
        """The reply, once it is done."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        if verb == "remove" and self.failure is not None:
            raise self.failure
        if not self._placed and (self.failure is not None or not self._open):
            raise self.failure or self._closed()
        self._items.append(_Order(database.request(verb, *arguments), future))
        self._pump()
        return await future

    def _closed(self) -> StorageError:
        return StorageError(f"the database {self.path} is closed", path=str(self.path))

    # -- one request after the other -----------------------------------------------------------

    def _pump(self) -> None:
        while self._items and self._placed and self._goes_out():
            first = self._items[0]
            if isinstance(first, _Order):
                self._items.popleft()
                self._asked.append(first)
                self._place.ask(first.request)
            elif first.error is not None:
                self._fail([], first.error)
            else:
                self._commit()

    def _goes_out(self) -> bool:
        """Whether what stands first can be asked for, or answered, now. A commit goes out behind one that is under way: where
        that fails, so does this."""
        if not self._asked:
            return True
        most = 2 if self._asked_bytes > READY_BYTES else self._place.most_asked
        roomy = len(self._asked) < min(most, self._place.most_asked)
        return roomy and isinstance(self._asked[-1], _Commit) and self._has_rows()

    def _has_rows(self) -> bool:
        """Whether what stands first is a unit that is to be written."""
        return bool(self._items) and isinstance(self._items[0], _Work) and bool(self._items[0].unit)

    def _commit(self) -> None:
        """Ask for the commit of what stands first; what has nothing to write waits for it all the same."""
        works: list[_Work] = []
        units: list[bytes] = []
        size = 0
        while self._items and len(works) < MAX_UNITS and size < MAX_BYTES:
            item = self._items[0]
            if isinstance(item, _Order) or item.error is not None:
                break
            works.append(item)
            self._items.popleft()
            if item.unit is not None:
                units.append(item.unit)
                size += len(item.unit)
        if units:
            self._asked.append(_Commit(works, size))
            self._asked_bytes += size
            self._place.ask(database.commit(units))
        else:
            self._tell_all(works, None)

    def _answered(self, reply: bytes) -> None:
        self.answers += 1
        asked = self._asked.popleft()
        data = database.failure(reply)
        error = None if data is None else from_data(data)
        if isinstance(asked, _Order):
            _settle(asked.future, error, reply)
            self._pump()
            return
        works = asked.works
        self._asked_bytes -= asked.size
        if error is not None:
            self._fail(works, error)
        else:
            self.stats.commits += 1
            self.stats.units += len(works)
            self.stats.last_batch = len(works)
            # The next goes out first: it is written while the answers to these are given.
            if self._has_rows():
                self._pump()
            self._tell_all(works, None)
        self._pump()

    def _fail(self, works: list[_Work], error: WfctlError) -> None:
        """These are not on disk, and neither will be what waits behind them."""
        self.failure = error
        works = works + [item for item in self._items if isinstance(item, _Work)]
        self._items = deque(item for item in self._items if isinstance(item, _Order))
        self._tell_all(works, error)

    def _tell_all(self, works: list[_Work], error: WfctlError | None) -> None:
        for work in works:
            self._tell(work.done, error)

    def _tell(self, done: Done, error: WfctlError | None) -> None:
        try:
            done(error)
        except Exception as raised:
            self._loop.call_exception_handler(
                {"message": "a callback of the writer failed", "exception": raised, "callback": done}
            )

    # -- a process that ends -------------------------------------------------------------------

    def _lost(self, how: str) -> None:
        """The process has ended. Whether the units it was at are on disk nobody knows; where it was at none, another goes on."""
        log.error("the process that writes the database ended (%s)", how)
        self._placed = False
        error = StorageError(f"the process that writes the database {self.path} ended ({how})", path=str(self.path))
        works: list[_Work] = []
        while self._asked:
            asked = self._asked.popleft()
            if isinstance(asked, _Order):
                _settle(asked.future, error)
            else:
                works += asked.works
        self._asked_bytes = 0
        if not works and self._open and self.failure is None and self._replacing is None:
            self._replacing = self._loop.create_task(self._replace())
            return
        orders = [item for item in self._items if isinstance(item, _Order)]
        self._fail(works, error)
        self._items.clear()
        for order in orders:
            _settle(order.future, error)

    async def _replace(self) -> None:
        try:
            await self._place.start(self._answered, self._lost)
            self._placed = True
            opened: asyncio.Future[bytes] = self._loop.create_future()
            # Before the units that have come meanwhile.
            self._items.appendleft(_Order(database.request("open", self._kept), opened))
            self._pump()
            await opened
        except WfctlError as error:
            if self.failure is None:
                self._fail([], error)
        finally:
            self._replacing = None


def _settle(future: asyncio.Future[Any], error: BaseException | None, reply: bytes | None = None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(reply)
    else:
        future.set_exception(error)
