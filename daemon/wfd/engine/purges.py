"""`purge` and retention: trees that may go are found, and go in small portions between which everybody else has their turn.

A tree goes whole. One of up to `PORTION_ROWS` rows goes in one commit, with others. A bigger one is marked with its first portion:
from then on nobody can go on with it, and a daemon that ends before the last portion finishes it when it is up again. Portions take
children before their parents. How large they are, and what lies between them, is the business of `passes`.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from array import array
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from wfctl.errors import DaemonDownError, InvalidArgumentError, WfctlError
from wfctl.protocol import calls
from wfctl.values.status import Status
from wfd.engine.memory import Memory
from wfd.engine.passes import MOST_ROWS, PORTION_ROWS, READ_REST, REST, Pass, Tally
from wfd.runtime.clock import Clock
from wfd.store import browse, purge
from wfd.store.purge import Removal, Room, Rule, Tree, Weights
from wfd.store.store import Store

log = logging.getLogger("wfd.engine")

# Runs that are looked at in one read, which takes about a millisecond.
LOOK = 200
# Free pages returned at a time.
PAGES = 64
_END = 1 << 62


class Machine(Protocol):
    """What a purge needs of the engine."""

    store: Store
    memory: Memory
    clock: Clock

    def check_open(self) -> None: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...
    async def again(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None: ...


class Purges:
    def __init__(self, machine: Machine) -> None:
        self._m = machine
        # One page of trees at a time, whoever wants them gone.
        self._turn = asyncio.Lock()
        # Whether there may be a tree on the disk that is begun.
        self._begun = True
        # How many runs have closed in each status since the daemon is up.
        self.closed: defaultdict[Status, int] = defaultdict(int)

    async def resume(self) -> None:
        """Finish the tree that an earlier daemon had begun to take away."""
        marked = await self._m.store.reader.meta("purging")
        if marked is not None:
            self._finish_later(int(marked))

    def purge(self, call: calls.Purge) -> Purging:
        return Purging(self, self._m, call)

    # -- finding -----------------------------------------------------------------------------

    async def find(self, rule: Rule, each: bool = False, wanted: Callable[[], bool] = lambda: True) -> Pass:
        """The trees that may go now; counts them, and those that are held. With `each`, `take` tells of each of them. Once they are
        not `wanted` any more, no more of them are looked for."""
        going = Pass(rule, partial(self._ever_closed, rule), each)
        async with self._m.store.reader.snapshot() as snapshot:
            kinds = await browse.types(snapshot)
        chosen = [kind for kind in kinds if not rule.types or kind in rule.types]
        found: list[array[int]] = []
        for status, closed_by in rule.closed_by.items():
            last = await purge.last_before(self._m.store.reader, closed_by)
            # One after the other, so that each goes through its runs once, however many types there are.
            found += [await self._walk(going, kind, status, last, wanted) for kind in chosen]
        going.begin(heapq.merge(*found), sum(map(len, found)))
        return going

    def _ever_closed(self, rule: Rule) -> int:
        return sum(self.closed.get(status, 0) for status in rule.closed_by)

    async def _walk(self, going: Pass, kind: str, status: Status, last: int, wanted: Callable[[], bool]) -> array[int]:
        """The same of the runs of one type in one status."""
        roots: array[int] = array("q")
        after = 0
        while wanted():
            began, units = _time_s(), self._units
            looked = await purge.roots_of(self._m.store.reader, going.rule, kind, status, after, last, LOOK)
            going.looked += looked.runs
            going.tally.held += looked.held
            roots.extend(looked.roots)
            if looked.runs < LOOK:
                break
            after = looked.newest
            await self._rest(units, _time_s() - began, READ_REST, going)
        return roots

    async def look_at(self, rule: Rule, page: list[int]) -> list[Tree]:
        """What would go of these trees."""
        began, units = _time_s(), self._units
        async with self._m.store.reader.snapshot() as snapshot:
            matching = await purge.matching(snapshot, rule, page)
            trees = await purge.trees(snapshot, [key for key, whole in matching.items() if whole])
        await self._rest(units, _time_s() - began, READ_REST)
        return trees

    # -- taking away ---------------------------------------------------------------------------

    async def take(self, going: Pass, page: list[int], told: Callable[[], bool]) -> list[Tree]:
        """Take these trees away, but for those that do not match any more; tells of those that are gone where the pass is to.
        `told` is called after each portion; where it is false, no further tree is begun."""
        tally = going.tally
        async with self._turn:
            self._m.check_open()
            await self._finish_marked()
            barred = self._m.memory.bar(page)
            gone: set[int] = set()
            try:
                # Read once they are barred: what was decided before is on disk, and nothing more is.
                began, units = _time_s(), self._units
                reader = self._m.store.reader
                found, held = await purge.weights(reader, going.rule, barred, PORTION_ROWS)
                # The others are held, or gone already: somebody else took them, who counts them.
                tally.total -= len(page) - len(found)
                trees = await purge.trees(reader, found) if going.each else []
                await self._rest(units, _time_s() - began, READ_REST, going)
                async for removal, whole in self._portions(found, going):
                    await self._remove(removal, going)
                    gone.update(whole)
                    tally.trees += len(whole)
                    if not told() and removal.mark is None:
                        break
            finally:
                marked = {root for root in barred if self._m.memory.given_up(root)}
                self._m.memory.lift(barred - marked)
                for root in marked:
                    self._finish_later(root)
            at_work = [root for root in page if root not in barred and not self._m.memory.given_up(root)]
            tally.held += len(at_work) + held
            return [tree for tree in trees if tree.key in gone]

    async def _portions(
        self, found: dict[int, Weights | None], going: Pass
    ) -> AsyncIterator[tuple[Removal, list[int]]]:
        """What to remove, and the roots of the trees that are gone with it."""
        keys: list[int] = []
        whole: list[int] = []
        big: list[int] = []
        rows = 0
        for root, runs in found.items():
            weight = 0 if runs is None else sum(row for _, row in runs)
            if runs is None or weight > PORTION_ROWS:
                big.append(root)
                continue
            if rows + weight > (MOST_ROWS if len(keys) < going.behind() else PORTION_ROWS):
                yield Removal(keys), whole
                keys, whole, rows = [], [], 0
            keys += [key for key, _ in runs]
            whole.append(root)
            rows += weight
        if keys:
            yield Removal(keys), whole
        for root in big:
            async for removal in self._portions_of(root, going):
                yield removal, [] if removal.mark is not None else [root]

    async def _portions_of(self, root: int, going: Pass | None = None) -> AsyncIterator[Removal]:
        """A tree that is too big for one portion. The last of them has no mark."""
        before = _END
        while True:
            async with self._m.store.reader.snapshot() as snapshot:
                weights = await purge.weights_below(snapshot, root, before, PORTION_ROWS)
            if not weights:
                return
            while weights:
                behind = 0 if going is None else going.behind()
                fit = max(purge.packed(weights, PORTION_ROWS), min(purge.packed(weights, MOST_ROWS), behind))
                if fit == 0:
                    async for removal in self._parts(root, weights[0][0], going):
                        yield removal
                    fit = 1
                keys = [key for key, _ in weights[:fit]]
                weights = weights[fit:]
                yield Removal(keys, mark=None if keys[-1] == root else root)
                before = keys[-1]
            if before == root:
                return

    async def _parts(self, root: int, run: int, going: Pass | None) -> AsyncIterator[Removal]:
        """All but the last rows of a run that is too big for one portion by itself."""
        while True:
            rows = PORTION_ROWS if going is None or not going.behind() else MOST_ROWS
            async with self._m.store.reader.snapshot() as snapshot:
                part = await purge.part(snapshot, run, rows)
            if part is None:
                return
            yield Removal([], part, mark=root)

    async def _remove(self, removal: Removal, going: Pass | None = None) -> None:
        # Not to be cancelled: until it is known what has become of it, its trees stay barred.
        self._begun |= removal.mark is not None
        units = self._units
        try:
            removed = await asyncio.shield(self._m.store.writer.remove(removal))
        finally:
            # Also where it failed: of a writer that went away in the middle, only the disk knows (`_finish`).
            if removal.mark is not None:
                self._m.memory.give_up(removal.mark)
        if going is not None:
            going.tally.runs += len(removal.keys)
            going.tally.freed_bytes += removed.freed_bytes
        await self._rest(units, removed.took_s, REST, going)

    @property
    def _units(self) -> int:
        return self._m.store.writer.stats.units

    async def _rest(self, units: int, took_s: float, times: int, going: Pass | None = None) -> None:
        """Let others go first, where they have written since there were so many `units` or want to now, if `going` has the time."""
        await asyncio.sleep(0)
        writer = self._m.store.writer
        if units == writer.stats.units and not writer.under_way:
            return
        while times and not (going is not None and going.hurries()):
            await asyncio.sleep(took_s)
            times -= 1

    def _finish_later(self, root: int) -> None:
        self._m.memory.give_up(root)
        self._m.spawn(self._m.again(lambda: self._finish(root)))

    async def _finish(self, root: int) -> None:
        async with self._turn:
            await self._finish_marked()
            self._m.memory.lift([root])

    async def _finish_marked(self) -> None:
        """The rest of a tree that is begun goes before another's portions: there is one mark."""
        marked = await self._m.store.reader.meta("purging") if self._begun else None
        if marked is not None:
            async for removal in self._portions_of(int(marked)):
                await self._remove(removal)
            log.info("the rest of a tree that was being purged is gone")
        self._begun = False

    # -- room --------------------------------------------------------------------------------

    async def give_back(self, tally: Tally, keep: float) -> Room:
        """Return the free pages of the file, but for a share of `keep` of its pages, a few at a time."""
        writer = self._m.store.writer
        room = await writer.give_back(0)
        while room.shrinks and room.free > room.pages * keep:
            before, began, units = room, _time_s(), self._units
            room = await writer.give_back(PAGES)
            if room.pages >= before.pages:
                break
            tally.returned_bytes += (before.pages - room.pages) * room.page_bytes
            await self._rest(units, _time_s() - began, REST)
        return room


