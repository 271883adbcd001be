"""The machine: stimuli in, units to the writer, actions out.

Everything that changes a run goes through `commit`: the batch has changed the runs in memory, all batches of one turn of the
loop are submitted at its end as one unit, or in parts where they are many, and only when that has committed are their actions
carried out and their answers given.

If a commit fails, memory is ahead of the disk: the engine throws its memory away, refuses everything with the storage error,
and begins again from the disk as soon as that takes a write.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from wfctl.errors import DaemonDownError, StorageError, WfctlError, reason
from wfctl.protocol import channel
from wfctl.protocol.views import Outcome
from wfd.core import state, stimuli as s
from wfd.core.actions import ABANDON, CANCEL_HANDLER, DISPATCH
from wfd.core.state import Stepping
from wfd.engine.batch import Batch, Change
from wfd.engine.code import Code
from wfd.engine.commits import Commits
from wfd.engine.executions import CRASH_LIMIT, Executions
from wfd.engine.inboxes import Inboxes
from wfd.engine.memory import Live, Memory
from wfd.engine.operations import Operations
from wfd.engine.outcomes import outcome_of
from wfd.engine.purges import Purges
from wfd.engine.reads import Reads
from wfd.engine.recovery import begin_again
from wfd.engine.schedules import Schedules
from wfd.engine.timers import Timers
from wfd.engine.unwritten import Unwritten
from wfd.engine.watch import Hub
from wfd.runtime.clock import Clock
from wfd.runtime.ids import IdSource
from wfd.runtime.pressure import Pressure
from wfd.runtime.promise import Promise
from wfd.store.rows import LogRow
from wfd.store.store import Store
from wfd.supervisor import Catalog, Workers

log = logging.getLogger("wfd.engine")

RETRY_STORAGE_MS = (200, 500, 1_000, 2_000, 5_000)
# A disk that fails again sooner than so has never been well: there may be room for what is tried, and none for what a step writes.
WELL_AFTER_MS = 10_000


class Engine:
    """`start` recovers what the disk holds and goes on with it; `stop` ends timers and followers, and writes what is on its way."""

    def __init__(
        self, store: Store, workers: Workers, clock: Clock, ids: IdSource, *, crash_limit: int = CRASH_LIMIT
    ) -> None:
        self.loop: asyncio.AbstractEventLoop
        self.store = store
        self.workers = workers
        self.clock = clock
        self.ids = ids
        self.memory = Memory(store.reader)
        self.code = Code(self)
        self.hub = Hub()
        # When it was last opened again after a failure, and how often that has been tried since it was last well.
        self._reopened_at = self._reopenings = 0
        self.pressure = Pressure()
        self.reads = Reads(store.reader, clock, self.hub.reports)
        self.purges = Purges(self)
        self.inboxes = Inboxes(self)
        self._commits = commits = Commits(self, Unwritten(workers.hear, self.pressure))
        self.commit, self.committed, self.room = commits.commit, commits.committed, commits.room
        self.turn, self.hand_over = commits.turn, commits.submit
        self.executions = Executions(self, Operations(self).asked, crash_limit)
        # The supervisor's listener: what workers say of steps goes straight to where they are.
        self.heard = self.executions.heard
        self.timed_out = self.executions.timed_out
        self.lost = self.executions.lost
        self.left_line = self.executions.unpark
        self.timers = Timers(store.reader, clock, self._time_reached, self.memory.aside)
        self.schedules = Schedules(self)
        self.open_ids: dict[str, int] = {}
        # Workflow IDs that are looked up on disk for want of an open run; one that a run is begun for meanwhile leaves.
        self.sought: set[str] = set()
        self.failure: StorageError | None = None
        self.draining = False
        # Called when there may be more of `left` than before.
        self.eased: Callable[[], None] = lambda: None
        self._next_key = 1
        self._waiters: dict[int, list[Promise[Outcome]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    # -- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        # Kept, because to ask for it costs a system call.
        self.loop = asyncio.get_running_loop()
        self.workers.listen(self)
        interrupted = await self._look_up()
        await self.code.start(self.workers.catalog)
        await self._recover(interrupted)

    async def stop(self) -> None:
        self.draining = True
        self.timers.stop()
        self.schedules.forget()
        self.hub.close()
        while tasks := list(self._tasks):  # one that ends may leave the rest of its work to another
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._commits.submit()
        self._disappoint(
            DaemonDownError("the daemon is stopping; the run goes on when it is up again", hint="wfctl up")
        )

    async def _look_up(self) -> list[int]:
        """Where the disk stands, before anything is decided: open IDs, where keys and revisions go on. Returns the open steps."""
        reader = self.store.reader
        self.open_ids = await reader.open_workflow_ids()
        self._next_key = await reader.max_key() + 1
        self._commits.rev = await reader.max_rev()
        if (newest := await reader.max_run_id()) is not None:
            self.ids.after(newest)
        return await reader.recoverable()

    async def _recover(self, interrupted: list[int]) -> None:
        """What is to be done is derived from the rows: open steps are begun again, and what is due is done."""
        epoch = self._commits.epoch
        await self.purges.resume()
        if not await begin_again(self, interrupted, lambda: epoch == self._commits.epoch):
            return
        # A crash between a parent's end and that of its children is made good here.
        await self.end_each(await self.store.reader.orphans(), "its parent is closed")
        await self.code.resume_stuck()
        if epoch == self._commits.epoch:  # else the disk has failed again, and who begins again from it arms them
            self.timers.arm_soon()
            await self.schedules.load()

    @property
    def busy(self) -> bool:
        """Whether something is on its way that needs no time to pass: decisions, reads, deadlines being looked at."""
        return bool(self._tasks) or self.timers.busy or self._commits.busy

    def spawn(self, work: Any) -> None:
        """Run a coroutine as long as the engine does; what it raises is logged."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done_task)

    async def again(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """`work` until the disk could be read for it; or until memory is thrown away, for recovery does the same."""
        epoch = self._commits.epoch
        while epoch == self._commits.epoch:
            try:
                await work()
                return
            except StorageError as error:
                log.warning("%s; this is tried again", error.message)
            self.commit(self.batch())  # where the writer has failed and no unit was waiting for it, nobody knows
            await self.pause(RETRY_STORAGE_MS[0])

    def _done_task(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StorageError):
            log.error("a task of the engine failed", exc_info=error)

    # -- committing --------------------------------------------------------------------------

    def batch(self, now: int | None = None) -> Batch:
        """A new batch of decisions, all at one instant: `now`, where the caller has just looked at the clock. Raises the storage
        error while the disk takes nothing."""
        if self.failure is not None:
            raise self.failure
        return Batch(self.clock.now_ms() if now is None else now, self.workers.catalog)

    def left(self) -> int:
        """How many more runs should be begun, for everything to be busy."""
        return self._commits.left(self.workers.silent())

    def check_open(self) -> None:
        if self.failure is not None:
            raise self.failure

    @property
    def rev(self) -> int:
        """The newest revision given out."""
        return self._commits.rev

    def new_key(self) -> int:
        key = self._next_key
        self._next_key += 1
        return key

    def act(self, change: Change, now: int) -> None:
        """Do what a decision asks for, which is on the disk as of `now`."""
        live = change.live
        for action in change.decision.actions:
            if action is DISPATCH:
                run = change.decision.run
                # A later decision may have moved the run on before this one was on disk.
                if live.token is None and (live.run.phase is run.phase or _same(run.phase, live.run.phase)):
                    self.executions.begin(live, run.cancel is not None, now)
            elif action is CANCEL_HANDLER:
                self.executions.cancel(live, now)
            elif action is ABANDON:
                self.executions.abandon(live)
            else:
                self._closed(live)

    def _closed(self, live: Live) -> None:
        run = live.run
        if type(run.phase) is state.Closed:  # else it has been re-opened before its end was on disk
            self.purges.closed[run.phase.status] += 1
        if (waiters := self._waiters.pop(run.key, None)) is not None:
            outcome = outcome_of(run)
            for waiter in waiters:
                waiter.value = outcome
                waiter.end()
        if run.open_children:
            self.spawn(self.again(partial(self._end_bound_children, run)))

    def stimulate(self, live: Live, stimulus: s.Stimulus, now: int | None = None) -> None:
        """Decide and commit one stimulus that nobody waits for, at `now` as in `batch`."""
        if self.failure is not None:
            return
        batch = Batch(self.clock.now_ms() if now is None else now, self.workers.catalog)
        decision = batch.decide(live, stimulus)
        if decision.records:
            self._commits.commit(batch)
        else:
            self.memory.settle(live)

    def logged(self, live: Live, lines: list[channel.LogLine], now: int) -> None:
        """Keep what a handler logged, in the order of everything else."""
        run = live.run
        batch = Batch(now, self.workers.catalog)
        batch.lines = [(live, LogRow(0, run.key, x.at_ms, x.level, x.message, run.handler)) for x in lines]
        self.commit(batch)

    # -- code and time -----------------------------------------------------------------------

    def catalog_changed(self, catalog: Catalog) -> None:
        """The supervisor has other code, or has found out more about it."""
        self.code.changed(catalog)
        self.schedules.look_soon()

    async def _time_reached(self, keys: list[int]) -> None:
        for key in keys:
            await self.room()
            live = await self.memory.reach(key)
            if live is not None:
                self.stimulate(live, s.TimeReached())
        if self.failure is None:
            await self.committed(self.batch())

    # -- children that do not outlive their parent --------------------------------------------

    async def _end_bound_children(self, parent: state.Run) -> None:
        why = f"its parent {parent.workflow_id} is {parent.status}"
        await self.end_each(await self.store.reader.bound_children(parent.key), why)

    async def end_each(self, children: list[tuple[int, str]], why: str) -> None:
        for key, how in children:
            await self.room()
            live = await self.memory.reach(key)
            if live is not None:
                self.stimulate(live, s.CancelAsked(why) if how == "cancel" else s.TerminateAsked(why))

    # -- who waits for a run to close --------------------------------------------------------

    def wait_closed(self, key: int) -> Promise[Outcome]:
        """How the run ends. The caller has seen it open in this turn of the loop, or it may wait for ever."""
        promise: Promise[Outcome] = Promise(self.loop, None, partial(self._unwait, key))
        if (waiters := self._waiters.get(key)) is None:
            self._waiters[key] = [promise]
        else:
            waiters.append(promise)
        return promise

    def _unwait(self, key: int, promise: Promise[Outcome]) -> None:
        """The caller of `wait_closed` has lost interest."""
        waiters = self._waiters.get(key)
        if waiters is not None and promise in waiters:
            waiters.remove(promise)
            if not waiters:
                del self._waiters[key]

    def _disappoint(self, error: WfctlError) -> None:
        for waiter in itertools.chain.from_iterable(self._waiters.values()):
            waiter.end(error)
        self._waiters.clear()

    # -- a disk that fails -------------------------------------------------------------------

    def fail(self, error: BaseException) -> None:
        """A unit did not commit: nothing that memory holds can be believed any more."""
        self.failure = (
            error
            if isinstance(error, StorageError)
            else StorageError(f"the database cannot be written: {reason(error)}")
        )
        log.error("%s; no command is taken until it can be written again", self.failure.message)
        self._commits.forget(self.failure)
        self.timers.pause()
        self.schedules.forget()
        self.executions.abandon_all()
        self.memory.forget()
        self._disappoint(self.failure)
        self.spawn(self._reopen())

    async def _reopen(self) -> None:
        if not 0 <= self.clock.now_ms() - self._reopened_at < WELL_AFTER_MS:
            self._reopenings = 0
        while True:
            await self.pause(RETRY_STORAGE_MS[min(self._reopenings, len(RETRY_STORAGE_MS) - 1)])
            self._reopenings += 1
            try:
                await self.store.writer.reset()
                # After a read that failed, what was under way has still been committed, behind the back of who loaded since.
                self.memory.forget()
                self.schedules.forget()
                interrupted = await self._look_up()
                break
            except WfctlError:
                continue
        self.failure, self._reopened_at = None, self.clock.now_ms()
        log.warning("the database takes writes again; every open run goes on from what it holds")
        self.hub.reopened(self._commits.rev)
        epoch = self._commits.epoch
        try:
            await self._recover(interrupted)
        except StorageError as error:
            if epoch == self._commits.epoch:
                self.fail(error)

    async def pause(self, delay_ms: int) -> None:
        over = asyncio.Event()
        timer = self.clock.call_later(delay_ms, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()


def _same(decided: state.Phase, now: state.Phase) -> bool:
    """Whether a run still executes the step and attempt that it was decided to."""
    assert isinstance(decided, Stepping)
    return isinstance(now, Stepping) and (now.step, now.attempt) == (decided.step, decided.attempt)
