"""The length of the write-ahead log, whoever reads from it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from support.reading import another
from support.rows import Ledger, check, commit, contents
from support.waiting import until
from wfctl.errors import StorageError
from wfd.runtime.background import MOST_NICE, NICE
from wfd.runtime.clock import ManualClock
from wfd.store import connect, database, store as store_module, upkeep as upkeep_module
from wfd.store.connect import CHECKPOINT_PAGES
from wfd.store.store import Store, open_store
from wfd.store.upkeep import AGAIN_MS, LONG as LONG_LOG, LOOK_MS, PART_MS, Upkeep

LIMIT = 100_000
# More than what a commit that does not leave the log alone would have copied.
LONG = CHECKPOINT_PAGES * 4096 * 3 // 2


@contextlib.asynccontextmanager
async def upkept(store: Store, clock: ManualClock, *, long: bool = False) -> AsyncIterator[Upkeep]:
    """From a short log on, or from a `long` one: that of a new database is over this limit."""
    if not long:
        assert await store.writer.shorten_log()
    upkeep = Upkeep(store, clock, limit=LIMIT)
    await upkeep.start()
    try:
        yield upkeep
    finally:
        await upkeep.stop()


@pytest.fixture(autouse=True)
def why(caplog: pytest.LogCaptureFixture) -> None:
    """A test that fails shows why a log was not cut."""
    caplog.set_level("INFO", "wfd.store")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def upkeep(store: Store, clock: ManualClock) -> AsyncIterator[Upkeep]:
    async with upkept(store, clock) as upkeep:
        yield upkeep


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Somebody who is not ours."""
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    reader.execute("begin")
    reader.execute("select count(*) from runs").fetchone()
    yield
    reader.close()


