"""The runs that are in memory: those that do something, and lately idle ones up to a limit.

A run in memory may be ahead of the disk by the decisions still on their way; it leaves memory only when there are none, so what
is read back is never older than what was decided. A run's ancestors are in memory as long as it is: what happens to a child may
touch its parent in the same unit.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import msgspec

from wfctl.errors import StorageError
from wfctl.protocol import channel
from wfctl.values.runinfo import ParentInfo, RunInfo, encode, started
from wfd.core import apply, records, state
from wfd.core.state import Raw, Run, Stepping
from wfd.engine.parked import Parked
from wfd.engine.recent import Recent
from wfd.store.needs import counted
from wfd.store.reader import Reader
from wfd.store.rows import Counted, HistoryRow, Loaded

log = logging.getLogger("wfd.engine")

IDLE_RUNS = 2_048
AT_ONCE = nullcontext()
NOTHING: frozenset[str] = frozenset()


class Live:
    """One run in memory. `store` is its store as of the last decided directive (JSON by key), `counted` as what the newest unit
    counts it, None where there is none yet.

    `token` names its execution at a worker, `source` is the hash of the code that its newest ended execution ran on, `logged` marks
    the lines the current step has logged, `unheard` are the failed operations whose outcome its handler has not been told, `over`
    the sleeps whose end it is told of since its newest record, `decided` is the number of the turn in which it was decided about
    last, 0 where nothing is under way, `pins` the children in memory. `children` maps workflow ID to run key; None until first
    needed. What was `forgotten` with all else is not the run any more: whoever still holds it decides nothing for it.
    """

    __slots__ = (
        "_told", "children", "counted", "decided", "forgotten", "logged", "over", "parent", "pins", "run", "source", "store",
        "token", "unheard",
    )  # fmt: skip

    def __init__(self, run: Run, store: dict[str, bytes], parent: Live | None) -> None:
        self.run = run
        self.store = store
        self.parent = parent
        self.token: int | None = None
        self.source: str | None = None
        self.logged = bytearray()
        self.decided = 0
        self.pins = 0
        self.forgotten = False
        self.unheard = NOTHING
        self.over: list[str] = []
        self.children: dict[str, int] | None = None
        self.counted: Counted | None = None
        self._told: tuple[RunInfo, bytes] | None = None

    def write(self, put: Mapping[str, bytes], deleted: Sequence[str]) -> None:
        """Change the store in memory, as the same unit does on disk."""
        store = self.store
        if deleted:
            for name in deleted:
                store.pop(name, None)
        store.update(put)

    @property
    def attempt(self) -> int:
        """The attempt at its current step; 1 where it is in none."""
        phase = self.run.phase
        return phase.attempt if type(phase) is Stepping else 1

    def info(self) -> RunInfo:
        return self.info_at(self.attempt)

    def info_at(self, attempt: int) -> RunInfo:
        """The same as of that attempt at its step."""
        return self.told_at(attempt)[0]

    def told_at(self, attempt: int) -> tuple[RunInfo, bytes]:
        """That, and the same as workers are told of it: as JSON."""
        told = self._told
        if told is None or told[0].attempt != attempt:  # nothing else of it changes
            info = info_of(self.run, attempt)
            told = self._told = info, encode(info)
        return told


class Memory:
    """`parked` are runs that wait for a worker, but not here. `aside` are those whose rows nobody understands, by key, with
    why: nothing is done with them, and they keep nobody else from going on. `recent` is how those that left closed have ended."""

    def __init__(self, reader: Reader, idle_limit: int = IDLE_RUNS) -> None:
        self._reader = reader
        self.parked = Parked()
        self.recent = Recent()
        self.aside: dict[int, str] = {}
        self._idle_limit = idle_limit
        self._runs: dict[int, Live] = {}
        self._keys: dict[str, int] = {}
        # The newest turn that is on the disk (see `Commits`).
        self.written = 0
        # Of which nothing is under way, longest first; whoever begins something takes them out.
        self.idle: OrderedDict[int, Live] = OrderedDict()
        self._loading: dict[int, asyncio.Task[int]] = {}
        # Counts how often everything was forgotten: what is read across that is thrown away as well.
        self._life = 0
        # By root, the trees that are being purged: nothing of them is read. Set once a tree can only go on to be gone.
        self._barred: dict[int, asyncio.Event] = {}
        # Counts how often a bar was lifted: of what was read across that, closed runs may be gone.
        self._lifted = 0

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, key: int) -> Live | None:
        return self._runs.get(key)

    def key_of(self, run_id: str) -> int | None:
        """The key of a run in memory."""
        return self._keys.get(run_id)

    def add(self, live: Live) -> None:
        run = live.run
        self._runs[run.key] = live
        self._keys[run.run_id] = run.key
        if live.parent is not None:
            self._pin(live.parent)

    def _pin(self, live: Live) -> None:
        live.pins += 1
        self.busy(live)

    def pending(self, live: Live) -> bool:
        """Whether anything that was decided about this run is not on the disk yet."""
        return live.decided > self.written

    def busy(self, live: Live) -> None:
        """Something is under way for this run: it stays."""
        key = live.run.key
        if key in self.idle:  # as few are; to take out what is not there would cost much more
            del self.idle[key]

    def settle(self, live: Live) -> None:
        """Nothing is under way any more for this run, perhaps: then it may leave."""
        run = live.run
        if live.decided > self.written or live.pins or self._runs.get(run.key) is not live:
            return
        phase = type(run.phase)
        if phase is state.Closed:
            self._drop(live)
        elif phase is not Stepping or (self.parked.lines and self.parked.holds(run.run_id)):
            self._rest(live)

    def _idles(self, run: Run) -> bool:
        return not isinstance(run.phase, Stepping) or self.parked.holds(run.run_id)

    def _rest(self, live: Live) -> None:
        """Idle: it stays as long as there is room, the longest idle leaves first."""
        live.decided = 0
        self.idle[live.run.key] = live
        self.idle.move_to_end(live.run.key)
        if len(self.idle) > self._idle_limit:
            self._drop(next(iter(self.idle.values())))

    def _drop(self, live: Live) -> None:
        run, parent = live.run, live.parent
        self.busy(live)
        del self._runs[run.key]
        del self._keys[run.run_id]
        if parent is not None:
            parent.pins -= 1
            self.settle(parent)
        elif type(run.phase) is state.Closed:
            self.recent.keep(run)  # it is runs at the top that somebody outside has started

    async def reach(self, key: int) -> Live | None:
        """`load` for those who go through many runs by themselves: None also for a run that is set aside."""
        try:
            return await self.load(key)
        except StorageError:
            if key not in self.aside:
                raise
            return None

    async def load(self, key: int, turn: AbstractAsyncContextManager[Any] = AT_ONCE) -> Live | None:
        """The run, read from disk if need be; None where there is no such run. Its ancestors come with it. `turn` is what to have
        while its rows are read, and not while a tree that is purged is waited for.

        StorageError where the disk cannot be read, and for a run that is set aside.
        """
        while True:
            if key in self.aside:
                raise StorageError(self.aside[key], hint="wfctl doctor")
            live = self._runs.get(key)
            if live is not None:
                return live
            async with turn:
                if key in self._runs or key in self.aside:
                    continue  # it has come while others had their turns
                task = self._loading.get(key)
                if task is None:
                    task = self._loading[key] = asyncio.get_running_loop().create_task(self._read(key))
                    task.add_done_callback(functools.partial(self._has_read, key))
                # Only what is in memory at the very moment of return counts: the run may have left again meanwhile.
                found = await asyncio.shield(task)
            if (bar := self._barred.get(found)) is not None:
                await bar.wait()
            if not found or self.given_up(found):
                return None

    def _has_read(self, key: int, task: asyncio.Task[int]) -> None:
        if self._loading.get(key) is task:
            del self._loading[key]
        if not task.cancelled():
            task.exception()  # whoever asked has it; if they have left, it is no matter

    async def _read(self, key: int) -> int:
        """The root of its tree, 0 where there is no such run. Afterwards it is in memory, or aside; or its tree is being purged; or
        it is to be read again, for those who still want it."""
        life, lifted = self._life, self._lifted
        loaded = await self._reader.load_run(key)
        if loaded is None:
            return 0
        root = loaded.run.root
        if root in self._barred:
            return root
        parent = None
        if loaded.run.parent is not None:
            parent = await self.reach(loaded.run.parent)
            if loaded.run.parent in self.aside:
                self._set_aside(loaded, f"its parent is set aside: {self.aside[loaded.run.parent]}")
                return root
        if parent is not None:
            self._pin(parent)  # before the next await, at which it could leave
        try:
            run, logged = await self._rebuild(loaded)
            purged = root in self._barred or (run.closed and lifted != self._lifted)
            if life != self._life or purged:
                return root
            live = Live(run, {name: value.encode() for name, value in loaded.store.items()}, parent)
            live.logged = logged
            live.counted = counted(run)
            self.add(live)
            self.recent.forget(run.run_id)
        except _Unreadable as error:
            self._set_aside(loaded, str(error))
            return root
        finally:
            if parent is not None:
                parent.pins -= 1
                self.settle(parent)
        # Whoever asked for it gets it, closed or not; nobody may ask again.
        if not live.pins and self._idles(run):
            self._rest(live)
        return root

    def _set_aside(self, loaded: Loaded, why: str) -> None:
        row = loaded.run
        message = f"run {row.workflow_id!r} ({row.run_id}) cannot be read: {why}"
        log.error("%s; it is set aside as it is, and the other runs go on", message)
        self.aside[row.key] = message

    async def _rebuild(self, loaded: Loaded) -> tuple[Run, bytearray]:
        row = loaded.run
        try:
            run = run_of(loaded)
        except Exception as error:
            raise _Unreadable(f"column state of its row in table runs: {error}") from error
        phase = run.phase.resume if isinstance(run.phase, state.Stuck) else run.phase
        if not isinstance(phase, Stepping):
            return run, bytearray()
        rows = await self._reader.history_after(row.key, phase.since)
        # A step that was re-opened tells everything once more.
        lines = await self._reader.logged_since(row.key, phase.reopened or phase.since)
        logged = bytearray().join(channel.LogLine(0, level, message).mark() for level, message in lines)
        return apply.refold(run, _records(rows)), logged

    # -- trees that are purged -------------------------------------------------------------------

    def bar(self, roots: Iterable[int]) -> set[int]:
        """Hold nothing of these trees any more, and have whoever wants to read of them wait for `lift`. Returns those that are
        barred by that: a tree of which something is open or under way here is not."""
        wanted = set(roots).difference(self._barred)
        inside = [live for live in self._runs.values() if live.run.root in wanted]
        wanted.difference_update([live.run.root for live in inside if self.pending(live) or not live.run.closed])
        for live in inside:
            if live.run.root in wanted:
                live.forgotten = True
                self.idle.pop(live.run.key, None)
                del self._runs[live.run.key], self._keys[live.run.run_id]
        self.recent.forget_trees(wanted)
        self._barred |= {root: asyncio.Event() for root in wanted}
        return wanted

    def give_up(self, root: int) -> None:
        """A tree that is barred, or is from now on, will be gone: to whoever wants to read of it, it is."""
        self.recent.forget_trees((root,))
        self._barred.setdefault(root, asyncio.Event()).set()

    def given_up(self, root: int) -> bool:
        bar = self._barred.get(root)
        return bar is not None and bar.is_set()

    def lift(self, roots: Iterable[int]) -> None:
        """These trees are gone, or stay after all: what is read says which."""
        self._lifted += 1
        for root in roots:
            bar = self._barred.pop(root, None)
            if bar is not None:
                bar.set()

    def forget(self) -> None:
        """Throw everything away, as memory that is ahead of a disk that failed must be."""
        self._life += 1
        for live in self._runs.values():
            live.forgotten = True
        self._runs.clear()
        self._keys.clear()
        self.idle.clear()
        self.recent.clear()
        self.parked.clear()
        self.aside.clear()
        self._loading.clear()


class _Unreadable(Exception):
    """What a row holds is nothing that the core has written. Its text names the column."""


def _records(rows: Iterable[HistoryRow]) -> Iterator[records.Record]:
    for row in rows:
        try:
            yield records.decode(row.kind, row.data)
        except (msgspec.MsgspecError, KeyError, ValueError) as error:
            why = f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)
            raise _Unreadable(f"column data of its record {row.seq} ({row.kind}) in table history: {why}") from error


def run_of(loaded: Loaded) -> Run:
    """A run as its rows tell; the operations of its current step are in its history."""
    row, of = loaded.run, loaded.parent
    return apply.rebuilt(
        state.parse(row.state),
        key=row.key, run_id=row.run_id, workflow_id=row.workflow_id, workflow_type=row.type,
        input=Raw(row.input.encode()), started_at=row.started_at,
        parent=None if of is None else state.Parent(of.key, ParentInfo(of.run_id, of.workflow_id, of.type)),
        root=row.root, root_id=loaded.root_id, depth=row.depth, deadline=row.deadline, seq=row.seq,
        inbox=[state.Event(i.seq, i.name, Raw(i.payload.encode()), i.at, i.step) for i in loaded.inbox],
    )  # fmt: skip


def info_of(run: Run, attempt: int) -> RunInfo:
    parent = None if run.parent is None else run.parent.info
    return RunInfo(
        run.run_id, run.workflow_id, run.workflow_type, parent, run.root_id, attempt, run.started_at, run.schedule
    )


def child_value(told: bytes) -> Raw:
    """What `ctx.start` is answered with, and replays to."""
    return Raw(started(told))
