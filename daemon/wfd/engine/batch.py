"""Decisions that commit together.

A batch changes the runs in memory at once, and is committed before anything else is decided for them: memory is ahead of the
disk by exactly what is on its way, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from wfctl.values.runinfo import ScheduleInfo
from wfctl.values.signature import unbound
from wfd.core import stimuli as s
from wfd.core.decide import decide, open_run
from wfd.core.decision import Decision
from wfd.core.state import Closed, Raw, Run
from wfd.core.stimuli import RetryAsked, StepReturned
from wfd.engine.memory import Live
from wfd.engine.outcomes import child_outcome
from wfd.store.rows import LogRow, ScheduleRow
from wfd.supervisor import Catalog

_encode = msgspec.json.Encoder().encode


class Change(msgspec.Struct, gc=False):
    """One decision for one run. `turns`: by it the run has opened or closed; `reopens`: it was closed before."""

    live: Live
    decision: Decision
    turns: bool = False
    reopens: bool = False


class Batch(msgspec.Struct):
    """`now` is the instant of all its decisions, `catalog` the code as of then. `lines` are what handlers logged, `schedules` by ID
    a schedule's row (None: it is removed) and the version it had before."""

    now: int
    catalog: Catalog
    changes: list[Change] = []
    lines: Sequence[tuple[Live, LogRow]] = ()
    # Of whom it has asked something that changed nothing: its answer may rest on what they are.
    unchanged: tuple[Live, ...] = ()
    schedules: dict[str, tuple[ScheduleRow | None, int]] | None = None
    # Who wants to hear of it, once it is on its way (see `Commits.commit`).
    then: Callable[[int], None] | None = None
    settled: Callable[[BaseException | None], None] | None = None

    @property
    def roots(self) -> set[int]:
        """The trees that it concerns, by the keys of their roots."""
        return {change.live.run.root for change in self.changes} | {live.run.root for live, _ in self.lines}

    def open(
        self,
        *,
        key: int,
        run_id: str,
        workflow_id: str,
        workflow_type: str,
        handler: str,
        input: bytes,
        timeout_ms: int | None,
        parent: Live | None = None,
        on_completed_step: str | None = None,
        on_parent_close: str = "abandon",
        begins_at: int | None = None,
        schedule: ScheduleInfo | None = None,
    ) -> Live:
        """A new run, its start handler begun, or to begin at `begins_at`."""
        decision = open_run(
            key, run_id, workflow_id, workflow_type, handler, Raw(input), timeout_ms, None if parent is None else parent.run,
            self.now, on_completed_step, on_parent_close, begins_at, schedule,
        )  # fmt: skip
        live = Live(decision.run, {}, parent)
        live.children = {}
        self.changes.append(Change(live, decision, True))
        return live

    def decide(self, live: Live, stimulus: s.Stimulus, *, cause: bool = False) -> Decision:
        """What `stimulus` does to `live`. A run that it closes is told to its parent in the same unit.

        `cause` puts it before what the batch has decided for other runs, so that revisions tell causes before effects.
        """
        before = live.run
        decision = decide(before, stimulus, self.now)
        if not decision.records:
            self.unchanged += (live,)
            return decision
        live.run = run = decision.run
        change = Change(live, decision)
        if cause and not self._concerns(live):
            self.changes.insert(0, change)
        else:
            self.changes.append(change)
        if type(stimulus) is StepReturned:
            if stimulus.put or stimulus.deleted:
                live.write(stimulus.put, stimulus.deleted)
        elif type(stimulus) is RetryAsked:
            self._retried(change, before, stimulus)
        if type(run.phase) is Closed and type(before.phase) is not Closed:
            change.turns = True
            if (parent := live.parent) is not None:
                self.decide(parent, self._child_closed(run, parent.run))
        return decision

    def put_schedule(self, id: str, row: ScheduleRow | None, before: int) -> None:
        """The row of a schedule that had version `before`."""
        if self.schedules is None:  # as in nearly all batches
            self.schedules = {}
        self.schedules[id] = row, before

    def _concerns(self, live: Live) -> bool:
        for change in self.changes:
            if change.live is live:
                return True
        return live in self.unchanged

    def _retried(self, change: Change, before: Run, asked: RetryAsked) -> None:
        live, point = change.live, asked.point
        if point is not None:
            live.write({name: bytes(value) for name, value in point.put.items()}, point.deleted)
            live.logged.clear()
        if type(before.phase) is Closed and type(live.run.phase) is not Closed:
            change.turns = change.reopens = True
            if live.parent is not None:
                self.decide(live.parent, s.ChildReopened(before.run_id, before.workflow_id))

    def _child_closed(self, run: Run, parent: Run) -> s.ChildClosed:
        step = run.on_completed_step
        if step is None:
            return s.ChildClosed(run.run_id, run.workflow_id, run.status)
        spec = self.catalog.step_handler(parent.workflow_type, "step", step)
        if spec is not None and spec.params:
            outcome = Raw(_encode({spec.params[0].name: child_outcome(run)}))
        else:  # what the parameter is called is known when the code is back, which the parent waits for
            outcome = Raw(unbound(msgspec.Raw(_encode(child_outcome(run))), True))
        return s.ChildClosed(run.run_id, run.workflow_id, run.status, step, outcome)
