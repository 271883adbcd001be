"""The trials under way: the newest, and those that were set apart, as a module in them takes its time to be imported.

What is set apart goes on. The newest trial goes without that module, so that the others need not wait for it: when it is imported
in the end, what was set apart takes over, and when it never is, nothing more than its name is told.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from wfctl.protocol import blame
from wfctl.protocol.channel import Importing, Problem
from wfd.config import Config
from wfd.runtime.clock import Clock
from wfd.supervisor.catalog import Catalog
from wfd.supervisor.takeover import Fate, named
from wfd.supervisor.trial import Trial
from wfd.supervisor.worker import Worker

log = logging.getLogger("wfd.supervisor")

# So many modules are, at a time: each is imported by a process of its own.
MOST_APART = 3
_NOT_NEEDED = "other code is loaded instead"


class Trials:
    """`now` is the newest, `apart` are those before it that go on: the oldest first, each with all modules that come after. `fates`
    are what has become of the types since the oldest began."""

    def __init__(self, clock: Clock) -> None:
        self.now: Trial | None = None
        self.apart: list[Trial] = []
        self.fates: dict[str, Fate] = {}
        self.number = 0
        # Who asked for a reload that has not begun yet.
        self.asking: list[asyncio.Future[Any]] = []
        # What was saved since the code that serves, or is on trial, was read; None where nobody can say.
        self.saved: frozenset[str] | None = frozenset()
        self._clock = clock
        # The modules that were set apart and have not been imported since, and the file that each was in.
        self._slow: dict[str, str] = {}

    @property
    def under_way(self) -> list[Trial]:
        return [*self.apart, self.now] if self.now is not None else self.apart

    @property
    def loading_ms(self) -> int:
        """For how long new code has been importing; 0 when none is."""
        return max(self._clock.now_ms() - self.under_way[0].began_at, 1) if self.under_way else 0

    @property
    def asked(self) -> list[asyncio.Future[Any]]:
        return [future for trial in self.under_way for future in trial.asked]

    def of(self, worker: Worker) -> Trial | None:
        """The trial whose code this worker imports."""
        return next((trial for trial in self.under_way if trial.worker is worker), None)

    def numbered(self, generation: int) -> Trial | None:
        return next((trial for trial in self.under_way if trial.number == generation), None)

    def generation_of(self, worker: Worker) -> int:
        """The generation that the worker has loaded, or will have when that is over."""
        return self.number + 1 if self.of(worker) in self.apart else worker.generation

    def ask(self, saved: frozenset[str] | None) -> asyncio.Future[Any]:
        """Somebody wants what the files say now: because of those that were `saved`, if it is that."""
        self.saved = None if saved is None or self.saved is None else self.saved | saved
        asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.asking.append(asked)
        return asked

    def may_begin(self) -> bool:
        """Whether the next is not to wait for what is under way."""
        if self.now is not None and self.now.outdated(self._clock.now_ms()):
            # What it imports is not what the files say any more, and who knows whether that import ever ends.
            self.asking += self._dropped([self.now])
            self.now, self.saved = None, None
        return self.now is None

    def begin(self, config: Config, problems: tuple[Problem, ...]) -> Trial:
        if self.apart:
            self.asking += self._dropped(self.apart)
            self.apart, self.saved = [], None
        asked, self.asking = self.asking, []
        self.fates = {}
        self.number += 1
        self.now = Trial(self.number, config, self._clock.now_ms(), asked, problems, self.saved)
        self.saved = frozenset()
        return self.now

    # -- apart -------------------------------------------------------------------------------

    def slow(self, trial: Trial) -> dict[str, str]:
        """The modules that the last trials did not wait for."""
        return {name: file for name, file in self._slow.items() if name in trial.config.modules}

    def set_apart(self, trial: Trial, modules: Mapping[str, str]) -> Trial | None:
        """The trial that goes without `modules` and their files, and is the newest from now on; None where that leaves none."""
        without = trial.given_up.union(modules)
        if not modules or len(self.apart) == MOST_APART or without.issuperset(trial.config.modules):
            return None
        self._slow.update(modules)
        problems = tuple(blame.unfinished(Importing(name, file)) for name, file in modules.items())
        for problem in problems:
            log.warning("%s: %s", named(problem), problem.message)
        trial.waits_for = frozenset(modules)
        self.apart.append(trial)
        self.number += 1
        self.now = Trial(self.number, trial.config, self._clock.now_ms(), [], (*trial.problems, *problems), trial.saved)
        self.now.given_up = without
        files = {os.path.normpath(trial.config.project / file) for file in modules.values() if file}
        self.now.lost = trial.lost | files
        return self.now

    def loaded(self, trial: Trial) -> None:
        """The trial is over, as its code has loaded. Those after it went without a part of that, and are dropped."""
        for name in trial.config.modules:
            if name not in trial.given_up:
                self._slow.pop(name, None)
        if trial in self.apart:
            at = self.apart.index(trial)
            trial.asked += self._dropped(self.under_way[at + 1 :])
            self.apart = self.apart[:at]
            self.number += 1
            trial.number = self.number
        self.now = None

    def blame(self, problem: Problem, catalog: Catalog) -> Catalog:
        """`catalog`, and what is newest, with `problem` in the place of that its module takes its time."""
        for trial in self.under_way:
            trial.problems = _settled(trial.problems, problem)
        return msgspec.structs.replace(catalog, problems=_settled(catalog.problems, problem))

    def fail(self, trial: Trial, message: str, hint: str, catalog: Catalog) -> Catalog:
        """As `blame`, of all that `trial` was set apart for: it has ended, and nobody knows where."""
        trial.given_up |= trial.waits_for
        for name in trial.waits_for:
            catalog = self.blame(Problem(name, message, hint=hint), catalog)
        return catalog

    def over(self, trial: Trial) -> None:
        """Nothing comes of one that was set apart; who asked for it hears what comes of the newest."""
        self.apart.remove(trial)
        if self.now is not None:
            self.now.asked += trial.asked
            trial.asked = []

    def _dropped(self, trials: Iterable[Trial]) -> list[asyncio.Future[Any]]:
        asked: list[asyncio.Future[Any]] = []
        for trial in trials:
            asked += trial.asked
            if trial.worker is not None:
                trial.worker.leaving = True
                trial.worker.kill(_NOT_NEEDED)
        return asked

    def became(self, fates: Mapping[str, Fate]) -> dict[str, Fate]:
        """What has become of the types since the oldest trial began, by these last `fates`."""
        lasting = {name: fate for name, fate in self.fates.items() if fate in (Fate.CHANGED, Fate.NEW)}
        same = {name for name, fate in fates.items() if fate is Fate.UNCHANGED}
        self.fates = {**fates, **{name: fate for name, fate in lasting.items() if name in same}}
        return self.fates


def _settled(problems: Iterable[Problem], problem: Problem) -> tuple[Problem, ...]:
    return tuple(problem if blame.is_unfinished(one) and one.module == problem.module else one for one in problems)
