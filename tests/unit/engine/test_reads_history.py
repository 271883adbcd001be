"""History and log lines: in pages of one run, and as they commit."""

from __future__ import annotations

import pytest

from support.rows import Ledger, commit
from wfctl.errors import InvalidArgumentError
from wfctl.protocol import calls
from wfctl.protocol.views import HistoryEntry
from wfd.engine.reads import Reads
from wfd.store import browse
from wfd.store.rows import Scope
from wfd.store.store import Store


async def _told(store: Store, ledger: Ledger) -> None:
    """Two runs in turns; of the first: two records, a line, a record, two lines, a record, a line."""
    await commit(
        store.writer,
        ledger.start("o-1"),
        ledger.start("o-2"),
        ledger.log(1, "one"),
        ledger.event(1, "a"),
        ledger.log(2, "other"),
        ledger.log(1, "two"),
        ledger.log(1, "three"),
        ledger.event(1, "b"),
        ledger.log(1, "four", "ERROR"),
        ledger.event(2, "c"),
    )


def _shown(entries: list[HistoryEntry]) -> list[str]:
    return [entry.data["message"] if entry.kind == "log" else f"{entry.workflow_id}#{entry.seq}" for entry in entries]


OF_FIRST = ["o-1#1", "o-1#2", "one", "o-1#3", "two", "three", "o-1#4", "four"]


async def test_a_history_is_the_records_of_one_run_oldest_first(store: Store, ledger: Ledger, reads: Reads) -> None:
    await _told(store, ledger)
    page = await reads.history(calls.History(id="o-1"))
    assert _shown(page.items) == ["o-1#1", "o-1#2", "o-1#3", "o-1#4"]
    assert page.items[0].data == {"workflow_type": "Order", "workflow_id": "o-1", "input": {}}
    assert page.run.workflow_id == "o-1"
    assert page.next is None


async def test_log_lines_stand_in_their_place(store: Store, ledger: Ledger, reads: Reads) -> None:
    await _told(store, ledger)
    page = await reads.history(calls.History(id="o-1", logs=True))
    assert _shown(page.items) == OF_FIRST
    line = page.items[-1]
    assert (line.seq, line.data) == (0, {"level": "ERROR", "message": "four", "step": "begin"})


