"""The laws of `decide`, over random walks: every stimulus in every phase, in any order, at any time."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from support.walks import Retry, Walk, moves
from wfd.core import records as r, state, stimuli as s
from wfd.core.apply import rebuilt, refold
from wfd.core.decide import TABLE, Ignored, decide
from wfd.core.invariants import violations

walks = st.lists(moves(), max_size=40)
later = st.sampled_from((0, 0, 30))


def test_every_phase_has_an_answer_to_every_stimulus() -> None:
    assert set(TABLE) == {(phase, stimulus) for phase in state.PHASES for stimulus in s.STIMULI}
    assert all(cell.reason for cell in TABLE.values() if isinstance(cell, Ignored))


@settings(max_examples=300, deadline=None)
@given(walks, later)
def test_no_walk_breaks_an_invariant(steps: list[object], later_ms: int) -> None:
    walk = Walk(later_ms=later_ms)
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
@given(walks, later)
def test_the_history_folds_back_into_the_state(steps: list[object], later_ms: int) -> None:
    walk = Walk(later_ms=later_ms)
    for step in steps:
        walk.go(step)
    assert walk.folded() == walk.run


@settings(max_examples=300, deadline=None)
@given(walks, later)
def test_a_saved_run_comes_back_as_it_was(steps: list[object], later_ms: int) -> None:
    walk = Walk(later_ms=later_ms)
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
def test_closed_is_for_ever_unless_somebody_retries(steps: list[object]) -> None:
    walk = Walk()
    closed = None
    for step in steps:
        before = len(walk.history)
        walk.go(step)
        reopened = any(isinstance(rec, r.RunResumed) for _, rec in walk.history[before:])
        if closed is not None and not reopened:
            assert walk.run.phase == closed
        elif closed is not None:
            assert isinstance(step, tuple)
            assert isinstance(step[1], Retry)
            assert closed.status in ("failed", "timed_out")
        closed = walk.run.phase if isinstance(walk.run.phase, state.Closed) else None
    ends = [rec for _, rec in walk.history if rec.KIND in ENDS]
    again = [rec for _, rec in walk.history if isinstance(rec, r.RunResumed) and rec.was in ("failed", "timed_out")]
    assert len(ends) == len(again) + walk.run.closed


ENDS = {"run.completed", "run.failed", "run.cancelled", "run.terminated", "run.timed_out"}


@settings(max_examples=400, deadline=None)
@given(walks)
def test_each_event_is_handed_over_once_or_still_in_the_inbox(steps: list[object]) -> None:
    walk = Walk()
    for step in steps:
        walk.go(step)
    received, handed = _events(walk)
    assert sorted(handed + [event.seq for event in walk.run.inbox]) == sorted(received)


def _events(walk: Walk) -> tuple[set[int], list[int]]:
    """What came, and what of it was handed over to the steps that led to where the run is."""
    received: set[int] = set()
    handed: list[int] = []
    for seq, rec in walk.history:
        match rec:
            case r.EventReceived(refused=None):
                received.add(seq)
            case r.ChildClosedRecord(refused=None, step=str()):
                received.add(seq)
            case r.StepStarted(event=int() as event):
                handed.append(event)
            case r.RunResumed(requeued=requeued):
                back = {event.seq for event in requeued}
                received |= back
                handed = [event for event in handed if event not in back]
    return received, handed


@settings(max_examples=400, deadline=None)
@given(walks)
def test_events_of_one_name_are_handed_over_in_the_order_they_came(steps: list[object]) -> None:
    walk = Walk()
    for step in steps:
        walk.go(step)
    names = {seq: rec.name for seq, rec in walk.history if isinstance(rec, r.EventReceived)}
    names |= {seq: "child.closed" for seq, rec in walk.history if isinstance(rec, r.ChildClosedRecord)}
    _, handed = _events(walk)
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
    done: set[int] = set()
    for _, rec in walk.history:
        if isinstance(rec, r.StepCompleted):
            assert rec.step not in done
            done.add(rec.step)
        elif isinstance(rec, r.RunResumed) and isinstance(rec.phase, state.Stepping):
            done.discard(rec.phase.step)


@settings(max_examples=300, deadline=None)
@given(walks)
def test_a_step_that_is_begun_again_finds_the_store_it_had(steps: list[object]) -> None:
    walk = Walk()
    for step in steps:
        walk.go(step)
    store: dict[str, bytes] = {}
    found: dict[int, dict[str, bytes]] = {}
    for _, rec in walk.history:
        if isinstance(rec, r.StepStarted):
            found[rec.step] = dict(store)
        elif isinstance(rec, r.StepCompleted | r.RunResumed):
            for key in rec.deleted:
                store.pop(key, None)
            store.update((key, bytes(value)) for key, value in rec.put.items())
            if isinstance(rec, r.RunResumed) and isinstance(rec.phase, state.Stepping):
                assert store == found[rec.from_step or rec.phase.step]
                found[rec.phase.step] = dict(store)


def test_a_stale_execution_changes_nothing() -> None:
    walk = Walk()
    phase = walk.run.phase
    assert isinstance(phase, state.Stepping)
    stale = s.StepReturned(phase.step, phase.attempt + 1, "complete")
    decision = decide(walk.run, stale, walk.now)
    assert decision.records == []
    assert decision.run is walk.run
    assert decision.ignored
