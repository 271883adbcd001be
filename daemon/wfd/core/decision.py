"""A decision, as the cells of `decide` make it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from wfd.core import records as r
from wfd.core.actions import CLOSE, DISPATCH, Action
from wfd.core.apply import FOLDS
from wfd.core.state import Run

BEGUN = (DISPATCH,)
_CLOSED = (CLOSE,)


class Ignored(msgspec.Struct, frozen=True):
    """A cell of the table in which nothing happens, and why."""

    reason: str

    def __call__(self, draft: Decision, phase: Any, stimulus: Any) -> None:
        draft.ignored = self.reason


class Decision(msgspec.Struct, gc=False):
    """The new state, the records that make it (in order), and what to do after they are committed; `now` is the instant of it all.
    The cells of `decide` make it, each with what it has decided so far; `before` is the seq of the run before them.

    A record after which the run is as it was, or that leaves nothing which the next does not make as well, may be put into
    `records` as it is, if there is a next, which gives the run its seq.

    `ignored` says why nothing happened, and is None otherwise. `refused` is set where an event met a closed run.
    """

    run: Run
    now: int
    before: int
    records: list[r.Record] = []
    actions: tuple[Action, ...] = ()
    ignored: str | None = None
    refused: bool = False

    def record(self, record: r.Record) -> None:
        records = self.records
        records.append(record)
        self.run = FOLDS[type(record)](self.run, record, self.before + len(records), self.now)

    def do(self, action: Action) -> None:
        self.actions += (action,)

    def begin(self, kind: str, handler: str, event: int | None = None) -> None:
        self.record(r.StepStarted(self.run.steps + 1, kind, handler, event))
        self.actions += BEGUN

    def close(self, record: r.Record) -> None:
        self.record(record)
        self.actions += _CLOSED


Cell = Callable[[Decision, Any, Any], None]