async def written(store: Store, ledger: Ledger, size: int, of: int = 500_000) -> None:
    """So many bytes, in commits of `of`."""
    for _ in range(-(-size // of)):
        unit = ledger.start(f"order-{len(ledger.runs)}")
        key = len(ledger.runs)
        await commit(store.writer, unit, ledger.change(key, store={"text": "x" * of}), ledger.close(key))


async def looked(upkeep: Upkeep, clock: ManualClock, after_ms: int) -> None:
    clock.advance(after_ms)
    assert upkeep._task is not None
    await upkeep._task


async def taken_over(store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock) -> None:
    """Until commits leave the log alone, because of somebody who has gone then."""
    with reading(store.path):
        await written(store, ledger, LIMIT * 2, LIMIT)
        await looked(upkeep, clock, LOOK_MS)
    assert store.log_bytes() > LIMIT


async def worked_off(store: Store, upkeep: Upkeep, clock: ManualClock) -> None:
    """Until nobody leaves the log alone any more, and it is gone."""
    for _ in range(100):
        if not store.writer.keeps_log:
            break
        await looked(upkeep, clock, AGAIN_MS)
    assert not store.writer.keeps_log
    assert store.log_bytes() == 0


async def test_the_log_is_cut_once_a_long_reader_has_gone(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock
) -> None:
    with reading(store.path):
        await written(store, ledger, 150_000, 30_000)
        assert not await store.writer.shorten_log()
        await written(store, ledger, 150_000, 30_000)
        long = store.log_bytes()
        assert long > LIMIT
        assert not await upkeep.cut()
        assert store.log_bytes() >= long
    # While one of ours reads, it waits; nothing that is asked meanwhile fails.
    async with store.reader.snapshot() as snapshot:
        clock.advance(LOOK_MS)
        assert await snapshot.one("select count(*) from runs") == (10,)
    assert upkeep._task is not None
    await upkeep._task
    assert store.log_bytes() == 0
    assert len(await store.reader.resolve("order-4")) == 1
    await written(store, ledger, 10, 10)
    assert 0 < store.log_bytes() < LIMIT


async def test_commits_leave_a_log_alone_that_became_long_and_go_on_while_it_is_copied(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await taken_over(store, ledger, upkeep, clock)
    before = store.path.stat()
    await written(store, ledger, LONG)
    assert store.path.stat().st_mtime_ns == before.st_mtime_ns
    copies = []
    copy = upkeep._copy

    async def beside(kind: type[sqlite3.Connection]) -> tuple[int, int]:
        copying = asyncio.ensure_future(copy(kind))
        await written(store, ledger, 10, 10)
        copies.append(await copying)
        return copies[-1]

    monkeypatch.setattr(upkeep, "_copy", beside)
    await worked_off(store, upkeep, clock)
    # Long at first, then what was written meanwhile; the commits waited for the rest alone.
    assert len(copies) == 2
    assert copies[0][1] > CHECKPOINT_PAGES > copies[1][1] % copies[0][1]
    # From here on they copy it themselves again.
    size = store.path.stat().st_size
    await written(store, ledger, LONG)
    assert store.path.stat().st_size > size + LONG // 2
    check(store.path)


async def test_a_commit_that_begins_a_long_log_anew_does_not_cut_it(
    path: Path, ledger: Ledger, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (database, connect):
        monkeypatch.setattr(module, "LOG_BYTES", LIMIT)
    store = await open_store(path)
    async with upkept(store, clock) as upkeep:
        await taken_over(store, ledger, upkeep, clock)
        await written(store, ledger, LONG)
        long = store.log_bytes()
        await upkeep._copy(sqlite3.Connection)
        await written(store, ledger, 10, 10)
        assert store.log_bytes() == long
        await looked(upkeep, clock, AGAIN_MS)
        await written(store, ledger, 10, 10)
        assert store.log_bytes() < LIMIT
    await store.stop()


async def test_a_long_log_is_cut_where_nothing_can_be_written_any_more(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk: what the cut makes room for is what everybody waits for."""
    await taken_over(store, ledger, upkeep, clock)
    with monkeypatch.context() as patch:
        patch.setitem(database.WRITE, "touch", "insert into no_room values (1)")
        await looked(upkeep, clock, AGAIN_MS)
    assert store.log_bytes() == 0
    assert not store.writer.keeps_log


async def test_a_long_log_is_cut_part_by_part_and_commits_go_on_in_between(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = 2 << 20
    monkeypatch.setattr(upkeep_module, "PART_BYTES", part)
    with reading(store.path):
        await written(store, ledger, LONG)
        await looked(upkeep, clock, LOOK_MS)
    sizes = [store.log_bytes()]
    await looked(upkeep, clock, AGAIN_MS)
    while store.writer.keeps_log and len(sizes) < 1_000:
        sizes.append(store.log_bytes())
        await written(store, ledger, LIMIT, LIMIT)
        await looked(upkeep, clock, PART_MS)
    assert len(sizes) == sizes[0] // part + 1
    # But for the commit by which the log is kept at first.
    assert all(part - 10_000 < before - after <= part for before, after in itertools.pairwise(sizes))
    assert store.log_bytes() == 0
    # One that is written after that is cut to what it always was.
    await written(store, ledger, LIMIT, LIMIT)
    assert await upkeep.cut(1)
    assert 0 < store.log_bytes() < LIMIT
    check(store.path)


async def test_commits_copy_a_long_log_again_where_nobody_else_can(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await taken_over(store, ledger, upkeep, clock)
    elsewhere = functools.partial(aiosqlite.connect, store.path.parent / "missing" / "wfctl.db")
    with monkeypatch.context() as patch:
        patch.setattr(upkeep_module.aiosqlite, "connect", lambda *_, **more: elsewhere())
        for _ in range(upkeep_module.MOST_FAILURES - 1):
            await looked(upkeep, clock, AGAIN_MS)
            assert store.log_bytes() > LIMIT
        await looked(upkeep, clock, AGAIN_MS)
    # By the writer, which copies it from here on.
    assert store.log_bytes() == 0
    size = store.path.stat().st_size
    await written(store, ledger, LONG)
    assert store.path.stat().st_size > size + LONG // 2
    await looked(upkeep, clock, AGAIN_MS)
    assert store.log_bytes() == 0


async def test_a_log_that_is_written_as_fast_as_it_is_copied_is_cut_all_the_same(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await taken_over(store, ledger, upkeep, clock)
    monkeypatch.setattr(upkeep_module, "CHECKPOINT_PAGES", 10)
    copies = []
    copy = upkeep._copy

    async def beside(kind: type[sqlite3.Connection]) -> tuple[int, int]:
        copies.append(await copy(kind))
        await written(store, ledger, LIMIT * len(copies), LIMIT)
        return copies[-1]

    monkeypatch.setattr(upkeep, "_copy", beside)
    await looked(upkeep, clock, AGAIN_MS)
    assert len(copies) == upkeep_module.MOST_COPIES
    assert store.log_bytes() == 0


async def test_nobody_copies_a_log_in_vain_again_and_again_while_somebody_reads(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies, cuts = [], []
    copy, cut = upkeep._copy, upkeep.cut

    async def counted(kind: type[sqlite3.Connection]) -> tuple[int, int]:
        copies.append(await copy(kind))
        return copies[-1]

    async def tried(size: int = 0) -> bool:
        cuts.append(size)
        return await cut(size)

    monkeypatch.setattr(upkeep, "_copy", counted)
    monkeypatch.setattr(upkeep, "cut", tried)
    with reading(store.path):
        await written(store, ledger, LONG)
        await looked(upkeep, clock, LOOK_MS)
        assert len(copies) == 1
        await looked(upkeep, clock, AGAIN_MS)
        assert len(copies) == 2
    # The writer is not asked again: were the reader to go just then, it would copy all of it.
    assert cuts == [0]
    assert store.log_bytes() > LONG


async def test_a_log_whose_folder_cannot_be_looked_into_for_a_while_is_cut_once_it_can(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await written(store, ledger, LIMIT * 2, LIMIT)

    def refused(store: Store) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as barred:
        barred.setattr(Store, "log_bytes", refused)
        await looked(upkeep, clock, LOOK_MS)
    await looked(upkeep, clock, AGAIN_MS)
    assert store.log_bytes() <= LIMIT


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell who reads")
async def test_who_keeps_a_long_log_from_being_cut_is_told_once_and_until_it_is_cut(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await written(store, ledger, 10, 10)
    with another(store.path, "rows = db.execute('select * from sqlite_schema'); next(rows)") as pid:
        await written(store, ledger, 20_000, 10_000)
        await looked(upkeep, clock, LOOK_MS)
        assert LIMIT < store.log_bytes() < LONG_LOG * LIMIT
        assert store.log_readers == []
        await written(store, ledger, LONG_LOG * LIMIT)
        for _ in range(2):
            await looked(upkeep, clock, AGAIN_MS)
            assert [who.partition(" ")[2] for who in store.log_readers] == [f"(pid {pid})"]
    await worked_off(store, upkeep, clock)
    assert store.log_readers == []
    (told,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "is not cut as long as it is read by python" in told.getMessage()


@pytest.mark.parametrize("apart", [False, True], ids=["thread", "process"])
async def test_a_connection_that_is_made_anew_leaves_the_log_alone_too(
    path: Path, ledger: Ledger, clock: ManualClock, *, apart: bool
) -> None:
    store = await open_store(path, held=tuple if apart else None)
    async with upkept(store, clock) as upkeep:
        await taken_over(store, ledger, upkeep, clock)
        with pytest.raises(StorageError, match="contradicts"):
            await commit(store.writer, Ledger().start("order-0"))
        await store.writer.reset()
        if apart:
            first = store.writer.pid
            assert first is not None
            os.kill(first, signal.SIGKILL)
            await until(lambda: store.writer.pid not in (first, None))
        before = path.stat()
        await written(store, ledger, LONG)
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        await looked(upkeep, clock, AGAIN_MS)
        assert store.log_bytes() == 0
    await store.stop()
    check(path)


async def test_a_log_that_is_kept_never_ends_in_what_the_database_has_already(
    store: Store, ledger: Ledger, upkeep: Upkeep
) -> None:
    """What the copying beside commits stands on: it takes a commit to keep it, also where nothing else is written."""
    await written(store, ledger, 10, 10)
    log = store.path.with_name("wfctl.db-wal")
    for _ in range(3):
        pages, copied = await upkeep._copy(sqlite3.Connection)
        assert pages == copied
        before = log.read_bytes()
        await store.writer.keep_log(True)
        assert log.read_bytes() != before


def test_a_log_is_not_kept_by_what_is_no_commit(path: Path) -> None:
    apart = database.Database(database.Setting(str(path), 0, "full"))
    apart.open()
    apart._connection().execute("begin")
    with pytest.raises(StorageError, match="is not over yet"):
        apart.keep_log(True)
    apart.close()


@pytest.mark.parametrize("turns", range(0, 40, 4))
async def test_a_copy_that_is_given_up_at_a_stop_leaves_everything_as_it_was(
    path: Path, ledger: Ledger, clock: ManualClock, turns: int
) -> None:
    store = await open_store(path)
    async with upkept(store, clock) as upkeep:
        await taken_over(store, ledger, upkeep, clock)
        await written(store, ledger, LONG // 4)
        clock.advance(AGAIN_MS)
        for _ in range(turns):
            await asyncio.sleep(0)
    await written(store, ledger, 10, 10)
    runs = len(ledger.runs)
    await store.stop()
    check(path)
    assert len(contents(path)["runs"]) == runs


async def test_a_log_that_a_killed_daemon_has_left_long_is_not_copied_by_the_first_commit(
    store: Store, ledger: Ledger, clock: ManualClock
) -> None:
    left = store.path.with_name("left.db")
    with reading(store.path):
        await written(store, ledger, LONG)
        for end in ("", "-wal"):
            # By another process: to close a file here would give up the locks on it.
            await asyncio.to_thread(subprocess.run, ["cp", f"{store.path}{end}", f"{left}{end}"], check=True)
    after = await open_store(left)
    try:
        async with upkept(after, clock, long=True) as upkeep:
            size = left.stat().st_size
            await written(after, ledger, 10, 10)
            assert left.stat().st_size == size
            await worked_off(after, upkeep, clock)
    finally:
        await after.stop()
    check(left)
    assert len(contents(left)["runs"]) == len(ledger.runs)


async def test_what_a_copy_writes_goes_to_the_disk_meanwhile_and_others_have_the_processor_first(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "WRITE_BACK_MS", 0)
    ours, written_back, nice = os.getpriority(os.PRIO_PROCESS, 0), [], []
    times = threading.Semaphore(0)

    def begin_writing(file: int) -> None:
        written_back.append(os.fstat(file))
        times.release()

    class Slow(upkeep_module._Background):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            nice.append(os.getpriority(os.PRIO_PROCESS, 0))
            assert all(times.acquire(timeout=30) for _ in range(3))
            return super().execute(*arguments)

    monkeypatch.setattr(store_module, "begin_writing", begin_writing)
    monkeypatch.setattr(upkeep_module, "_Background", Slow)
    await taken_over(store, ledger, upkeep, clock)
    await worked_off(store, upkeep, clock)
    assert os.path.samestat(written_back[0], store.path.stat())
    assert nice
    if sys.platform == "linux":
        assert set(nice) == {min(ours + NICE, MOST_NICE)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == ours
    check(store.path)


async def test_a_log_is_copied_also_where_its_copy_is_not_written_meanwhile(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refused() -> None:
        tried.append(RuntimeError("can't start new thread"))
        raise tried[-1]

    monkeypatch.setattr(store, "write_back", refused)
    await taken_over(store, ledger, upkeep, clock)
    await worked_off(store, upkeep, clock)
    assert tried


@pytest.mark.parametrize("copied", [False, True])
async def test_nothing_is_written_any_more_once_upkeep_has_stopped(
    store: Store, ledger: Ledger, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    begun, executed, go_on, ended = asyncio.Event(), asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def write_back() -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(30)
        ended.append(True)

    class Slow(upkeep_module._Background):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            assert copied or go_on.wait(30)
            cursor = super().execute(*arguments)
            loop.call_soon_threadsafe(executed.set)
            return cursor

    async with upkept(store, clock) as upkeep:
        await taken_over(store, ledger, upkeep, clock)
        monkeypatch.setattr(store, "write_back", write_back)
        monkeypatch.setattr(upkeep_module, "_Background", Slow)
        clock.advance(AGAIN_MS)
        await begun.wait()
        if copied:
            await executed.wait()
        stopping = asyncio.ensure_future(upkeep.stop())
        await until(lambda: upkeep._task is not None and upkeep._task.cancelling() > 0)
        assert not stopping.done()
        go_on.set()
        await stopping
        assert ended == [True]


async def test_before_each_copy_the_log_is_made_to_end_in_what_is_nowhere_else(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or SQLite before 3.51.3 may lose the database (see `Upkeep._copied`)."""
    done: list[str] = []
    keep, copy = store.writer.keep_log, upkeep._copy

    async def kept(keeps: bool) -> None:
        await keep(keeps)
        done.append(f"keep {keeps}")

    async def copies(kind: type[sqlite3.Connection]) -> tuple[int, int]:
        if len(done) < 4:
            await written(store, ledger, LONG)
        done.append("copy")
        return await copy(kind)

    monkeypatch.setattr(store.writer, "keep_log", kept)
    monkeypatch.setattr(upkeep, "_copy", copies)
    await taken_over(store, ledger, upkeep, clock)
    await worked_off(store, upkeep, clock)
    assert done.count("copy") > 2
    assert done[-1] == "keep False"
    assert all(before == "keep True" for before, after in itertools.pairwise(done) if after == "copy")


async def test_a_start_on_a_disk_that_takes_nothing_leaves_a_long_log_to_the_next_look(
    store: Store, ledger: Ledger, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with reading(store.path):
        await written(store, ledger, LIMIT * 2, LIMIT)
    with monkeypatch.context() as patch:
        patch.setitem(database.WRITE, "touch", "insert into no_room values (1)")
        async with upkept(store, clock, long=True) as upkeep:
            await looked(upkeep, clock, LOOK_MS)
    assert store.log_bytes() == 0
    assert not store.writer.keeps_log


async def test_no_lock_on_the_database_is_given_up_by_what_the_store_has_open_besides(
    store: Store, ledger: Ledger
) -> None:
    await written(store, ledger, 10, 10)
    store.write_back()
    # Only who has the database alone may do that.
    alone = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('pragma journal_mode = delete')"
    other = [sys.executable, "-c", alone, str(store.path)]
    ended = await asyncio.to_thread(subprocess.run, other, capture_output=True, text=True)
    assert "database is locked" in ended.stderr


@pytest.mark.parametrize("seed", range(6))
async def test_whoever_reads_and_writes_meanwhile_the_database_is_whole(
    path: Path, ledger: Ledger, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(database, "CHECKPOINT_PAGES", 20)
    monkeypatch.setattr(upkeep_module, "CHECKPOINT_PAGES", 20)
    chance = random.Random(seed)
    store = await open_store(path)
    async with upkept(store, clock):
        with contextlib.ExitStack() as theirs:
            for _ in range(150):
                await written(store, ledger, 1, chance.choice([10, 3_000, 30_000]))
                what = chance.randrange(6)
                if what == 0:
                    theirs.enter_context(reading(path))
                elif what == 1:
                    theirs.close()
                elif what == 2:
                    await store.reader.resolve("order-0")
                elif what < 5:
                    # Not waited for: what it does is done beside what is written next.
                    clock.advance(AGAIN_MS)
    await store.stop()
    check(path)
    assert [row[2] for row in contents(path)["runs"]] == [f"order-{number}" for number in range(150)]


async def test_where_a_read_takes_long_that_is_the_reason_that_is_told(
    store: Store, ledger: Ledger, upkeep: Upkeep, clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("wfd.store.reader.STILL_S", 0.01)
    await written(store, ledger, LIMIT * 2, LIMIT)
    async with store.reader.snapshot():
        await looked(upkeep, clock, LOOK_MS)
    assert [record.getMessage() for record in caplog.records if "not cut yet" in record.getMessage()] == [
        "the log of the database is not cut yet: a read of the daemon's own takes longer than 0.01 s"
    ]
