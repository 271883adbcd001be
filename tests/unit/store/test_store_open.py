"""Opening what is there: each thing that can be wrong has its own error, and nothing is harmed."""

from __future__ import annotations

import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.rows import Ledger, commit
from wfctl.errors import DeniedError, IncompatibleError, StorageError
from wfd.store import connect
from wfd.store.connect import LONGEST_PATH_BYTES, SCHEMA_VERSION, explain
from wfd.store.inspect import check_readable
from wfd.store.store import open_store


async def test_a_missing_file_is_made_for_its_owner_alone(path: Path) -> None:
    old = os.umask(0)
    try:
        store = await open_store(path)
        await commit(store.writer, Ledger().start("o-1"))
        modes = [stat.S_IMODE(file.stat().st_mode) for file in path.parent.glob("wfctl.db*")]
    finally:
        os.umask(old)
    await store.stop()
    assert modes == [0o600] * 3


async def test_a_file_that_is_open_to_others_is_closed_to_them(path: Path) -> None:
    await (await open_store(path)).stop()
    path.chmod(0o644)
    await (await open_store(path)).stop()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(("durability", "level"), [("full", 2), ("normal", 1)])
async def test_a_commit_waits_for_the_disk_unless_told_otherwise(path: Path, durability: Any, level: int) -> None:
    db = connect.connect_writer(path, durability=durability)
    assert db.execute("pragma synchronous").fetchone()[0] == level
    db.close()
    db = connect.connect_writer(path)
    assert db.execute("pragma synchronous").fetchone()[0] == 2
    db.close()


async def test_changed_pages_are_kept_beyond_the_small_cache_but_not_without_end(path: Path) -> None:
    db = connect.connect_writer(path)
    # SQLite has 0 where a number is one of those that it takes for "off".
    assert db.execute("pragma cache_spill").fetchone() == (connect.SPILL_PAGES,)
    assert connect.SPILL_PAGES * 4 > -db.execute("pragma cache_size").fetchone()[0] == connect.CACHE_KIB
    db.close()


async def test_an_empty_file_becomes_a_database(path: Path) -> None:
    path.touch()
    store = await open_store(path)
    assert await store.reader.max_rev() == 0
    await store.stop()


async def test_a_log_without_its_database_is_not_taken_for_an_empty_project(path: Path) -> None:
    store = await open_store(path)
    await commit(store.writer, Ledger().start("o-1"))
    log = path.with_name("wfctl.db-wal").read_bytes()
    await store.stop()
    path.unlink()
    path.with_name("wfctl.db-wal").write_bytes(log)
    with pytest.raises(StorageError, match="is missing, but its log"):
        await open_store(path)
    assert [file.name for file in path.parent.iterdir()] == ["wfctl.db-wal"]
    assert path.with_name("wfctl.db-wal").read_bytes() == log


async def test_a_database_that_was_emptied_does_not_take_its_log_with_it(path: Path) -> None:
    store = await open_store(path)
    await commit(store.writer, Ledger().start("o-1"))
    log = path.with_name("wfctl.db-wal").read_bytes()
    await store.stop()
    path.write_bytes(b"")
    path.with_name("wfctl.db-wal").write_bytes(log)
    with pytest.raises(StorageError, match="is empty, but its log"):
        await open_store(path)
    assert path.with_name("wfctl.db-wal").read_bytes() == log


async def test_a_path_that_is_too_long_for_sqlite_is_told_by_its_length(path: Path) -> None:
    folder = path.parent
    while len(str(folder)) < LONGEST_PATH_BYTES:
        folder /= "n" * 100
    folder.mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot open the database") as caught:
        await open_store(folder / "wfctl.db")
    length = len(str((folder / "wfctl.db").resolve()))
    assert caught.value.hint == (
        f"use shorter folders, or a `state` elsewhere: its path has {length} bytes, and SQLite takes {LONGEST_PATH_BYTES}"
    )


