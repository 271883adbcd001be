"""Who reads from the write-ahead log, as the system tells it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.reading import another
from wfd.store.connect import shm_of
from wfd.store.log_readers import log_readers

pytestmark = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell")


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A database with something in its log."""
    path = tmp_path / "some.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.executescript("pragma journal_mode = wal; create table t (a); insert into t values (1), (2);")
        yield path


@pytest.mark.parametrize(
    "does",
    [
        "db.execute('begin'); db.execute('select * from t').fetchall()",
        "rows = db.execute('select * from t'); next(rows)",
    ],
    ids=["a transaction", "a query that is not read to its end"],
)
def test_a_program_that_reads_is_named_as_long_as_it_does(path: Path, does: str) -> None:
    with another(path, does) as pid:
        (found,) = log_readers(path, [os.getpid()])
        assert found.endswith(f" (pid {pid})")
        assert found.startswith("python")
        assert log_readers(path, [os.getpid(), pid]) == []
    assert log_readers(path, [os.getpid()]) == []


def test_a_name_stands_in_one_line(path: Path) -> None:
    named = "open('/proc/self/comm', 'w').write('a' + chr(10) + 'b')"
    with another(path, f"{named}; db.execute('begin'); db.execute('select * from t').fetchall()") as pid:
        assert log_readers(path, [os.getpid()]) == [f"a b (pid {pid})"]


@pytest.mark.parametrize("does", ["", "db.execute('select * from t').fetchall()"], ids=["opened", "read"])
def test_a_program_that_has_it_open_and_does_not_read_is_not_named(path: Path, does: str) -> None:
    with another(path, does):
        assert log_readers(path, [os.getpid()]) == []


def test_who_reads_another_database_is_not_named(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with contextlib.closing(sqlite3.connect(other, isolation_level=None)) as db:
        db.executescript("pragma journal_mode = wal; create table t (a); insert into t values (1), (2);")
        with another(other, "db.execute('begin'); db.execute('select * from t').fetchall()"):
            assert log_readers(path, [os.getpid()]) == []


def test_locks_of_programs_that_cannot_be_seen_or_named_are_told_as_they_are(path: Path, tmp_path: Path) -> None:
    index = shm_of(path).stat()
    where = f"{os.major(index.st_dev):02x}:{os.minor(index.st_dev):02x}:{index.st_ino}"
    locks = tmp_path / "locks"
    locks.write_text(
        f"1: POSIX  ADVISORY  READ 0 {where} 124 124\n"
        f"1: -> POSIX  ADVISORY  READ 5 {where} 124 124\n"  # waits for it
        f"2: POSIX  ADVISORY  READ 4194305 {where} 123 123\n"
        f"3: POSIX  ADVISORY  WRITE 3 {where} 124 124\n"
        f"4: POSIX  ADVISORY  READ 4 {where} 128 128\n"
        f"5: FLOCK  ADVISORY  READ 6 {where} 0 EOF\n"
        "nonsense\n"
    )
    assert log_readers(path, [], locks) == ["a program outside this container", "a program (pid 4194305)"]


def test_who_reads_is_named_where_locks_are_listed_with_another_device(path: Path, tmp_path: Path) -> None:
    inode = shm_of(path).stat().st_ino
    locks = tmp_path / "locks"
    with another(path, "db.execute('begin'); db.execute('select * from t').fetchall()") as pid:
        locks.write_text(
            f"1: POSIX  ADVISORY  READ {pid} 7f:7e:{inode} 124 124\n"
            f"2: POSIX  ADVISORY  READ {pid} 7f:7e:{inode + 1} 124 124\n"
            f"3: POSIX  ADVISORY  READ 1 7f:7e:{inode} 124 124\n"  # of another file of that number
        )
        (found,) = log_readers(path, [os.getpid()], locks)
        assert found.endswith(f" (pid {pid})")


def test_nobody_is_named_where_the_system_does_not_tell(path: Path, tmp_path: Path) -> None:
    assert log_readers(path, [], tmp_path / "none") == []
    assert log_readers(tmp_path / "none.db", []) == []
