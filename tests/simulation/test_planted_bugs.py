"""Bugs put in on purpose: the simulator that watches over the engine finds each of them within a few seeds."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from support.sim.world import World
from wfctl.errors import WfctlError
from wfctl.protocol import calls
from wfd.core import decide as core, records as r, state, stimuli as s
from wfd.core.course import Course
from wfd.core.decision import Ignored
from wfd.core.state import Raw
from wfd.engine.batch import Batch
from wfd.engine.children import Children
from wfd.engine.commits import Commits
from wfd.engine.engine import Engine
from wfd.engine.executions import Executions
from wfd.engine.operations import Asked, Operations
from wfd.engine.retries import Retries
from wfd.engine.schedules import Schedules
from wfd.engine.sending import Sending
from wfd.engine.timers import Timers

SEEDS = 1_500

Patch = pytest.MonkeyPatch


def _acts_before_the_commit(patch: Patch) -> None:
    commit = Commits.commit

    def early(self: Commits, batch: Batch, *then: Any, **settled: Any) -> None:
        commit(self, batch, *then, **settled)
        for change in batch.changes:
            self._m.act(change, batch.now)

    patch.setattr(Commits, "commit", early)


def _acknowledges_before_the_commit(patch: Patch) -> None:
    async def early(self: Commits, batch: Batch) -> None:
        self.commit(batch)

    patch.setattr(Commits, "committed", early)


def _answers_operations_before_the_commit(patch: Patch) -> None:
    commit = Commits.commit

    def early(self: Commits, batch: Batch, then: Callable[[int], None] | None = None, settled: Any = None) -> None:
        commit(self, batch, None, settled)
        if then is not None:
            then(batch.now)

    patch.setattr(Commits, "commit", early)


def _keeps_the_token_of_a_lost_worker(patch: Patch) -> None:
    lost = Executions.lost

    def forgetful(self: Executions, tokens: list[int], reason: str, crash: bool) -> None:
        kept = {token: self._tokens[token] for token in tokens if token in self._tokens}
        lost(self, tokens, reason, crash)
        self._tokens.update(kept)

    patch.setattr(Executions, "lost", forgetful)


def _accepts_a_stale_attempt(patch: Patch) -> None:
    """With its token, which alone would keep it out."""
    _keeps_the_token_of_a_lost_worker(patch)
    patch.setattr(core, "_stale", lambda draft, phase, stimulus: stimulus.step != phase.step)


def _hands_over_the_newest_event_first(patch: Patch) -> None:
    def lifo(draft: core.Decision) -> None:
        phase = draft.run.phase
        assert isinstance(phase, core.Waiting)
        for event in reversed(draft.run.inbox):
            if phase.takes(event):
                draft.begin("event" if event.step is None else "step", event.step or event.name, event.seq)
                return

    patch.setattr(core, "_hand_over", lifo)


def _tells_the_end_of_a_child_twice(patch: Patch) -> None:
    told = core._child_closed

    def twice(draft: core.Decision, phase: Any, child: s.ChildClosed) -> None:
        told(draft, phase, child)
        if draft.run.open_children:
            told(draft, phase, child)

    for phase in (core.Stepping, core.Sleeping, core.Stuck):
        patch.setitem(core.CELLS[phase], s.ChildClosed, twice)


def _sends_to_the_parent_in_two_commits(patch: Patch) -> None:
    def torn(self: Operations, asked: Asked, payload: Raw, now: int | None = None) -> None:
        parent = asked.live.parent
        assert parent is not None
        batch = self._m.batch(now)
        arrived = batch.decide(parent, s.EventArrived(asked.op.name, payload, asked.live.run.workflow_id, report=True))
        self._m.commit(batch)
        self._m._commits.submit()  # type: ignore[attr-defined]
        outcome = "parent_closed" if arrived.refused else "queued"
        self.record(asked, self._m.batch(now), r.ParentEventSent(asked.op.key, asked.op.name, outcome))

    patch.setattr(Operations, "_parent_event", torn)


def _ends_a_child_and_does_not_record_it(patch: Patch) -> None:
    end = Children.end
    patch.setattr(
        Children, "end", lambda self, asked, args: end(self, asked, msgspec.structs.replace(args, recorded=False))
    )


def _forgets_deadlines_after_a_restart(patch: Patch) -> None:
    patch.setattr(Timers, "arm_soon", lambda self: setattr(self, "_armed", True))


def _forgets_open_steps_after_a_restart(patch: Patch) -> None:
    recover = Engine._recover

    async def forgetful(self: Engine, interrupted: list[int]) -> None:
        await recover(self, interrupted[1:])

    patch.setattr(Engine, "_recover", forgetful)


def _believes_its_memory_after_a_failed_commit(patch: Patch) -> None:
    patch.setattr(Engine, "fail", lambda self, error: None)


def _leaves_runs_stuck_when_the_code_is_back(patch: Patch) -> None:
    patch.setattr(Engine, "catalog_changed", lambda self, catalog: None)


def _lets_code_that_was_replaced_get_a_run_stuck(patch: Patch) -> None:
    patch.setattr(Executions, "_serves", lambda self, entry: True)


def _hands_out_a_cancellation_before_it_is_committed(patch: Patch) -> None:
    begin = Executions.begin
    patch.setattr(
        Executions, "begin", lambda self, live, cancel, *now: begin(self, live, live.run.cancel is not None, *now)
    )


def _records_a_failure_that_passes_as_a_refusal(patch: Patch) -> None:
    async def once(self: Operations, asked: Asked, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except WfctlError as error:
            self.refuse(asked, error)

    patch.setattr(Operations, "_guarded", once)


def _does_not_tell_the_parent_of_a_child_that_goes_on(patch: Patch) -> None:
    for phase in state.PHASES:
        patch.setitem(core.CELLS[phase], s.ChildReopened, Ignored("planted"))


def _goes_on_with_the_store_of_the_failure(patch: Patch) -> None:
    patch.setattr(Course, "_back_to", lambda self, target: ({}, []))


def _loses_the_events_after_the_step_it_goes_back_to(patch: Patch) -> None:
    patch.setattr(Course, "_requeued", lambda self, events: [])


def _forgets_that_the_id_of_a_run_that_goes_on_is_taken(patch: Patch) -> None:
    commit = Commits.commit

    def forgetful(self: Commits, batch: Batch, *then: Any, **settled: Any) -> None:
        commit(self, batch, *then, **settled)
        for change in batch.changes:
            if change.reopens:
                self._m.open_ids.pop(change.live.run.workflow_id, None)

    patch.setattr(Commits, "commit", forgetful)


def _accepts_an_event_each_time_it_is_sent(patch: Patch) -> None:
    send = Sending.send
    patch.setattr(Sending, "send", lambda self, call: send(self, msgspec.structs.replace(call, event_id=None)))


def _forgets_runs_that_have_not_begun(patch: Patch) -> None:
    patch.setattr(state.Run, "wake_at", property(lambda run: None if run.steps == 0 else WAKE_AT.__get__(run)))


def _forgets_the_times_that_wait_for_a_run_to_close(patch: Patch) -> None:
    patch.setattr(Schedules, "_wait_for", lambda self, schedule: None)


def _stumbles_over_a_retry_that_it_has_carried_out(patch: Patch) -> None:
    retry = Retries.retry

    async def stumbling(self: Retries, call: calls.Retry) -> calls.Retried:
        done = await retry(self, call)
        assert not done.kept, "what it is to be answered cannot be put in words"
        return done

    patch.setattr(Retries, "retry", stumbling)


WAKE_AT = state.Run.wake_at
# What a bug raises that is called, or looks, for what the engine has no more.
STUMBLES = re.compile(r"\b(TypeError|AttributeError|NameError)\b")
BUGS = (
    _stumbles_over_a_retry_that_it_has_carried_out,
    _forgets_the_times_that_wait_for_a_run_to_close,
    _accepts_an_event_each_time_it_is_sent,
    _forgets_runs_that_have_not_begun,
    _does_not_tell_the_parent_of_a_child_that_goes_on,
    _goes_on_with_the_store_of_the_failure,
    _loses_the_events_after_the_step_it_goes_back_to,
    _forgets_that_the_id_of_a_run_that_goes_on_is_taken,
    _acts_before_the_commit,
    _acknowledges_before_the_commit,
    _answers_operations_before_the_commit,
    _keeps_the_token_of_a_lost_worker,
    _accepts_a_stale_attempt,
    _hands_over_the_newest_event_first,
    _tells_the_end_of_a_child_twice,
    _sends_to_the_parent_in_two_commits,
    _ends_a_child_and_does_not_record_it,
    _forgets_deadlines_after_a_restart,
    _forgets_open_steps_after_a_restart,
    _believes_its_memory_after_a_failed_commit,
    _leaves_runs_stuck_when_the_code_is_back,
    _lets_code_that_was_replaced_get_a_run_stuck,
    _hands_out_a_cancellation_before_it_is_committed,
    _records_a_failure_that_passes_as_a_refusal,
)


@pytest.mark.parametrize("plant", BUGS, ids=[plant.__name__.strip("_") for plant in BUGS])
def test_the_simulator_finds_an_engine_that(plant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    plant(monkeypatch)
    found = next(filter(None, (World(seed).run() for seed in range(SEEDS))), None)
    assert found is not None, f"{SEEDS} seeds, and nobody noticed"
    assert not STUMBLES.search(found[0]), f"the bug does not fit the engine any more: {found[0]}"