def test_text_that_is_none_is_damage_and_a_limit_of_file_sizes_a_possible_cause(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as caught:
        db.execute("select cast(x'ff' as text)").fetchone()
    db.close()
    told = explain(caught.value, path, "read")
    assert told.message.startswith(f"the database {path} is damaged: ")
    assert "restore a backup" in (told.hint or "")
    assert explain(OSError(5, "Input/output error"), path, "write").hint == "check the disk"
    monkeypatch.setattr(connect.resource, "getrlimit", lambda _: (1_024_000, 1_024_000))
    told = explain(OSError(5, "Input/output error"), path, "write")
    assert told.hint == "check the disk, or let files be larger than 1,024,000 bytes (ulimit -f, LimitFSIZE= of a unit)"


def test_an_error_of_a_disk_without_room_is_cured_by_room(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "_free_bytes", lambda _: 4_096)
    told = explain(OSError(5, "Input/output error"), path, "open")
    assert (told.hint, told.detail["free_bytes"]) == ("make room on its disk", 4_096)


async def test_names_with_special_characters_are_opened(tmp_path: Path) -> None:
    folder = tmp_path / "a b?c#d%20é"
    folder.mkdir()
    store = await open_store(folder / "wf ctl?.db")
    await commit(store.writer, Ledger().start("o-1"))
    assert await store.reader.max_key() == 1
    assert store.size_bytes() > 4096
    await store.stop()


async def test_a_directory_is_no_database(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StorageError, match="is a directory"):
        check_readable(path)
    with pytest.raises(StorageError, match="is a directory") as caught:
        await open_store(path)
    assert caught.value.hint is not None
    assert str(path) in caught.value.message


async def test_a_pipe_is_no_database(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(StorageError, match="not a regular file"):
        check_readable(path)
    with pytest.raises(StorageError, match="not a regular file"):
        await open_store(path)


async def test_a_missing_folder_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="folder does not exist") as caught:
        await open_store(tmp_path / "state" / "wfctl.db")
    assert caught.value.hint == f"mkdir -p {tmp_path / 'state'}"


async def test_a_file_that_is_no_database_stays_as_it_is(path: Path) -> None:
    path.write_bytes(b"this is a diary, not a database\n" * 100)
    before = path.read_bytes()
    with pytest.raises(StorageError, match="is not a database"):
        await open_store(path)
    assert path.read_bytes() == before


async def test_a_database_of_another_program_stays_as_it_is(path: Path) -> None:
    db = sqlite3.connect(path)
    db.executescript("create table runs (a); pragma application_id = 7;")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StorageError, match="not one of wfctl's"):
        await open_store(path)
    assert path.read_bytes() == before


async def test_a_nameless_database_with_tables_is_not_ours(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("create table runs (a)")
    db.close()
    with pytest.raises(StorageError, match="not one of wfctl's"):
        await open_store(path)


async def test_a_newer_schema_is_told_with_both_versions(path: Path) -> None:
    await (await open_store(path)).stop()
    db = sqlite3.connect(path)
    db.execute(f"pragma user_version = {SCHEMA_VERSION + 6}")
    db.close()
    before = path.read_bytes()
    with pytest.raises(IncompatibleError, match=rf"schema {SCHEMA_VERSION + 6}; .* up to {SCHEMA_VERSION}$") as caught:
        await open_store(path)
    assert caught.value.exit_status == 6
    assert path.read_bytes() == before


async def test_a_database_that_is_locked_is_told_as_such(path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")
    with pytest.raises(StorageError, match="another program holds its lock") as caught:
        await open_store(path, busy_ms=10)
    assert caught.value.exit_status == 8
    other.execute("rollback")
    other.close()


async def test_a_damaged_database_is_told_as_such(path: Path) -> None:
    store = await open_store(path)
    await commit(store.writer, *(Ledger().start("o-1") for _ in range(1)))
    await store.stop()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        await open_store(path)


NOBODY = 65534


@contextmanager
def _as_nobody() -> Iterator[None]:
    """Root may read everything, so as root the test becomes somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o200])
async def test_a_file_that_may_not_be_read_or_written_is_denied(mode: int) -> None:
    # Not in tmp_path, into which somebody else may not even look.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wfctl.db"
        await (await open_store(path)).stop()
        path.chmod(mode)
        if os.geteuid() == 0:
            for owned in (path.parent, path):
                os.chown(owned, NOBODY, NOBODY)
        with _as_nobody(), pytest.raises(DeniedError, match="may not open") as caught:
            await open_store(path)
        assert caught.value.exit_status == 7


def test_an_old_sqlite_is_refused_with_both_versions(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect.sqlite3, "sqlite_version_info", (3, 31, 1))
    with pytest.raises(IncompatibleError, match=r"needs 3\.37\.0 or later"):
        connect.connect_writer(path)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (PermissionError(13, "Permission denied"), DeniedError, "may not write"),
        (OSError(30, "Read-only file system"), DeniedError, "may not write"),
        (OSError(28, "No space left on device"), StorageError, "bytes free"),
        (OSError(5, "Input/output error"), StorageError, "Input/output error"),
        (ValueError("odd"), StorageError, "ValueError: odd"),
    ],
)
def test_what_went_wrong_is_said_in_plain_words(
    path: Path, error: Exception, kind: type[Exception], words: str
) -> None:
    told = explain(error, path, "write")
    assert type(told) is kind
    assert words in told.message
    assert str(path) in told.message
    assert told.hint


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TimeoutError(), "cannot write the database {path}: TimeoutError ("),
        (OSError(), "cannot write the database {path}: OSError ("),
        (sqlite3.OperationalError(), "cannot write the database {path}: OperationalError: OperationalError"),
    ],
)
def test_an_error_that_says_nothing_is_told_by_its_type(path: Path, error: Exception, words: str) -> None:
    assert explain(error, path, "write").message.startswith(words.format(path=path))
