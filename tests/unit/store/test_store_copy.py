"""A copy is whole as of one commit, proven before it has its name, and the database never notices."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from support.old_databases import file_of
from support.rows import Ledger, commit, contents
from wfctl.errors import ConflictError, DeniedError, NotFoundError, StorageError, UsageError
from wfd.runtime.lock import StateLock
from wfd.store import copy as copying
from wfd.store.copy import Copy
from wfd.store.inspect import inspect
from wfd.store.store import Store, open_store


async def filled(path: Path, runs: int = 20) -> Store:
    store, ledger = await open_store(path), Ledger()
    for number in range(runs):
        await commit(store.writer, ledger.start(f"o-{number}"))
    return store


def names(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


async def test_a_copy_beside_the_writer_holds_one_commit_and_needs_no_other_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_PAGES", 1)
    store = await filled(path)
    loop = asyncio.get_running_loop()
    told: list[tuple[int, int]] = []

    def meanwhile(copied: int, total: int) -> None:
        told.append((copied, total))
        if len(told) == 3:
            # More is committed in the middle of it: the copy neither has it nor begins anew.
            asyncio.run_coroutine_threadsafe(commit(store.writer, late.start("late")), loop).result()

    late = _after(20)
    target = path.with_name("copy.db")
    copied = await asyncio.to_thread(store.copy(target).run, meanwhile)
    assert (copied.runs, copied.rev, copied.replaced) == (20, 40, False)
    assert await store.reader.max_key() == 21
    assert told[-1][0] == told[-1][1] == copied.bytes == target.stat().st_size
    assert len({total for _, total in told}) == 1
    await store.stop()
    assert names(path) == ["copy.db", "wfctl.db"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    again = await open_store(target)
    assert await again.reader.max_key() == 20
    await again.stop()


def _after(runs: int) -> Ledger:
    """A ledger that goes on where one with so many runs ended."""
    ledger = Ledger()
    for number in range(runs):
        ledger.start(f"o-{number}")
    return ledger


async def test_a_database_that_nobody_has_open_is_copied_without_a_trace_beside_it(path: Path) -> None:
    await (await filled(path)).stop()
    before = path.read_bytes()
    Copy(path, path.with_name("copy.db")).run()
    assert names(path) == ["copy.db", "wfctl.db"]
    assert path.read_bytes() == before


async def test_what_only_the_log_holds_is_copied_as_well(path: Path, tmp_path: Path) -> None:
    store = await filled(path)
    killed = tmp_path / "killed"
    killed.mkdir()
    for ending in ("", "-wal"):
        (killed / f"wfctl.db{ending}").write_bytes(path.with_name(f"wfctl.db{ending}").read_bytes())
    await store.stop()
    copied = Copy(killed / "wfctl.db", tmp_path / "copy.db").run()
    assert copied.runs == 20
    assert (killed / "wfctl.db-wal").stat().st_size > 0


async def test_a_daemon_that_starts_meanwhile_makes_the_copy_begin_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_PAGES", 1)
    await (await filled(path)).stop()
    stores: list[Store] = []
    loop = asyncio.get_running_loop()

    async def start() -> None:
        store = await open_store(path)
        await commit(store.writer, _after(20).start("late"))
        stores.append(store)

    def meanwhile(copied: int, total: int) -> None:
        if not stores:
            asyncio.run_coroutine_threadsafe(start(), loop).result()

    copied = await asyncio.to_thread(Copy(path, path.with_name("copy.db")).run, meanwhile)
    assert copied.runs == 21
    await stores[0].stop()


async def test_a_file_that_is_there_is_replaced_only_by_force(path: Path) -> None:
    await (await filled(path)).stop()
    target = path.with_name("copy.db")
    target.write_text("mine")
    with pytest.raises(ConflictError, match="exists; it is left as it is"):
        Copy(path, target).run()
    assert target.read_text() == "mine"
    assert Copy(path, target, force=True).run().replaced
    assert inspect(target).runs == 20


async def test_a_file_that_comes_meanwhile_is_not_written_over(path: Path) -> None:
    await (await filled(path)).stop()
    target = path.with_name("copy.db")
    with pytest.raises(ConflictError):
        Copy(path, target).run(lambda copied, total: target.write_text("mine") and None)
    assert target.read_text() == "mine"
    assert names(path) == ["copy.db", "wfctl.db"]


async def test_a_file_system_without_links_is_no_hindrance(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await filled(path)).stop()

    def no_links(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    Copy(path, path.with_name("copy.db")).run()
    assert names(path) == ["copy.db", "wfctl.db"]


@pytest.mark.parametrize("pages", [1, 1_000])
async def test_a_copy_that_is_given_up_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch, pages: int) -> None:
    monkeypatch.setattr(copying, "_PAGES", pages)
    await (await filled(path)).stop()
    copy = Copy(path, path.with_name("copy.db"))
    with pytest.raises(StorageError):
        copy.run(lambda copied, total: copy.stop())
    assert names(path) == ["wfctl.db"]


async def test_what_a_killed_copy_left_is_removed_by_the_next_and_what_others_have_is_not(path: Path) -> None:
    await (await filled(path)).stop()
    left, under_way, foreign = (
        path.with_name(name) for name in (".a.db.12345678.part", ".a.db.abcdefgh.part", ".a.db.mine.part")
    )
    somebodys = path.with_name(".a.db.download.part")
    for file in (left, under_way, foreign, somebodys):
        file.write_text("half")
        file.chmod(0o644 if file is somebodys else 0o600)
    begun = path.with_name(".a.db.00000000.part")
    begun.touch()
    with under_way.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        Copy(path, path.with_name("a.db")).run()
    kept = [f".a.db.{name}.part" for name in ("00000000", "abcdefgh", "download", "mine")]
    assert names(path) == [*kept, "a.db", "wfctl.db"]


async def test_a_copy_under_way_is_not_taken_for_one_that_was_killed(path: Path) -> None:
    await (await filled(path)).stop()
    inner: list[bool] = []

    def meanwhile(copied: int, total: int) -> None:
        if not inner:
            inner.append(True)
            Copy(path, path.with_name("a.db"), force=True).run()

    assert Copy(path, path.with_name("a.db"), force=True).run(meanwhile).replaced
    assert names(path) == ["a.db", "wfctl.db"]


async def test_a_damaged_database_gives_no_copy(path: Path) -> None:
    await (await filled(path, 300)).stop()
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        Copy(path, path.with_name("copy.db")).run()
    assert names(path) == ["wfctl.db"]


async def test_the_database_itself_is_no_target(path: Path) -> None:
    store = await filled(path)
    path.with_name("link").symlink_to(path)
    os.link(path, path.with_name("hard"))
    for name in ("wfctl.db", "wfctl.db-wal", "wfctl.db-shm", "lock", "link", "hard"):
        with pytest.raises(UsageError, match="belongs to the database itself"):
            Copy(path, path.with_name(name), force=True).run()
    with pytest.raises(UsageError, match="is a folder"):
        Copy(path, path.parent, force=True).run()
    await store.stop()
    assert inspect(path).runs == 20


async def test_a_database_that_somebody_has_open_is_not_replaced(path: Path, tmp_path: Path) -> None:
    await (await filled(path)).stop()
    target = tmp_path / "theirs.db"
    theirs = await filled(target, 3)
    for force in (True, False):
        with pytest.raises(ConflictError, match=r"theirs\.db-wal is there: it is of a database that is in use"):
            Copy(path, target, force=force).run()
    tmp_path.joinpath("link.db").symlink_to(target)
    with pytest.raises(ConflictError, match="that is in use"):
        Copy(path, tmp_path / "link.db", force=True).run()
    await commit(theirs.writer, _after(3).start("late"))
    assert len(contents(target)["runs"]) == 4
    await theirs.stop()
    assert Copy(path, target, force=True).run().replaced
    assert inspect(target).runs == 20


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
async def test_what_a_killed_database_left_beside_the_target_is_never_read_into_the_copy(
    path: Path, tmp_path: Path, ending: str
) -> None:
    await (await filled(path)).stop()
    target, left = tmp_path / "copy.db", tmp_path / f"copy.db{ending}"
    left.write_bytes(b"of another")
    for force in (True, False):
        with pytest.raises(ConflictError, match=f"{left} is there"):
            Copy(path, target, force=force).run()
    left.unlink()
    with pytest.raises(ConflictError, match=f"{left} is there"):
        Copy(path, target).run(lambda copied, total: left.touch())
    assert [file.name for file in tmp_path.glob("copy.db*")] == [left.name]
    left.unlink()
    assert Copy(path, target).run().runs == 20


async def test_the_database_of_another_daemon_is_not_replaced_while_that_runs(path: Path, tmp_path: Path) -> None:
    await (await filled(path)).stop()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    lock = StateLock(theirs / "lock")
    lock.acquire(theirs / "socket")
    with pytest.raises(ConflictError, match=r"wfctl\.db is the database of a daemon that runs"):
        Copy(path, theirs / "wfctl.db", force=True).run()
    assert Copy(path, theirs / "other.db").run().runs == 20
    lock.release()
    with pytest.raises(ConflictError, match="a daemon that runs"):
        Copy(path, theirs / "wfctl.db").run(lambda copied, total: lock.acquire(theirs / "socket"))
    lock.release()
    assert Copy(path, theirs / "wfctl.db", force=True).run().runs == 20
    lock.acquire(theirs / "socket")
    lock.release()


def test_what_is_no_regular_file_is_not_replaced(path: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    tmp_path.joinpath("null").symlink_to("/dev/null")
    for name in ("pipe", "null"):
        for force in (True, False):
            with pytest.raises(UsageError, match=f"{name} is not a regular file"):
                Copy(path, tmp_path / name, force=force).run()
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert (tmp_path / "null").is_symlink()


async def test_places_that_cannot_be_written_are_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await filled(path)).stop()
    with pytest.raises(UsageError, match="there is no folder"):
        Copy(path, path.parent / "no" / "copy.db").run()
    for code, expected in ((errno.EACCES, DeniedError), (errno.ENOSPC, StorageError)):

        def refuse(*_: Any, code: int = code, **__: Any) -> None:
            raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            patch.setattr(copying.tempfile, "mkstemp", refuse)
            with pytest.raises(expected, match=r"cannot write .*copy\.db"):
                Copy(path, path.with_name("copy.db")).run()


def test_what_is_no_database_of_ours_is_not_copied(path: Path) -> None:
    target = path.with_name("copy.db")
    with pytest.raises(NotFoundError):
        Copy(path, target).run()
    path.write_text("no database, but long enough to look like something that could be one" * 20)
    with pytest.raises(StorageError, match="is not a database"):
        Copy(path, target).run()
    path.unlink()
    sqlite3.connect(path).execute("create table t (a)").connection.close()
    with pytest.raises(StorageError, match="not one of wfctl's"):
        Copy(path, target).run()
    path.write_bytes(b"")
    with pytest.raises(StorageError, match="is empty"):
        Copy(path, target).run()
    assert names(path) == ["wfctl.db"]


async def test_a_database_that_may_not_be_looked_at_is_denied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await (await filled(path)).stop()
    real = os.stat

    def refuse(at: Any, *arguments: Any, **options: Any) -> Any:
        if os.fspath(at) == str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(at, *arguments, **options)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(DeniedError, match="may not read the database"):
        inspect(path)


def test_a_database_of_a_released_schema_is_copied_as_it_is(tmp_path: Path) -> None:
    copied = Copy(file_of(1), tmp_path / "copy.db").run()
    assert (copied.database_schema, inspect(tmp_path / "copy.db").runs) == (1, copied.runs)
    assert copied.newest_at is not None
