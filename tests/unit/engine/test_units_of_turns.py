"""What one turn of the loop decides is one unit, and leaves the tables as if each decision had been committed alone."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.rows import check, contents
from support.walks import Retry, Walk
from wfctl.errors import StorageError
from wfctl.values.failure import Failure
from wfd.core import records as r, state, stimuli as s
from wfd.core.state import Closed, Raw, Run, Stepping, Stuck, Waiting
from wfd.engine.batch import Batch
from wfd.engine.memory import Live
from wfd.engine.unit import unit_of
from wfd.store.database import Database, Setting
from wfd.store.rows import LogRow, ScheduleRow, Unit
from wfd.supervisor import Catalog
from wfd.supervisor.catalog import Generation

CATALOG = Catalog(source_hash="c0de")


class Decided(Walk):
    """A run that decides in batches, with its history."""

    def __init__(self, live: Live, history: list[r.Record], now: int) -> None:
        self.live = live
        self.history = list(enumerate(history, 1))
        self.times = [now] * len(history)
        self.children = 0

    @property
    def run(self) -> Any:
        return self.live.run

    def learn(self, batch: Batch) -> None:
        for change in batch.changes:
            if change.live is self.live and change.decision.before:
                for record in change.decision.records:
                    self.history.append((len(self.history) + 1, record))
                    self.times.append(batch.now)


class Story:
    """Makes batches as an engine could, and of each the unit that it would be alone."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 1_000
        self.walks: list[Decided] = []
        self.alone: list[Unit] = []
        self._rev = 0
        self._counted: dict[int, Any] = {}
        self._versions: dict[str, int] = {}

    def batch(self) -> Batch:
        while True:
            batch = self._batch()
            if batch.changes or batch.lines or batch.schedules:
                for walk in self.walks:
                    walk.learn(batch)
                self._keep(batch)
                return batch

    def _batch(self) -> Batch:
        chance = self.chance
        self.now += chance.choice((0, 0, 1, 10))
        batch = Batch(self.now, CATALOG)
        # Mostly the newest: there a run is decided about several times in a turn.
        walk = chance.choice(self.walks[-3:] if chance.random() < 0.8 else self.walks) if self.walks else None
        what = chance.random()
        if walk is None or what < 0.05:
            self._open(batch, f"w{chance.randrange(2)}")
        elif what < 0.08:
            self._child(batch, walk)
        elif what < 0.13:
            lines = (LogRow(0, walk.run.key, self.now, "info", f"line {n}") for n in range(2))
            batch.lines = [(walk.live, line) for line in lines]
        elif what < 0.18:
            self._schedule(batch, f"s{chance.randrange(2)}")
        else:
            stimulus = self._stimulus(walk)
            if stimulus is not None:
                batch.decide(walk.live, stimulus, cause=chance.random() < 0.5)
        return batch

    def _free(self, workflow_id: str) -> bool:
        return all(walk.run.closed for walk in self.walks if walk.run.workflow_id == workflow_id)

    def _open(self, batch: Batch, workflow_id: str, parent: Live | None = None) -> None:
        if not self._free(workflow_id):
            return
        key = len(self.walks) + 1
        live = batch.open(
            key=key, run_id=f"R{key:05}", workflow_id=workflow_id, workflow_type="W", handler="begin", input=b"{}",
            timeout_ms=self.chance.choice((None, 500)), parent=parent,
            on_completed_step=None if parent is None else "after",
        )  # fmt: skip
        live.source = "01d"
        self.walks.append(Decided(live, batch.changes[-1].decision.records, batch.now))

    def _child(self, batch: Batch, parent: Decided) -> None:
        run = parent.run
        if isinstance(run.phase, Stepping):
            parent.children += 1
            workflow_id = f"{run.run_id}.{parent.children}"
            record = r.ChildStarted(f"child:{workflow_id}", f"R{len(self.walks) + 1:05}", workflow_id, "W", Raw(b"{}"))
            batch.decide(parent.live, s.OperationAsked(run.phase.step, run.phase.attempt, record))
            self._open(batch, workflow_id, parent.live)

    def _stimulus(self, walk: Decided) -> s.Stimulus | None:
        chance, run, phase = self.chance, walk.run, walk.run.phase
        if run.status in ("failed", "timed_out", "stuck") and chance.random() < 0.7:
            walk.now = self.now
            back = chance.choice((None, 0, 1, 2, 3))
            free = not run.closed or self._free(run.workflow_id)
            return Retry(back)(walk) if free else None
        if chance.random() < 0.35:
            return s.EventArrived(chance.choice("ab"), Raw(b'{"p":%d}' % chance.randrange(9)))
        if not isinstance(phase, Stepping):
            ends = (
                (s.CodeChanged(),) if isinstance(phase, Stuck) else (s.CancelAsked("enough"), s.TerminateAsked("now"))
            )
            return s.TimeReached() if chance.random() < 0.9 else chance.choice(ends)
        execution = phase.step, phase.attempt
        names = tuple(name for name in "ab" if chance.random() < 0.7) or None
        put, deleted = {f"k{run.steps % 3}": b"%d" % run.steps}, [f"k{(run.steps + 1) % 3}"]
        directive = chance.choice(("step", "step", "wait", "wait", "wait", "fail", "complete"))
        return chance.choice(
            (
                s.StepReturned(
                    *execution, directive, "a", names if directive == "wait" else None, chance.choice((None, 20)),
                    b"1", Failure("E", "no"), put, deleted,
                ),
                s.StepReturned(*execution, "wait", "a", names, None, b"1", None, put, deleted),
                s.StepRaised(*execution, Failure("E", "m")),
                s.StepUnfit(*execution, "no such handler"),
                s.StepLost(*execution, "gone"),
                s.CancelAsked("enough"),
                s.OperationAsked(*execution, r.RandomRecorded(f"random#{chance.randrange(9)}", Raw(b"0.5"))),
                s.OperationAsked(*execution, r.TimestampRecorded(f"now#{chance.randrange(9)}", Raw(b"5"))),
            )
        )  # fmt: skip

    def _schedule(self, batch: Batch, id: str) -> None:
        before = self._versions.get(id, 0)
        if self.chance.random() < 0.7:
            self._versions[id] = before + 1
            batch.put_schedule(id, ScheduleRow(id, before + 1, "W", False, self.now, "{}"), before)
        elif before:
            del self._versions[id]
            batch.put_schedule(id, None, before)

    def _keep(self, batch: Batch) -> None:
        """The unit of this batch alone, which counts the runs as the one before it has left them."""
        lives = [walk.live for walk in self.walks]
        real = [live.counted for live in lives]
        for live in lives:
            live.counted = self._counted.get(live.run.key)
        unit, self._rev = unit_of([batch], self._rev)
        self.alone.append(unit)
        for live, counted in zip(lives, real, strict=True):
            self._counted[live.run.key], live.counted = live.counted, counted


