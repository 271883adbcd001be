"""The writer's side of a purge, and the room that it makes."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from support.rows import T0, Ledger, check, commit, contents
from wfctl.errors import StorageError
from wfd.store.purge import Removal, last_before
from wfd.store.store import Store, open_store


async def _closed(store: Store, ledger: Ledger, count: int, size: int = 10) -> None:
    for number in range(count):
        unit = ledger.start(f"order-{number}")
        key = len(ledger.runs)
        await commit(
            store.writer,
            unit,
            ledger.change(key, store={"text": "x" * size}),
            ledger.log(key, "begun"),
            ledger.close(key),
        )


async def test_what_is_open_is_never_removed(store: Store, ledger: Ledger) -> None:
    await commit(store.writer, ledger.start("a"), ledger.start("b"), ledger.close(1))
    before = contents(store.path)
    with pytest.raises(StorageError, match="is open, or is not there"):
        await store.writer.remove(Removal([1, 2]))
    with pytest.raises(StorageError, match="is open, or is not there"):
        await store.writer.remove(Removal([1, 7]))
    assert contents(store.path) == before
    # The writer goes on as if nothing had been asked.
    await commit(store.writer, ledger.close(2))
    await store.writer.remove(Removal([1, 2]))
    assert contents(store.path)["runs"] == []


async def test_a_purge_counts_the_runs_that_it_takes_away(store: Store, ledger: Ledger) -> None:
    def totals() -> dict[tuple[str, str], int]:
        with contextlib.closing(sqlite3.connect(store.path)) as db:
            return {
                (kind, status): runs
                for kind, status, runs in db.execute("select type, status, runs from totals where runs <> 0")
            }

    await commit(store.writer, *(ledger.start(f"order-{number}") for number in range(4)), ledger.start("bill", "Bill"))
    await commit(store.writer, *(ledger.close(key) for key in (1, 2, 3, 5)))
    assert totals() == {("Order", "completed"): 3, ("Order", "running"): 1, ("Bill", "completed"): 1}
    with pytest.raises(StorageError, match="is open, or is not there"):
        await store.writer.remove(Removal([1, 4]))
    assert totals() == {("Order", "completed"): 3, ("Order", "running"): 1, ("Bill", "completed"): 1}
    await store.writer.remove(Removal([1, 2, 5]))
    assert totals() == {("Order", "completed"): 1, ("Order", "running"): 1}
    # What commits next counts on from there.
    await commit(store.writer, ledger.close(4), ledger.start("later", "Bill"))
    assert totals() == {("Order", "completed"): 2, ("Bill", "running"): 1}


async def test_a_part_of_a_run_leaves_the_run_and_the_mark_of_its_tree(store: Store, ledger: Ledger) -> None:
    await _closed(store, ledger, 1)
    history = contents(store.path)["history"]
    await store.writer.remove(Removal([], (1, 3, 0), mark=1))
    assert contents(store.path)["history"] == history[2:]
    assert await store.reader.meta("purging") == "1"
    await store.writer.remove(Removal([1]))
    assert await store.reader.meta("purging") is None
    assert contents(store.path) == {"runs": [], "history": [], "logs": [], "store": [], "inbox": [], "schedules": []}


async def test_the_last_run_that_was_started_by_a_time_is_found_among_those_that_are_left(
    store: Store, ledger: Ledger
) -> None:
    async def last(at: int) -> int:
        async with store.reader.snapshot() as snapshot:
            return await last_before(snapshot, at)

    assert await last(T0) == 0
    for key in range(1, 12):
        ledger.now = T0 + 10 * key
        await commit(store.writer, ledger.start(f"order-{key}"), ledger.close(key))
    await store.writer.remove(Removal([1, 4, 5, 6, 11]))
    left = [2, 3, 7, 8, 9, 10]
    for moment in range(T0, T0 + 130, 5):
        assert await last(moment) == max((key for key in left if T0 + 10 * key <= moment), default=0)


async def test_freed_pages_are_used_again_and_can_be_returned(store: Store, ledger: Ledger) -> None:
    await _closed(store, ledger, 20, size=20_000)
    removed = await store.writer.remove(Removal([*range(1, 21)]))
    assert removed.freed_bytes >= 20 * 20_000
    full = await store.writer.give_back(0)
    assert (full.shrinks, full.free * full.page_bytes >= removed.freed_bytes) == (True, True)
    await _closed(store, ledger, 10, size=20_000)
    used = await store.writer.give_back(0)
    assert (used.pages, used.free < full.free) == (full.pages, True)
    some = await store.writer.give_back(8)
    assert some.pages == used.pages - 8
    rest = await store.writer.give_back(10_000)
    assert rest.free == 0
    assert await store.writer.shorten_log()
    assert store.path.stat().st_size == rest.pages * rest.page_bytes
    check(store.path)


async def test_a_database_that_was_made_without_it_reuses_its_pages_and_says_so(path: Path, ledger: Ledger) -> None:
    db = sqlite3.connect(path)
    db.execute("pragma application_id = 0x77666374")
    db.execute("create table made_early (a)")
    db.execute("drop table made_early")
    db.commit()
    db.close()
    store = await open_store(path)
    await _closed(store, ledger, 5, size=20_000)
    removed = await store.writer.remove(Removal([1, 2, 3, 4, 5]))
    room = await store.writer.give_back(1_000)
    assert (room.shrinks, removed.freed_bytes > 0, room.free > 0) == (False, True, True)
    await store.stop()
    # What the man page says to do about it.
    db = sqlite3.connect(path)
    db.executescript("pragma auto_vacuum = incremental; vacuum")
    db.close()
    store = await open_store(path)
    assert (await store.writer.give_back(0)).shrinks
    await store.stop()
