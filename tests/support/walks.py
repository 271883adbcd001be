"""Random walks of one run through `decide`: what hypothesis draws, and what it leads to."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from wfctl.errors import ErrorData
from wfctl.values.failure import Failure
from wfd.core import course, records as r, state, stimuli as s
from wfd.core.apply import apply, born, refold
from wfd.core.decide import decide, open_run
from wfd.core.state import Raw

NAMES = ("a", "b", "c")


class Walk:
    """One run, that begins `later_ms` after it was started. A move is (milliseconds that pass, maker of a stimulus from the run,
    seen from a given execution)."""

    def __init__(self, timeout_ms: int | None = 500, later_ms: int = 0) -> None:
        self.now = 1_000
        opened = open_run(
            key=1, run_id="R1", workflow_id="w", workflow_type="W", handler="begin", input=Raw(b'{"x":1}'),
            timeout_ms=timeout_ms, parent=None, now=self.now, begins_at=self.now + later_ms,
        )  # fmt: skip
        self.run = opened.run
        self.times = [self.now] * len(opened.records)
        self.history: list[tuple[int, r.Record]] = list(enumerate(opened.records, 1))

    def go(self, move: Any) -> None:
        passes, make = move
        self.now += passes
        stimulus = make(self) if isinstance(make, Retry) else make(self.run)
        decision = decide(self.run, stimulus, self.now)
        assert (decision.records == []) == (decision.run is self.run)
        for record in decision.records:
            self.history.append((len(self.history) + 1, record))
            self.times.append(self.now)
        self.run = decision.run

    def folded(self) -> state.Run:
        """The state that the history alone gives."""
        first = self.history[0][1]
        assert isinstance(first, r.RunStarted)
        run = born(first, key=1, run_id="R1", parent=None, root=1, root_id="R1", depth=0, at=self.times[0])
        for (_, record), at in zip(self.history[1:], self.times[1:], strict=True):
            run = apply(run, record, at)
            if isinstance(record, r.RunResumed) and isinstance(run.phase, state.Stepping):
                run = refold(run, [earlier for _, earlier in self.history[run.phase.since : run.seq]])
        return run


class Retry:
    """Asks a run that can to go on where it failed, or with `back` at a step of its course."""

    def __init__(self, back: int | None) -> None:
        self.back = back

    def __call__(self, walk: Walk) -> s.Stimulus:
        run = walk.run
        stuck = isinstance(run.phase, state.Stuck)
        if run.status not in ("failed", "timed_out", "stuck") or (stuck and self.back is None):
            return s.RetryAsked()
        past = course.Course(run.seq)
        for (seq, record), at in zip(walk.history, walk.times, strict=True):
            if record.KIND in course.KINDS:
                past.take(seq, at, record)
        if self.back is not None:
            if not past.steps:  # its time was up before it began
                return s.RetryAsked()
            return s.RetryAsked(past.back_to(past.steps[self.back % len(past.steps)]), "again")
        since = past.standing.seq if isinstance(past.standing, course.Execution) else run.seq
        return s.RetryAsked(past.failed(record for _, record in walk.history[since:]), "again")


def _execution(run: state.Run, stale: bool) -> tuple[int, int]:
    phase = run.phase
    step, attempt = (phase.step, phase.attempt) if isinstance(phase, state.Stepping) else (run.steps, 1)
    return (step, attempt + 7) if stale else (step, attempt)


def _returned(directive: str, stale: bool, name: str, names: Any, after: int | None) -> Any:
    def make(run: state.Run) -> s.Stimulus:
        return s.StepReturned(
            *_execution(run, stale), directive, name, names, after, b'"done"',
            Failure("E", "given up"), {f"k{run.steps % 2}": b"%d" % run.steps}, [f"k{(run.steps + 1) % 2}"],
        )  # fmt: skip

    return make


def _operation(stale: bool, key: str, kind: int) -> Any:
    def make(run: state.Run) -> s.Stimulus:
        record: r.Record = [
            r.ChildStarted(key, "R2", "child", "C", Raw(b'{"id":"R2"}')),
            r.ParentEventSent(key, "a", "queued"),
            r.RandomRecorded(key, Raw(b"0.5")),
            r.SleepRecorded(key, 2_000),
            r.TaskStarted(key, "charge", 2, Raw(b"{}")),
            r.TaskAttemptFailed(key, "charge", 2, Failure("E", "m"), 3_000),
            r.TaskCompleted(key, "charge", 2, Raw(b"1")),
            r.TaskFailed(key, "charge", 2, Failure("E", "m")),
            r.OperationRefused(key, "child", "C", ErrorData("conflict", "taken")),
            r.ChildCancelRequested(key, "R2", "child", "late"),
            r.ChildTerminated(key, "R2", "child", closed="completed"),
            r.ChildResultRecorded(key, "R2", "child", "completed", Raw(b'{"result":1}')),
            r.ChildResultRecorded(key, "R2", "child", "failed", Raw(b"{}"), 1),
        ][kind]
        return s.OperationAsked(*_execution(run, stale), record)

    return make


def _task_at_once(stale: bool, key: str, over: list[str]) -> Any:
    """A task whose beginning comes with its end, from a handler that was told before that its operations `over` were."""

    def make(run: state.Run) -> s.Stimulus:
        completed = r.TaskCompleted(key, "charge", 1, Raw(b"1"))
        return s.OperationAsked(
            *_execution(run, stale), completed, r.TaskStarted(key, "charge", 1, Raw(b"{}"), over=over)
        )

    return make


def moves() -> st.SearchStrategy[Any]:
    stale = st.sampled_from([False, False, False, True])
    name = st.sampled_from(NAMES)
    names = st.one_of(st.none(), st.lists(name, min_size=1, max_size=2).map(tuple))
    after = st.one_of(st.none(), st.integers(0, 60))
    makers = st.one_of(
        st.builds(_returned, st.just("step"), stale, name, st.none(), after),
        st.builds(_returned, st.just("wait"), stale, st.sampled_from(["", "late"]), names, after),
        st.builds(_returned, st.sampled_from(["complete", "fail"]), stale, name, st.none(), st.none()),
        st.builds(
            lambda x, c: lambda run: s.StepRaised(*_execution(run, x), Failure("E", "m"), c), stale, st.booleans()
        ),
        st.builds(lambda x: lambda run: s.StepTimedOut(*_execution(run, x), 50), stale),
        st.builds(lambda x, c: lambda run: s.StepLost(*_execution(run, x), "gone", c, 3), stale, st.booleans()),
        st.builds(lambda x: lambda run: s.StepUnfit(*_execution(run, x), "no such handler"), stale),
        st.builds(_operation, stale, st.sampled_from(["k1", "k2"]), st.integers(0, 12)),
        st.builds(_task_at_once, stale, st.sampled_from(["k1", "k3"]), st.sampled_from([[], ["k2"]])),
        st.builds(lambda n, c: lambda run: s.EventArrived(n, Raw(b'{"p":1}'), c), name, st.sampled_from([None, "kid"])),
        st.just(lambda run: s.TimeReached()),
        st.sampled_from(["", "enough"]).map(lambda reason: lambda run: s.CancelAsked(reason)),
        st.just(lambda run: s.CodeChanged()),
        st.builds(Retry, st.one_of(st.none(), st.none(), st.integers(0, 5))),
    )
    rare = st.one_of(makers, makers, makers, st.just(lambda run: s.TerminateAsked("now")), _child_closes())
    return st.tuples(st.sampled_from([0, 0, 1, 10, 40]), rare)


def _child_closes() -> st.SearchStrategy[Any]:
    """Only a child that was started can close, and only one that has can open again; where there is none the clock ticks."""
    return st.one_of(st.sampled_from([None, "after"]).map(_child_closed), st.just(_child_reopened))


def _child_reopened(run: state.Run) -> s.Stimulus:
    return s.ChildReopened("R2", "child") if run.open_children < run.children else s.TimeReached()


def _child_closed(step: str | None) -> Any:
    def make(run: state.Run) -> s.Stimulus:
        if not run.open_children:
            return s.TimeReached()
        return s.ChildClosed("R2", "child", "completed", step, Raw(b'{"outcome":{}}'))

    return make