def _write(path: Path, commits: list[list[Unit]]) -> None:
    database = Database(Setting(str(path), 1_000, "off"))
    database.open()
    for units in commits:
        database.commit(units)
    database.close()


@pytest.mark.parametrize("seed", range(8))
def test_one_unit_for_a_turn_leaves_the_tables_that_a_unit_for_each_decision_leaves(tmp_path: Path, seed: int) -> None:
    story = Story(seed)
    units: list[Unit] = []
    rev = 0
    while len(story.alone) < 400:
        unit, rev = unit_of([story.batch() for _ in range(story.chance.randint(1, 12))], rev)
        units.append(unit)
    alone, grouped, at_once = (tmp_path / f"{name}.db" for name in ("alone", "grouped", "at_once"))
    _write(alone, [[unit] for unit in story.alone])
    _write(grouped, [[unit] for unit in units])
    _write(at_once, [units[first : first + 3] for first in range(0, len(units), 3)])
    assert contents(grouped) == contents(alone)
    assert contents(at_once) == contents(alone)
    check(grouped)
    rows = {row[0]: row for row in _rows(grouped)}
    assert rows == {run.key: _row(run) for run in (walk.run for walk in story.walks)}
    begins, ends = {"step.started", "run.resumed"}, {"step.completed", "step.failed", "step.interrupted"}
    ran_on = {(kind, source) for _, _, _, _, kind, _, source in contents(grouped)["history"] if source is not None}
    assert ran_on == {(kind, "c0de") for kind in begins} | {(kind, "01d") for kind in ends}


