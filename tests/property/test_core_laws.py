"""The laws of `decide`, over random walks: every stimulus in every phase, in any order, at any time."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from support.walks import Walk, moves
from wfd.core import records as r, state, stimuli as s
from wfd.core.apply import rebuilt, refold
from wfd.core.decide import TABLE, Ignored, decide
from wfd.core.invariants import violations

walks = st.lists(moves(), max_size=40)


def test_every_phase_has_an_answer_to_every_stimulus() -> None:
    assert set(TABLE) == {(phase, stimulus) for phase in state.PHASES for stimulus in s.STIMULI}
    assert all(cell.reason for cell in TABLE.values() if isinstance(cell, Ignored))


@settings(max_examples=300, deadline=None)
@given(walks)
def test_no_walk_breaks_an_invariant(steps: list[object]) -> None:
    walk = Walk()
    for step in steps:
        walk.go(step)
        assert violations(walk.run) == []


@settings(max_examples=200, deadline=None)
@given(walks)
def test_the_same_stimulus_in_the_same_state_decides_the_same(steps: list[object]) -> None:
    one, other = Walk(), Walk()
    for step in steps:
        one.go(step)
        other.go(step)
    assert one.run == other.run
    assert one.history == other.history


@settings(max_examples=300, deadline=None)
@given(walks)
def test_the_history_folds_back_into_the_state(steps: list[object]) -> None:
    walk = Walk()
    for step in steps:
        walk.go(step)
    assert walk.folded() == walk.run


@settings(max_examples=300, deadline=None)
@given(walks)
def test_a_saved_run_comes_back_as_it_was(steps: list[object]) -> None:
    walk = Walk()
    for step in steps:
        walk.go(step)
    run = walk.run
    saved = state.parse(state.dump(run))
    back = rebuilt(
        saved, key=run.key, run_id=run.run_id, workflow_id=run.workflow_id, workflow_type=run.workflow_type,
        input=run.input, started_at=run.started_at, parent=run.parent, root=run.root, root_id=run.root_id,
        depth=run.depth, deadline=run.deadline, seq=run.seq, inbox=run.inbox,
    )  # fmt: skip
    phase = run.phase.resume if isinstance(run.phase, state.Stuck) else run.phase
    since = phase.since if isinstance(phase, state.Stepping) else run.seq
    rows = [r.decode(record.KIND, r.encode(record)) for _, record in walk.history[since:]]
    assert refold(back, rows) == run


@settings(max_examples=300, deadline=None)
@given(walks)
def test_closed_is_for_ever(steps: list[object]) -> None:
    walk = Walk()
    closed = None
    for step in steps:
        walk.go(step)
        if closed is not None:
            assert walk.run.phase == closed
        elif walk.run.closed:
            closed = walk.run.phase
    if closed is not None:
        ends = [rec for _, rec in walk.history if rec.KIND in ENDS]
        assert len(ends) == 1


ENDS = {"run.completed", "run.failed", "run.cancelled", "run.terminated", "run.timed_out"}


@settings(max_examples=400, deadline=None)
@given(walks)
def test_each_event_is_handed_over_once_or_still_in_the_inbox(steps: list[object]) -> None:
    walk = Walk()
    for step in steps:
        walk.go(step)
    received = [
        seq
        for seq, rec in walk.history
        if (isinstance(rec, r.EventReceived) and rec.refused is None)
        or (isinstance(rec, r.ChildClosedRecord) and rec.step is not None)
    ]
    handed = [rec.event for _, rec in walk.history if isinstance(rec, r.StepStarted) and rec.event is not None]
    kept = [event.seq for event in walk.run.inbox]
    assert sorted(handed + kept) == received


@settings(max_examples=400, deadline=None)
@given(walks)
def test_events_of_one_name_are_handed_over_in_the_order_they_came(steps: list[object]) -> None:
    walk = Walk()
    for step in steps:
        walk.go(step)
    names = {seq: rec.name for seq, rec in walk.history if isinstance(rec, r.EventReceived)}
    names |= {seq: "child.closed" for seq, rec in walk.history if isinstance(rec, r.ChildClosedRecord)}
    handed = [rec.event for _, rec in walk.history if isinstance(rec, r.StepStarted) and rec.event is not None]
    for name in set(names.values()):
        mine = [seq for seq in handed if names[seq] == name]
        assert mine == sorted(mine)
    for event in walk.run.inbox:
        assert not any(seq > event.seq and names[seq] == event.name for seq in handed)


@settings(max_examples=300, deadline=None)
@given(walks)
def test_no_step_completes_twice(steps: list[object]) -> None:
    walk = Walk()
    for step in steps:
        walk.go(step)
    done = [rec.step for _, rec in walk.history if isinstance(rec, r.StepCompleted)]
    assert len(done) == len(set(done))


def test_a_stale_execution_changes_nothing() -> None:
    walk = Walk()
    phase = walk.run.phase
    assert isinstance(phase, state.Stepping)
    stale = s.StepReturned(phase.step, phase.attempt + 1, "complete")
    decision = decide(walk.run, stale, walk.now)
    assert decision.records == []
    assert decision.run is walk.run
    assert decision.ignored
