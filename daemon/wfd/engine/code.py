"""What other code means for the runs: who is stuck goes on, followers are told, and what there ever was is remembered."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Protocol

from wfctl.protocol import views
from wfctl.protocol.channel import Problem
from wfd.core import stimuli as s
from wfd.core.state import Stuck
from wfd.engine.batch import Batch
from wfd.engine.former import Former
from wfd.engine.memory import Live, Memory
from wfd.engine.watch import Hub
from wfd.runtime.clock import Clock
from wfd.store.store import Store
from wfd.supervisor import Catalog, Generation, Workers

log = logging.getLogger("wfd.engine")


class Machine(Protocol):
    """What this needs of the engine."""

    store: Store
    workers: Workers
    memory: Memory
    hub: Hub
    clock: Clock

    def batch(self) -> Batch: ...
    async def committed(self, batch: Batch) -> None: ...
    def stimulate(self, live: Live, stimulus: s.Stimulus) -> None: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...
    async def again(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None: ...


class Code:
    """`former` are the handlers there have ever been."""

    def __init__(self, machine: Machine) -> None:
        self._m = machine
        self.former = Former(machine.store)
        self._started = False
        self._catalog = Catalog()
        self._serving: tuple[int, dict[str, Generation]] | None = None

    async def start(self, catalog: Catalog) -> None:
        """Before anything is decided."""
        await self.former.load()
        self._learn(catalog)
        self._catalog = catalog
        self._started = True

    def changed(self, catalog: Catalog) -> None:
        self._m.hub.code_changed(code_view(catalog, self._m.clock.now_ms()))
        serving = catalog.generation, catalog.owners
        if serving == self._serving:
            return  # only what is wrong with the code is new
        self._serving = serving
        log.info("generation %d serves %s", catalog.generation, ", ".join(sorted(catalog.types)) or "nothing")
        if self._started:
            self._learn(catalog)
            before, self._catalog = self._catalog, catalog
            self.resume_soon(may_cure(before, catalog))

    def _learn(self, catalog: Catalog) -> None:
        if self.former.learn(catalog):
            self._m.spawn(self._m.again(self.former.save))

    def resume_soon(self, types: set[str] | None = None) -> None:
        """Go on with the stuck runs of `types`, or of all."""
        if self._started and (types is None or types):
            self._m.spawn(self._m.again(partial(self.resume_stuck, types)))

    async def resume_stuck(self, types: set[str] | None = None) -> None:
        """Go on with every stuck run (of `types`) whose handler the present catalog has."""
        machine = self._m
        await machine.committed(machine.batch())  # what gets stuck just now is found on disk then
        for key, workflow_type in await machine.store.reader.stuck_runs():
            live = await machine.memory.reach(key)
            if live is None or not isinstance(live.run.phase, Stuck):
                continue
            if types is not None and types.isdisjoint((workflow_type, live.run.phase.needs)):
                continue
            step = live.run.phase.resume
            if machine.workers.catalog.step_handler(live.run.workflow_type, step.kind, step.handler) is not None:
                machine.stimulate(live, s.CodeChanged())


def may_cure(before: Catalog, after: Catalog) -> set[str] | None:
    """The types whose stuck runs `after` may cure; None for all.

    A handler that is there again, or takes other parameters, may cure runs of any type, which start it or send to it. Else a run
    is stuck on the code of its own type, or of the one it says that it needs: on any other it would only be stuck once
    more, and its history would grow with every save.
    """
    if _offered(after) - _offered(before):
        return None
    return {name for name in after.types if after.version_of(name) != before.version_of(name)}


def _offered(catalog: Catalog) -> set[tuple[str, str, str, str]]:
    return {
        (name, handler.kind, handler.name, handler.signature())
        for name, spec in catalog.types.items()
        for handler in spec.handlers
    }


def code_view(catalog: Catalog, now: int) -> views.CodeView:
    return views.CodeView(
        at=now,
        generation=catalog.generation,
        source_hash=catalog.source_hash,
        problems=problem_views(catalog.problems),
    )


def problem_view(problem: Problem) -> views.ProblemView:
    return views.ProblemView(
        module=problem.module,
        message=problem.message,
        file=problem.file,
        line=problem.line,
        hint=problem.hint,
        traceback=problem.traceback,
    )


def problem_views(problems: tuple[Problem, ...]) -> list[views.ProblemView]:
    return [problem_view(problem) for problem in problems]
