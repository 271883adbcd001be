"""The law of group commit: however units are grouped, the tables end up as if each had been committed alone."""

from __future__ import annotations

import copy
import sqlite3
import tempfile
from pathlib import Path

from hypothesis import given, settings, strategies as st

from support.rows import Ledger, check, contents
from wfd.store.batch import Batch
from wfd.store.database import Database, Setting
from wfd.store.rows import Unit

_MOVES = st.tuples(
    st.sampled_from(
        [
            "start",
            "again",
            "child",
            "change",
            "pass",
            "put",
            "delete",
            "event",
            "take",
            "reopen",
            "log",
            "close",
            "wait",
        ]
    ),
    st.integers(0, 5),
    st.sampled_from(["a", "b", "c"]),
)


class Story:
    """Turns random moves into units that an engine could have made."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.inbox: dict[int, list[int]] = {}

    def unit(self, move: str, number: int, name: str) -> Unit | None:
        ledger = self.ledger
        open_runs = [key for key, row in ledger.runs.items() if row.closed_at is None]
        if move == "start" or not open_runs:
            return self._start(f"o-{len(ledger.runs)}")
        key = open_runs[number % len(open_runs)]
        row = ledger.runs[key]
        match move:
            case "again":
                free = next((r.workflow_id for r in ledger.runs.values() if self._free(r.workflow_id)), None)
                return None if free is None else self._start(free)
            case "reopen":
                gone = [k for k, r in ledger.runs.items() if r.status == "failed" and self._free(r.workflow_id)]
                return ledger.reopen(gone[number % len(gone)]) if gone else None
            case "child":
                return ledger.start(f"c-{len(ledger.runs)}", "Payment", parent=key)
            case "change":
                return ledger.change(key, ("timestamp.recorded", {"key": name}), step=name)
            case "pass":
                return ledger.passes(key, ("task.started", {"key": name}), ("task.completed", {"key": name}))
            case "put":
                return ledger.change(key, ("step.completed", {}), store={name: number, "both": name})
            case "delete":
                return ledger.change(key, ("step.completed", {}), store={name: None})
            case "event":
                unit = ledger.event(key, name, number)
                self.inbox.setdefault(key, []).append(ledger.runs[key].seq)
                return unit
            case "take":
                waiting = self.inbox.get(key)
                return ledger.take(key, waiting.pop(0)) if waiting else None
            case "log":
                return ledger.log(key, name * number)
            case "wait":
                return ledger.wait(key, [name], wake_at=number or None)
            case _:
                return None if row.open_children else ledger.close(key, "failed", error=("Boom", name))

    def _start(self, workflow_id: str) -> Unit:
        return self.ledger.start(workflow_id)

    def _free(self, workflow_id: str) -> bool:
        return all(row.closed_at is not None for row in self.ledger.runs.values() if row.workflow_id == workflow_id)


def _write(path: Path, batches: list[list[Unit]]) -> None:
    database = Database(Setting(str(path), 1_000, "normal"))
    database.open()
    for units in batches:
        database.commit(units)
    database.close()


@settings(max_examples=60, deadline=None)
@given(moves=st.lists(_MOVES, min_size=1, max_size=40), cuts=st.lists(st.integers(1, 8), min_size=1, max_size=40))
def test_any_grouping_gives_the_tables_that_single_commits_give(
    moves: list[tuple[str, int, str]], cuts: list[int]
) -> None:
    story = Story()
    units = [unit for move in moves if (unit := story.unit(*move)) is not None]
    groups: list[list[Unit]] = []
    left = copy.deepcopy(units)
    while left:
        size = cuts[len(groups) % len(cuts)]
        groups.append(left[:size])
        left = left[size:]
    with tempfile.TemporaryDirectory() as folder:
        alone, grouped = Path(folder) / "alone.db", Path(folder) / "grouped.db"
        _write(alone, [[unit] for unit in units])
        _write(grouped, groups)
        assert contents(grouped) == contents(alone)
        check(grouped)
        _matches_ledger(alone, story.ledger)


def _matches_ledger(path: Path, ledger: Ledger) -> None:
    db = sqlite3.connect(path)
    try:
        rows = db.execute("select key, seq, status, step, queued, children from runs order by key").fetchall()
    finally:
        db.close()
    assert rows == [(r.key, r.seq, r.status, r.step, r.queued, r.children) for r in ledger.runs.values()]


def test_a_batch_does_not_change_the_units_it_is_given() -> None:
    ledger = Ledger()
    unit = ledger.start("o-1")
    before = copy.deepcopy(unit)
    batch = Batch()
    batch.add(unit)
    batch.add(ledger.change(1, ("step.completed", {}), store={"k": 1}))
    assert unit == before