@pytest.mark.parametrize("logs", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_pages_together_are_the_whole_history(
    store: Store, ledger: Ledger, reads: Reads, limit: int, logs: bool
) -> None:
    await _told(store, ledger)
    found: list[HistoryEntry] = []
    after: int | None = 0
    while after is not None:
        page = await reads.history(calls.History(id="o-1", after_seq=after, limit=limit, logs=logs))
        found += page.items
        after = page.next
    assert _shown(found) == (OF_FIRST if logs else [entry for entry in OF_FIRST if "#" in entry])


@pytest.mark.parametrize("logs", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
async def test_pages_from_the_newest_back_together_are_the_whole_history(
    store: Store, ledger: Ledger, reads: Reads, limit: int, logs: bool
) -> None:
    await _told(store, ledger)
    found: list[HistoryEntry] = []
    before: int | None = None
    while True:
        page = await reads.history(calls.History(id="o-1", before_seq=before, limit=limit, logs=logs, newest=True))
        assert (page.total, sum(entry.seq > 0 for entry in page.items) <= limit) == (4, True)
        found = [*page.items, *found]
        before = page.next
        if before is None:
            break
    assert _shown(found) == (OF_FIRST if logs else [entry for entry in OF_FIRST if "#" in entry])


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("logs", [True, False])
async def test_a_page_of_large_records_ends_before_its_number_is_reached(
    store: Store, ledger: Ledger, reads: Reads, monkeypatch: pytest.MonkeyPatch, newest: bool, logs: bool
) -> None:
    monkeypatch.setattr(browse, "PAGE_BYTES", 3_000)
    units = [ledger.start("o-1"), ledger.start("o-2")]
    for size in (700, 700, 5_000, 10, 10):
        units += [ledger.passes(1, ("event.received", {"text": "x" * size})), ledger.log(1, "x" * 300)]
        units += [ledger.event(2), ledger.log(2, "x" * 9_000)]
    await commit(store.writer, *units)
    pages: list[list[HistoryEntry]] = []
    at: int | None = 0
    while at is not None:
        after, before = (0, at or None) if newest else (at, None)
        asked = calls.History(id="o-1", after_seq=after, before_seq=before, limit=6, logs=logs, newest=newest)
        page = await reads.history(asked)
        pages.append(page.items)
        at = page.next
    records = [[entry.seq for entry in page if entry.seq] for page in pages]
    found = [entry for page in (reversed(pages) if newest else pages) for entry in page]
    assert [entry.seq for entry in found if entry.seq] == [1, 2, 3, 4, 5, 6, 7]
    assert sum(entry.kind == "log" for entry in found) == (5 if logs else 0)
    expected = {
        (False, False): [[1, 2, 3, 4], [5], [6, 7]],
        (False, True): [[1, 2, 3], [4], [5], [6, 7]],
        (True, False): [[6, 7], [5], [1, 2, 3, 4]],
        (True, True): [[6, 7], [5], [3, 4], [1, 2]],
    }
    assert records == expected[newest, logs]


async def test_a_part_of_a_history_has_the_log_lines_of_its_records(store: Store, ledger: Ledger, reads: Reads) -> None:
    await _told(store, ledger)
    for newest in (False, True):
        part = calls.History(id="o-1", after_seq=1, before_seq=4, logs=True, newest=newest)
        page = await reads.history(part)
        assert (_shown(page.items), page.next) == (["o-1#2", "one", "o-1#3", "two", "three"], None)
    beyond = await reads.history(calls.History(id="o-1", after_seq=1 << 63, before_seq=1 << 64))
    assert (beyond.items, beyond.total) == ([], 4)


async def test_a_page_without_room_is_refused(reads: Reads) -> None:
    with pytest.raises(InvalidArgumentError, match="at least 1"):
        await reads.history(calls.History(id="x", limit=0))


@pytest.mark.parametrize("near", [5_000, 3, 0])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("keys", [None, {1}, {1, 2}, {2}, set()])
async def test_followers_get_each_entry_once_and_in_order(
    store: Store,
    ledger: Ledger,
    reads: Reads,
    monkeypatch: pytest.MonkeyPatch,
    keys: set[int] | None,
    limit: int,
    near: int,
) -> None:
    monkeypatch.setattr(browse, "_NEAR", near)
    await _told(store, ledger)
    found: list[HistoryEntry] = []
    rev = 0
    while entries := await reads.entries_since(
        Scope(keys=None if keys is None else tuple(keys)), rev, limit, logs=True
    ):
        assert len(entries) <= limit
        found += entries
        rev = entries[-1].rev
    assert [entry.rev for entry in found] == sorted({entry.rev for entry in found})
    wanted = range(1, ledger.rev + 1)
    if keys is None or keys == {1, 2}:
        assert [entry.rev for entry in found] == list(wanted)
    elif keys == {1}:
        assert _shown(found) == OF_FIRST
    elif keys == {2}:
        assert _shown(found) == ["o-2#1", "o-2#2", "other", "o-2#3"]
    else:
        assert found == []


async def test_followers_may_do_without_log_lines(store: Store, ledger: Ledger, reads: Reads) -> None:
    await _told(store, ledger)
    entries = await reads.entries_since(Scope(keys=(1,)), 2, 100, logs=False)
    assert _shown(entries) == ["o-1#3", "o-1#4"]


@pytest.mark.parametrize("count", [0, 1, 3, 8, 100])
async def test_the_newest_entries_come_oldest_first(store: Store, ledger: Ledger, reads: Reads, count: int) -> None:
    await _told(store, ledger)
    assert _shown(await reads.last_entries(Scope(keys=(1,)), count, logs=True)) == (OF_FIRST[-count:] if count else [])
    everything = await reads.last_entries(Scope(), count, logs=True)
    assert [entry.rev for entry in everything] == list(range(max(ledger.rev - count, 0) + 1, ledger.rev + 1))
    records = [entry for entry in OF_FIRST if "#" in entry]
    assert _shown(await reads.last_entries(Scope(keys=(1,)), count, logs=False)) == (records[-count:] if count else [])


async def test_the_newest_revision_is_that_of_a_record_or_a_line(store: Store, ledger: Ledger, reads: Reads) -> None:
    assert await reads.newest_rev() == 0
    await commit(store.writer, ledger.start("o-1"))
    assert await reads.newest_rev() == 2
    await commit(store.writer, ledger.log(1, "x"))
    assert await reads.newest_rev() == 3
