"""A decision in the making, and what it becomes. Shared by the cells of `decide`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from wfd.core import records as r
from wfd.core.actions import CLOSE, DISPATCH, Action
from wfd.core.apply import FOLDS
from wfd.core.state import Run


class Decision(msgspec.Struct):
    """The new state, the records that make it (in order), and what to do after they are committed.

    `ignored` says why nothing happened, and is None otherwise. `refused` is set where an event met a closed run.
    """

    run: Run
    records: list[r.Record]
    actions: list[Action]
    ignored: str | None = None
    refused: bool = False


class Ignored(msgspec.Struct, frozen=True):
    """A cell of the table in which nothing happens, and why."""

    reason: str


class Draft:
    """A decision in the making."""

    __slots__ = ("actions", "ignored", "now", "records", "refused", "run")

    def __init__(self, run: Run, now: int) -> None:
        self.run = run
        self.now = now
        self.records: list[r.Record] = []
        self.actions: list[Action] = []
        self.ignored: str | None = None
        self.refused = False

    def record(self, record: r.Record) -> None:
        run = self.run
        self.run = FOLDS[type(record)](run, record, run.seq + 1, self.now)
        self.records.append(record)

    def do(self, action: Action) -> None:
        self.actions.append(action)

    def begin(self, kind: str, handler: str, event: int | None = None) -> None:
        self.record(r.StepStarted(self.run.steps + 1, kind, handler, event))
        self.actions.append(DISPATCH)

    def close(self, record: r.Record) -> None:
        self.record(record)
        self.actions.append(CLOSE)


Cell = Callable[[Draft, Any, Any], None] | Ignored
