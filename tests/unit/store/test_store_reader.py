"""What the engine reads back: whole runs, what is to be done, and which run an ID means."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from support.rows import T0, Ledger, commit, run_id
from wfctl.errors import DeniedError, StorageError
from wfd.store.rows import Match, RunRef
from wfd.store.store import Store


async def test_a_run_comes_back_as_it_was_committed(store: Store, ledger: Ledger) -> None:
    await commit(
        store.writer,
        ledger.start("o-1"),
        ledger.change(1, ("step.completed", {}), store={"b": 2, "a": {"é": [1, None]}, "gone": 1}),
        ledger.change(1, ("step.completed", {}), store={"gone": None}),
        ledger.event(1, "paid", {"by": "card"}),
        ledger.event(1, "refused"),
        ledger.wait(1, ["other"], wake_at=5),
    )
    loaded = await store.reader.load_run(1)
    assert loaded is not None
    assert loaded.run == ledger.runs[1]
    assert loaded.store == {"a": '{"\\u00e9":[1,null]}', "b": "2"}
    assert [(event.seq, event.name, event.payload) for event in loaded.inbox] == [
        (5, "paid", '{"by":"card"}'),
        (6, "refused", "null"),
    ]
    assert loaded.parent is None
    assert loaded.root_id == run_id(1)


async def test_a_child_comes_with_its_parent_and_its_root(store: Store, ledger: Ledger) -> None:
    await commit(
        store.writer, ledger.start("o-1"), ledger.start("p-1", "Payment", 1), ledger.start("r-1", "Receipt", 2)
    )
    loaded = await store.reader.load_run(3)
    assert loaded is not None
    assert loaded.parent == RunRef(2, run_id(2), "p-1", "Payment")
    assert loaded.root_id == run_id(1)
    assert (loaded.run.depth, loaded.run.root) == (2, 1)


async def test_a_run_that_does_not_exist_is_none(store: Store) -> None:
    assert await store.reader.load_run(7) is None
    assert await store.reader.find_child(7, "x") is None
    assert await store.reader.history_after(7, 0) == []


async def test_history_after_a_record_is_what_came_after_it(store: Store, ledger: Ledger) -> None:
    await commit(store.writer, ledger.start("o-1"), ledger.start("o-2"), ledger.event(1), ledger.log(1, "x"))
    rows = await store.reader.history_after(1, 1)
    assert [(row.seq, row.kind) for row in rows] == [(2, "step.started"), (3, "event.received")]


async def test_lines_are_found_since_a_record(store: Store, ledger: Ledger) -> None:
    await commit(store.writer, ledger.start("o-1"), ledger.log(1, "a"), ledger.event(1), ledger.log(1, "b"))
    assert [message for _, message in await store.reader.logged_since(1, 2)] == ["a", "b"]
    assert [message for _, message in await store.reader.logged_since(1, 3)] == ["b"]


async def test_a_child_is_found_by_its_parent_and_its_workflow_id(store: Store, ledger: Ledger) -> None:
    await commit(
        store.writer,
        ledger.start("o-1"),
        ledger.start("o-2"),
        ledger.start("p", "Payment", 1),
        ledger.close(3),
        ledger.start("p", "Payment", 2),
        ledger.close(4),
        ledger.start("p", "Payment", 1),
        ledger.start("q", "Payment", 1),
    )
    found = await store.reader.find_child(1, "p")
    other = await store.reader.find_child(2, "p")
    assert (found and found.key, other and other.key) == (5, 4)
    assert await store.reader.find_child(1, "o-1") is None
    assert await store.reader.children_ids(1) == {"p": (5, run_id(5)), "q": (6, run_id(6))}


async def test_recovery_finds_every_open_run(store: Store, ledger: Ledger) -> None:
    await commit(
        store.writer,
        ledger.start("running"),
        ledger.start("cancelling", status="cancelling"),
        ledger.start("waiting"),
        ledger.wait(3),
        ledger.start("stuck", status="stuck", reason="no code"),
        ledger.start("closed"),
        ledger.close(5),
        ledger.start("running too"),
    )
    reader = store.reader
    assert await reader.recoverable() == [1, 2, 6]
    assert await reader.stuck_runs() == [(4, "Order")]
    assert await reader.open_workflow_ids() == {
        "running": 1, "cancelling": 2, "waiting": 3, "stuck": 4, "running too": 6
    }  # fmt: skip
    assert (await reader.max_key(), await reader.max_rev()) == (6, ledger.rev)
    assert await reader.max_run_id() == run_id(6)


async def test_a_new_database_has_nothing_to_recover(store: Store) -> None:
    reader = store.reader
    assert await reader.open_workflow_ids() == {}
    assert (await reader.max_key(), await reader.max_rev(), await reader.max_run_id()) == (0, 0, None)
    assert await reader.next_wake() is None
    assert await reader.due(T0, 10) == []


async def test_open_workflow_ids_are_read_in_chunks_without_loss(
    store: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wfd.store.reader._CHUNK", 7)
    await commit(store.writer, *(ledger.start(f"o-{number}") for number in range(50)))
    assert len(await store.reader.open_workflow_ids()) == 50


async def test_what_is_due_comes_longest_due_first(store: Store, ledger: Ledger) -> None:
    units = []
    for number, wake_at in enumerate((30, 10, 20, 40), 1):
        units += [ledger.start(f"o-{number}"), ledger.wait(number, wake_at=wake_at)]
    await commit(store.writer, *units)
    reader = store.reader
    assert await reader.next_wake() == 10
    due = await reader.due(30, 10)
    assert [key for _, key in due] == [2, 3, 1]
    assert await reader.due(30, 2) == due[:2]
    assert await reader.due(30, 2, due[1]) == due[2:]
    assert await reader.due(9, 10) == []
    await commit(store.writer, ledger.close(2))
    assert await reader.next_wake() == 20


# -- ids -------------------------------------------------------------------------------------------


async def _named(store: Store, *workflow_ids: str) -> Ledger:
    ledger = Ledger()
    await commit(store.writer, *(ledger.start(workflow_id) for workflow_id in workflow_ids))
    return ledger


async def _ids(store: Store, text: str) -> list[str]:
    return [match.workflow_id for match in await store.reader.resolve(text)]


async def test_an_exact_workflow_id_wins_over_what_starts_with_it(store: Store) -> None:
    await _named(store, "order", "order-1", "order-2")
    assert await _ids(store, "order") == ["order"]


async def test_a_workflow_id_means_its_open_run_else_its_newest(store: Store, ledger: Ledger) -> None:
    await commit(
        store.writer, ledger.start("o-1"), ledger.close(1), ledger.start("o-1"), ledger.start("o-2"), ledger.close(3)
    )
    assert await store.reader.resolve("o-1") == [Match(2, run_id(2), "o-1", False)]
    await commit(store.writer, ledger.close(2))
    assert await store.reader.resolve("o-1") == [Match(2, run_id(2), "o-1", True)]
    assert await store.reader.resolve("o-2") == [Match(3, run_id(3), "o-2", True)]


async def test_a_run_id_means_its_run_in_either_case_and_also_when_it_is_not_the_newest(
    store: Store, ledger: Ledger
) -> None:
    await commit(store.writer, ledger.start("o-1"), ledger.close(1), ledger.start("o-1"))
    assert [match.key for match in await store.reader.resolve(run_id(1))] == [1]
    assert [match.key for match in await store.reader.resolve(run_id(1).lower())] == [1]


async def test_a_prefix_needs_four_characters(store: Store) -> None:
    await _named(store, "shipment-1")
    assert await _ids(store, "ship") == ["shipment-1"]
    assert await _ids(store, "shi") == []


async def test_a_prefix_of_several_workflow_ids_gives_candidates_six_at_most(store: Store) -> None:
    await _named(store, *(f"order-{number}" for number in range(10)), "other")
    assert await _ids(store, "order-") == [f"order-{number}" for number in range(6)]
    assert await _ids(store, "order-1") == ["order-1"]


async def test_a_prefix_of_one_workflow_id_with_many_runs_is_clear(store: Store, ledger: Ledger) -> None:
    units = []
    for key in range(1, 30):
        units += [ledger.start("nightly"), ledger.close(key)]
    await commit(store.writer, *units)
    assert [match.key for match in await store.reader.resolve("night")] == [29]


async def test_a_run_that_a_prefix_means_twice_is_one_candidate(store: Store) -> None:
    await _named(store, "01JF0000000-mine")
    assert await _ids(store, "01JF") == ["01JF0000000-mine"]


async def test_a_prefix_of_run_ids_is_read_in_either_case(store: Store) -> None:
    await _named(store, "a", "b")
    assert sorted(await _ids(store, "01jf00")) == ["a", "b"]
    assert await _ids(store, run_id(2)[:-1].lower() + "2") == ["b"]


async def test_case_counts_in_workflow_ids_and_odd_characters_mean_themselves(store: Store) -> None:
    await _named(store, "Order_1", "Order%1", "größe-1", "größe-2", "Order\U0010fffe")
    assert await _ids(store, "order") == []
    assert await _ids(store, "Order_") == ["Order_1"]
    assert await _ids(store, "Order%") == ["Order%1"]
    assert await _ids(store, "größ") == ["größe-1", "größe-2"]
    assert await _ids(store, "%%%%") == []


# -- connections -----------------------------------------------------------------------------------


async def test_a_snapshot_does_not_see_what_commits_while_it_lasts(store: Store, ledger: Ledger) -> None:
    await commit(store.writer, ledger.start("o-1"))
    async with store.reader.snapshot() as snapshot:
        before = await snapshot.all("select count(*) from runs")
        await commit(store.writer, ledger.start("o-2"))
        assert await snapshot.all("select count(*) from runs") == before
    assert await store.reader.max_key() == 2


async def test_a_cancelled_read_leaves_its_connection_fit_for_the_next(store: Store, ledger: Ledger) -> None:
    await commit(store.writer, *(ledger.start(f"o-{number}") for number in range(200)))

    async def read() -> None:
        async with store.reader.snapshot() as snapshot:
            while True:
                await snapshot.all("select count(*) from runs as a, runs as b")

    for turns in range(12):
        task = asyncio.ensure_future(read())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    async with store.reader.snapshot() as one, store.reader.snapshot() as two:
        assert await one.all("select count(*) from runs") == await two.all("select count(*) from runs") == [(200,)]
    await commit(store.writer, ledger.start("last"))
    assert await store.reader.max_key() == 201


async def test_more_readers_than_connections_wait_their_turn(store: Store, ledger: Ledger) -> None:
    await commit(store.writer, *(ledger.start(f"o-{number}") for number in range(20)))
    found = await asyncio.gather(*(store.reader.load_run(key) for key in range(1, 21)))
    assert [loaded and loaded.run.workflow_id for loaded in found] == [f"o-{number}" for number in range(20)]


async def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(DeniedError, match="readonly"):
        await store.reader.all("delete from runs")


async def test_a_query_that_fails_is_a_storage_error(store: Store, path: Path) -> None:
    with pytest.raises(StorageError, match="no such table: absent") as caught:
        async with store.reader.snapshot() as snapshot:
            await snapshot.all("select * from absent")
    assert caught.value.detail["path"] == str(path)
    assert await store.reader.max_key() == 0


async def test_a_reader_that_is_not_open_says_so(path: Path) -> None:
    store = Store(path)
    for _ in range(2):
        with pytest.raises(StorageError, match="is closed"):
            await store.reader.max_key()
        await store.start()
        waiting = [asyncio.ensure_future(store.reader.max_key()) for _ in range(5)]
        await asyncio.sleep(0)
        await store.stop()
        assert await asyncio.gather(*waiting) == [0] * 5


async def test_stopping_closes_every_connection(path: Path) -> None:
    store = Store(path)
    await store.start()
    await store.stop()
    await store.stop()
    gc.collect()
    assert not path.with_name("wfctl.db-wal").exists()