class Purging:
    """One purge as a stream. Once begun it is a task of the engine's: whoever asked may leave, and then it ends with the trees it
    is at."""

    answer: calls.Purged

    def __init__(self, purges: Purges, machine: Machine, call: calls.Purge) -> None:
        self._p = purges
        self._m = machine
        self._call = call
        self._tally = Tally()
        self._told: asyncio.Queue[calls.PurgedSoFar | WfctlError | None] = asyncio.Queue(8)
        self._stopped = False

    async def __aiter__(self) -> AsyncIterator[calls.PurgedSoFar]:
        rule = self._rule()
        self._m.check_open()
        self._m.spawn(self._run(rule))
        while (item := await self._told.get()) is not None:
            if isinstance(item, WfctlError):
                raise item
            yield item

    async def aclose(self) -> None:
        self._stopped = True
        while not self._told.empty():
            self._told.get_nowait()

    def _rule(self) -> Rule:
        call = self._call
        if not call.statuses and call.older_than_ms is None and call.closed_until_at is None:
            raise InvalidArgumentError("purge needs a status or an age", hint="wfctl purge --older-than 30d --dry-run")
        for status in call.statuses:
            if not status.closed:
                raise InvalidArgumentError(
                    f"a run that is {status} is not purged; only closed ones are",
                    hint=f"use {', '.join(one for one in Status if one.closed)}",
                    value=str(status),
                )
        if call.limit is not None and call.limit < 1:
            raise InvalidArgumentError(f"limit must be at least 1, not {call.limit}", limit=call.limit)
        if call.older_than_ms is not None and call.older_than_ms < 0:
            raise InvalidArgumentError(f"an age must not be negative, as {call.older_than_ms} ms is")
        now = self._m.clock.now_ms()
        moment = min(now - (call.older_than_ms or 0), now if call.closed_until_at is None else call.closed_until_at)
        chosen = dict.fromkeys(call.statuses or [status for status in Status if status.closed], moment)
        return Rule(chosen, tuple(call.types))

    async def _run(self, rule: Rule) -> None:
        last: WfctlError | None = None
        try:
            await self._work(rule)
        except WfctlError as error:
            last = error
        except asyncio.CancelledError:
            if self._told.full():
                self._told.get_nowait()
            self._told.put_nowait(DaemonDownError("the daemon is stopping; what is purged is gone", hint="wfctl up"))
            raise
        except Exception as error:
            await self._told.put(WfctlError(f"the purge broke off: {type(error).__name__}: {error}", hint="wfctl logs"))
            raise
        await self._told.put(last)

    async def _work(self, rule: Rule) -> None:
        call = self._call
        going = await self._p.find(rule, call.each, lambda: not self._stopped)
        tally = self._tally = going.tally
        more = 0 if call.limit is None else going.only(call.limit)
        while not self._stopped and (page := going.next(LOOK if call.dry_run else None)):
            if call.dry_run:
                trees = await self._p.look_at(rule, page)
                tally.trees += len(trees)
                tally.runs += sum(tree.runs for tree in trees)
            else:
                trees = await self._p.take(going, page, self._progress)
            if not self._stopped:
                await self._told.put(self._so_far(trees if call.each else []))
        room = await self._p.give_back(tally, keep=1 if call.dry_run or self._stopped else 0)
        self.answer = calls.Purged(
            trees=tally.trees, runs=tally.runs, more=more, held=tally.held, freed_bytes=tally.freed_bytes,
            returned_bytes=tally.returned_bytes, database_bytes=room.pages * room.page_bytes, shrinks=room.shrinks,
            dry_run=call.dry_run,
        )  # fmt: skip

    def _progress(self) -> bool:
        if not self._told.full() and not self._stopped:
            self._told.put_nowait(self._so_far([]))
        return not self._stopped

    def _so_far(self, trees: list[Tree]) -> calls.PurgedSoFar:
        tally = self._tally
        return calls.PurgedSoFar(
            done=tally.trees, total=tally.total, runs=tally.runs, trees=[_view(tree) for tree in trees]
        )


def _view(tree: Tree) -> calls.PurgedTree:
    return calls.PurgedTree(
        run_id=tree.run_id, workflow_id=tree.workflow_id, workflow_type=tree.type, status=Status(tree.status),
        started_at=tree.started_at, closed_at=tree.closed_at, runs=tree.runs,
    )  # fmt: skip


def _time_s() -> float:
    return asyncio.get_running_loop().time()
