"""What is read does not depend on how many runs there have been: counted in steps of SQLite, not in time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from ulid import ULID

from support.rows import T0, Ledger, commit
from wfctl.protocol import calls
from wfctl.values.status import Status
from wfd.engine.reads import Reads
from wfd.runtime.clock import ManualClock
from wfd.runtime.ids import IdSource
from wfd.store.rows import Scope
from wfd.store.store import Store, open_store
from wfd.supervisor import Catalog

FEW, MANY = 200, 2_000
OPEN = 20
SECOND, HOUR = 1_000, 3_600_000


async def _filled(path: Path, runs: int, waiting: int = OPEN) -> tuple[Store, Ledger]:
    """Closed runs, one a second, of three types, every tenth failed, every third a child; and so many that wait."""
    store, ledger = await open_store(path), Ledger()
    units = []
    for number in range(runs + waiting):
        ledger.now = T0 + number * SECOND
        parent = number if number % 3 == 2 else None
        unit = ledger.start(f"o-{number}", ("Order", "Payment", "Parcel")[number % 3], parent=parent)
        # As the engine makes them: their times grow with the runs.
        unit.runs_new[0].run_id = str(ULID.from_int(ledger.now << 80 | number))
        units.append(unit)
        if number < runs:
            units.append(ledger.close(number + 1, "failed" if number % 10 == 0 else "completed"))
        else:
            names = (["paid"], ["paid", "late"], None)[number % 3]
            units.append(ledger.wait(number + 1, names, wake_at=ledger.now + 3_600_000))
    await commit(store.writer, *units)
    return store, ledger


def _looks(runs: int) -> dict[str, Callable[[Store, Reads], Awaitable[Any]]]:
    """What clients ask and what recovery reads, where there are so many runs."""
    since = T0 + (runs - 30) * SECOND
    found: dict[str, Callable[[Store, Reads], Awaitable[Any]]] = {
        "show": lambda _, reads: reads.get(calls.Get(id="o-149")),
        "history": lambda _, reads: reads.history(calls.History(id="o-149", logs=True)),
        "tree": lambda _, reads: reads.tree(calls.GetTree(id="o-149")),
        "open trees": lambda _, reads: reads.tree(calls.GetTree()),
        "status": lambda _, reads: reads.counts(),
        "workflows": lambda _, reads: reads.open_needs(Catalog()),
        "outcome": lambda _, reads: reads.outcome(150),
        "tail": lambda _, reads: reads.last_entries(Scope(), 20, logs=True),
        "tail of one": lambda _, reads: reads.last_entries(Scope(keys=(150,)), 20, logs=True),
        "newest": lambda _, reads: reads.newest_rev(),
        "below": lambda _, reads: reads.descendants(149),
        "prefix": lambda _, reads: reads.resolve("o-149"),
        "completion": lambda _, reads: reads.ids(calls.Ids(prefix="o-", limit=30)),
        "completion of a run ID": lambda _, reads: reads.ids(calls.Ids(prefix="0", limit=30)),
        "completion, open": lambda _, reads: reads.ids(calls.Ids(prefix="o-", open=True, limit=10)),
        "due": lambda store, _: store.reader.due(T0, 10),
        "next deadline": lambda store, _: store.reader.next_wake(),
        "interrupted": lambda store, _: store.reader.recoverable(),
        "stuck": lambda store, _: store.reader.stuck_runs(),
        "orphans": lambda store, _: store.reader.orphans(),
        "open IDs": lambda store, _: store.reader.open_workflow_ids(),
        "where it goes on": lambda store, _: store.reader.max_rev(),
    }
    for name, words in {
        "list": {},
        "list failed": {"statuses": [Status.FAILED]},
        "list open": {"statuses": [status for status in Status if status.open]},
        "list type": {"types": ["Order"]},
        "list type and status": {"types": ["Order", "Parcel"], "statuses": [Status.COMPLETED]},
        "list since": {"since_ms": since},
        "list since, of a type": {"since_ms": since, "types": ["Order"], "statuses": [Status.COMPLETED]},
        "list since long": {"since_ms": T0},
        "list since long, open": {"since_ms": T0, "statuses": [status for status in Status if status.open]},
        "list since long, of types": {"since_ms": T0, "types": ["Order", "Parcel"]},
        "list children": {"parent": "o-148"},
    }.items():
        found[name] = lambda _, reads, words=words: reads.list(calls.List(limit=4, **words))  # type: ignore[misc]
    return found


# What takes up all open runs, of which there may be very many, when a daemon begins.
ALL_OPEN = {"open IDs"}


async def _steps(path: Path, runs: int, waiting: int = OPEN) -> dict[str, int]:
    """How many steps SQLite takes for each look."""
    store, _ = await _filled(path, runs, waiting)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    connections = [store.reader._free.get_nowait() for _ in range(store.reader._free.qsize())]
    for db in connections:
        await db.set_progress_handler(count, 1)
        store.reader._free.put_nowait(db)
    reads = Reads(store.reader, ManualClock(T0))
    found = {}
    for name, look in _looks(runs + waiting).items():
        steps = 0
        await look(store, reads)
        found[name] = steps
    await store.stop()
    return found


@pytest.fixture
def few_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wfd.store.browse.MAX_COUNTED", 15)


async def test_what_is_read_does_not_grow_with_the_runs_that_have_closed(few_counted: None, tmp_path: Path) -> None:
    few, many = await _steps(tmp_path / "few.db", FEW), await _steps(tmp_path / "many.db", MANY)
    assert min(few.values()) > 0
    grown = {name: (few[name], many[name]) for name in few if many[name] > 1.2 * few[name] + 20}
    assert grown == {}


async def test_what_is_read_does_not_grow_with_the_runs_that_wait(few_counted: None, tmp_path: Path) -> None:
    few, many = await _steps(tmp_path / "few.db", FEW, 60), await _steps(tmp_path / "many.db", FEW, 1_000)
    grown = {name: (few[name], many[name]) for name in few if many[name] > 1.2 * few[name] + 20}
    assert set(grown) == ALL_OPEN, grown


async def test_runs_since_a_time_are_counted_only_as_far_as_that_is_quick(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = await _filled(tmp_path / "some.db", 60)
    reads = Reads(store.reader, ManualClock(T0))
    since = T0 + 30 * SECOND
    for most, total in ((50, 50), (49, None)):
        monkeypatch.setattr("wfd.store.browse.MAX_COUNTED", most)
        page = await reads.list(calls.List(limit=20, since_ms=since))
        assert (len(page.items), page.total) == (20, total)
        rest = await reads.list(calls.List(limit=40, since_ms=since, after=page.next))
        assert (len(rest.items), rest.total, rest.next) == (30, total, None)
    assert (await reads.list(calls.List(limit=1))).total == 60 + OPEN
    await store.stop()


async def test_runs_since_a_time_are_told_by_their_own_times_while_a_clock_that_was_set_back_is_behind(
    tmp_path: Path,
) -> None:
    store, ledger = await open_store(tmp_path / "back.db"), Ledger()
    clock = ManualClock(T0)
    reads, ids = Reads(store.reader, clock), IdSource(clock)

    async def start(workflow_id: str) -> None:
        ledger.now = clock.now_ms()
        unit = ledger.start(workflow_id)
        unit.runs_new[0].run_id = ids.run_id()
        await commit(store.writer, unit)
        clock.advance(HOUR)

    async def since(at: int) -> list[str]:
        page = await reads.list(calls.List(since_ms=at, limit=2))
        found = page.items
        if page.next is not None:
            found = found + (await reads.list(calls.List(since_ms=at, after=page.next))).items
        typed = await reads.list(calls.List(since_ms=at, types=["Order"]))
        assert typed.items == found
        counted = await reads.count(calls.Count(since_ms=at))
        assert (page.total, typed.total, counted.total) == (len(found),) * 3
        return [run.workflow_id for run in found]

    for number in range(4):
        await start(f"before-{number}")
    assert await since(T0 + HOUR) == ["before-3", "before-2", "before-1"]
    assert await since(T0 + 4 * HOUR) == []
    clock.advance(-4 * HOUR)
    for number in range(3):
        await start(f"behind-{number}")
    assert await since(T0 + 2 * HOUR) == ["behind-2", "before-3", "before-2"]
    clock.advance(2 * HOUR)
    await start("after")
    assert await since(T0 + 5 * HOUR) == ["after"]
    await store.stop()
