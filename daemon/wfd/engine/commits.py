"""What is decided, on its way to the disk: all of one turn of the loop in one unit; and what follows, once that has committed.

There is no `await` between deciding and `commit`, so units hold decisions in the order in which they were made. One unit for a
turn, however many runs it is about, because what a unit costs by itself is more than what most decisions add to it; but where many
handlers have spoken in that turn, what is decided first is handed over before the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol

from wfctl.errors import StorageError
from wfd.core.state import Closed, Stepping
from wfd.engine.batch import Batch, Change
from wfd.engine.memory import Live, Memory
from wfd.engine.timers import Timers
from wfd.engine.unit import unit_of
from wfd.engine.unwritten import Unwritten
from wfd.engine.watch import Hub
from wfd.runtime.clock import Clock
from wfd.store.store import Store

log = logging.getLogger("wfd.engine")

# Of a turn that decides so much, this is handed over before it ends: it is written while the rest is decided.
MUCH = 64


class Machine(Protocol):
    """What commits need of the engine: where decisions go, and who carries out what they ask for."""

    store: Store
    memory: Memory
    hub: Hub
    timers: Timers
    loop: asyncio.AbstractEventLoop
    clock: Clock
    open_ids: dict[str, int]
    sought: set[str]

    def batch(self) -> Batch: ...
    def act(self, change: Change, now: int) -> None: ...
    def eased(self) -> None: ...
    def fail(self, error: BaseException) -> None: ...


class Commits:
    """`rev` is the newest revision given out. `epoch` counts the lives of the memory: what an earlier one still had on its way
    means nothing now. The turns whose decisions are handed over together have numbers, from 1 on."""

    def __init__(self, machine: Machine, unwritten: Unwritten) -> None:
        self._m = machine
        self.unwritten = unwritten
        self.rev = 0
        self.epoch = 0
        self._number = 1
        # What this turn of the loop has decided: always this list, which `Executions` looks at as well.
        self.turn: list[Batch] = []

    def commit(
        self,
        batch: Batch,
        then: Callable[[int], None] | None = None,
        settled: Callable[[BaseException | None], None] | None = None,
    ) -> None:
        """Commit the batch, with what else this turn of the loop decides. `then` runs when it is on the disk, after its actions,
        with the instant of that, unless memory was thrown away by then; `settled` in any case, with why it is not on the disk.

        A batch that decided nothing still waits its turn: an answer may rest on what is on its way.
        """
        machine, turn, number = self._m, self.turn, self._number
        # All that it is about stay in memory until it has committed.
        for change in batch.changes:
            live = change.live
            if not live.decided:
                machine.memory.busy(live)
            live.decided = number
            if change.turns:
                self._turned(change)
        if batch.unchanged:
            for live in batch.unchanged:
                machine.memory.busy(live)
                live.decided = number
        if not turn:
            machine.loop.call_soon(self.submit)
        if then is not None:
            batch.then = then
        if settled is not None:
            batch.settled = settled
        turn.append(batch)

    def _turned(self, change: Change) -> None:
        """The run has opened or closed: who has its workflow ID now."""
        machine, run, new = self._m, change.live.run, not change.decision.before
        if new:
            machine.memory.add(change.live)
        if new or change.reopens:
            machine.open_ids[run.workflow_id] = run.key
            machine.sought.discard(run.workflow_id)
        if type(run.phase) is Closed and machine.open_ids.get(run.workflow_id) == run.key:
            del machine.open_ids[run.workflow_id]

    async def committed(self, batch: Batch) -> None:
        """`commit`, and wait for it."""
        future: asyncio.Future[None] = self._m.loop.create_future()

        def settled(error: BaseException | None) -> None:
            if error is not None and not future.done():
                future.set_exception(error)
            elif not future.done():
                future.set_result(None)

        self.commit(batch, settled=settled)
        await future

    async def room(self) -> None:
        """Wait while too much is on its way to the disk: what the engine does by itself goes no faster than that."""
        if self.unwritten.too_many(len(self.turn)):
            await self.committed(self._m.batch())

    def left(self, silent: int) -> int:
        """How many more runs should be begun, with so many steps that nothing has been heard of."""
        return self.unwritten.left(len(self.turn), silent)

    @property
    def busy(self) -> bool:
        """Whether anything is decided and not on the disk."""
        return bool(self.turn) or self.unwritten.count > 0

    def submit(self) -> None:
        """Hand what this turn has decided so far to the writer. Not for whoever decides: a failure is told at once."""
        turn, number = self.turn.copy(), self._number
        if not turn:
            return
        self.turn.clear()
        self._number = number + 1
        self.unwritten.begin(len(turn))
        try:
            unit, self.rev = unit_of(turn, self.rev)
        except Exception as raised:
            log.exception("what was decided cannot be written down")
            if not isinstance(raised, StorageError):
                raised = StorageError(
                    f"what was decided cannot be written down: {raised!r}", hint="report this as a bug"
                )
            self._written(turn, number, self.rev, self.epoch, raised)
        else:
            self._m.store.writer.submit(unit, partial(self._written, turn, number, self.rev, self.epoch))

    def forget(self, error: BaseException) -> None:
        """Memory is thrown away, because of `error`, and with it what has not been submitted yet."""
        epoch, self.epoch = self.epoch, self.epoch + 1
        turn = self.turn.copy()
        self.turn.clear()
        self.unwritten.begin(len(turn))
        self._written(turn, self._number, self.rev, epoch, error)

    def _written(self, turn: list[Batch], number: int, rev: int, epoch: int, error: BaseException | None) -> None:
        """What was decided in `turn` is on the disk, or never will be: carry out what follows."""
        machine, memory = self._m, self._m.memory
        stands, now, parked = error is None and epoch == self.epoch, machine.clock.now_ms(), memory.parked.lines
        resting: list[Live] = []
        self.unwritten.end(len(turn))
        if stands:
            # All of them before anything follows, which may go wrong.
            memory.written = number
            machine.hub.committed(turn, rev)
        for batch in turn:
            try:
                if batch.settled is not None:
                    batch.settled(error)
                if not stands:
                    continue
                for change in batch.changes:
                    if change.decision.actions:
                        machine.act(change, now)
                if batch.then is not None:
                    batch.then(now)
                for change in batch.changes:
                    run = change.live.run
                    if type(run.phase) is Stepping and run.deadline is None and not parked:
                        continue  # as nearly all: it stays, and needs no time to pass
                    resting.append(change.live)
                if batch.unchanged:
                    resting += batch.unchanged
            except Exception:  # which is no matter of the others
                log.exception("what follows a commit failed")
        # None of them before all has followed, for nothing may be begun of one that has left memory.
        for live in resting:
            try:
                self._rest(live)
            except Exception:
                log.exception("a run cannot rest")
        if error is not None and epoch == self.epoch:
            machine.fail(error)
        machine.eased()

    def _rest(self, live: Live) -> None:
        run = live.run
        if type(run.phase) is not Closed and (wake_at := run.wake_at) is not None:
            self._m.timers.note(wake_at)
        self._m.memory.settle(live)