def _rows(path: Path) -> list[tuple[Any, ...]]:
    db = sqlite3.connect(path)
    try:
        return db.execute(
            "select key, status, seq, children, open_children, queued, wake_at, deadline, closed_at, reason, waiting_for, "
            "result, error is not null, step, attempt, state from runs"
        ).fetchall()
    finally:
        db.close()


def _row(run: Run) -> tuple[Any, ...]:
    phase = run.phase
    closed_at = names = result = None
    reason, failed = run.cancel if isinstance(phase, Stepping) else None, False
    step, attempt = run.handler, 1
    if isinstance(phase, Closed):
        closed_at, reason, failed = phase.at, phase.reason, phase.error is not None
        result = str(phase.result, "utf-8") if run.status == "completed" else None
    elif isinstance(phase, Waiting):
        names = None if phase.names is None else msgspec.json.encode(phase.names).decode()
    elif isinstance(phase, Stuck):
        reason, attempt = phase.reason, phase.resume.attempt
    elif isinstance(phase, Stepping):
        attempt = phase.attempt
    else:
        step = phase.handler
    return (
        run.key, str(run.status), run.seq, run.children, run.open_children, len(run.inbox), run.wake_at, run.deadline,
        closed_at, reason, names, result, failed, step, attempt, state.dump(run),
    )  # fmt: skip


def _two_runs() -> tuple[Batch, Live, Live]:
    batch = Batch(1_000, CATALOG)
    lives = [
        batch.open(
            key=key, run_id=f"R{key}", workflow_id=f"w{key}", workflow_type="W", handler="begin", input=b"{}",
            timeout_ms=None,
        )
        for key in (1, 2)
    ]  # fmt: skip
    unit_of([batch], 0)
    return batch, *lives


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_what_was_decided_and_never_committed_cannot_be_passed_over_in_silence(lost: int) -> None:
    """Whatever raised between deciding and committing: memory is ahead of the disk then, and has to be thrown away."""
    _, live, other = _two_runs()
    batches = []
    for number in range(3):
        batch = Batch(1_000 + number, CATALOG)
        batch.decide(live, s.EventArrived("a", Raw(b"1")))
        batch.decide(other, s.EventArrived("a", Raw(b"1")))
        batches.append(batch)
    del batches[lost]
    if lost == 0:  # nothing here knows what came before: the writer, which compares versions, does
        unit, _ = unit_of(batches, 2)
        assert [row[1] for row in unit.runs_changed] == [3, 3]
        return
    with pytest.raises(StorageError, match="run 1 is at"):
        unit_of(batches, 2)


def test_a_step_begins_on_the_code_that_serves_its_type() -> None:
    batch = Batch(1_000, msgspec.structs.replace(CATALOG, owners={"Old": Generation(1, {}, "01d")}))
    for key, workflow_type in enumerate(("Old", "New"), 1):
        batch.open(
            key=key, run_id=f"R{key}", workflow_id=f"w{key}", workflow_type=workflow_type, handler="begin", input=b"{}",
            timeout_ms=None,
        )  # fmt: skip
    unit, _ = unit_of([batch], 0)
    assert [(run, source) for _, run, _, _, kind, _, source in unit.history if kind == "step.started"] == [
        (1, "01d"),
        (2, "c0de"),
    ]
