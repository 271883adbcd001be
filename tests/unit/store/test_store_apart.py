"""The writer in a process of its own: the same commits, and what its death and that of its parent do."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from support.project import alive
from support.rows import Ledger, check, commit, contents
from support.waiting import until, wait_until
from wfctl.errors import DaemonAlreadyRunningError, StorageError
from wfd.runtime.lock import StateLock
from wfd.store import database, writer
from wfd.store.places import Apart, Frames, _Pipe, frame
from wfd.store.rows import LogRow, Unit
from wfd.store.store import Store, open_store

PARENT = """
import asyncio, sys
from pathlib import Path
from wfd.store.store import open_store

async def main():
    store = await open_store(Path(sys.argv[1]), held=tuple)
    print(store.writer.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
async def apart(path: Path) -> AsyncIterator[Store]:
    store = await open_store(path, held=tuple)
    yield store
    await store.stop()


def _pid(store: Store) -> int:
    assert store.writer.pid is not None
    return store.writer.pid


async def test_what_a_process_of_its_own_has_answered_is_on_disk_and_its_end_leaves_no_log(path: Path) -> None:
    store = await open_store(path, held=tuple)
    pid, ledger = _pid(store), Ledger()
    await commit(
        store.writer, ledger.start("o-1"), ledger.change(1, ("step.completed", {}), store={"k": "é" * 100_000})
    )
    assert [row[2] for row in contents(path)["runs"]] == ["o-1"]
    await store.writer.note("note", "kept")
    assert await store.reader.meta("note") == "kept"
    await store.stop()
    assert not alive(pid)
    assert not path.with_name("wfctl.db-wal").exists()
    check(path)


async def test_one_that_dies_while_nothing_is_written_is_replaced_before_anybody_notices(
    path: Path, apart: Store, ledger: Ledger
) -> None:
    await commit(apart.writer, ledger.start("o-1"))
    first = _pid(apart)
    os.kill(first, signal.SIGKILL)
    await until(lambda: apart.writer.pid not in (first, None))
    await commit(apart.writer, ledger.start("o-2"))
    assert apart.writer.failure is None
    assert len(contents(path)["runs"]) == 2


async def test_one_that_dies_in_a_commit_fails_it_and_a_reset_starts_another(
    path: Path, apart: Store, ledger: Ledger
) -> None:
    await commit(apart.writer, ledger.start("o-1"))
    os.kill(_pid(apart), signal.SIGSTOP)
    answers: list[BaseException | None] = []
    apart.writer.submit(ledger.start("o-2"), answers.append)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    apart.writer.submit(ledger.start("o-3"), answers.append)
    noting = asyncio.ensure_future(apart.writer.note("k", "v"))
    await asyncio.sleep(0)
    os.kill(_pid(apart), signal.SIGKILL)
    await until(lambda: len(answers) == 2)
    for answer in answers:
        assert isinstance(answer, StorageError)
        assert "ended (signal SIGKILL)" in answer.message
    with pytest.raises(StorageError, match="SIGKILL"):
        await noting
    with pytest.raises(StorageError, match="SIGKILL"):
        await commit(apart.writer, ledger.start("o-4"))
    await apart.writer.reset()
    fresh = Ledger(rev=await apart.reader.max_rev())
    await commit(apart.writer, fresh.start("o-5", key=2))
    assert [row[2] for row in contents(path)["runs"]] == ["o-1", "o-5"]


async def test_one_that_dies_at_what_is_no_unit_fails_that_alone_and_is_replaced(
    path: Path, apart: Store, ledger: Ledger
) -> None:
    first = _pid(apart)
    os.kill(first, signal.SIGSTOP)
    noting = asyncio.ensure_future(apart.writer.note("k", "v"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    writing = asyncio.ensure_future(commit(apart.writer, ledger.start("o-1")))
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(StorageError, match="SIGKILL"):
        await noting
    await writing
    assert len(contents(path)["runs"]) == 1
    await apart.writer.note("k", "w")
    assert await apart.reader.meta("k") == "w"


async def test_one_that_cannot_be_replaced_fails_what_waits_until_a_reset_can(
    path: Path, apart: Store, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as full:
        full.setattr(socket, "socketpair", refuse)
        answers: list[BaseException | None] = []
        os.kill(_pid(apart), signal.SIGKILL)
        await until(lambda: apart.writer.pid is None)
        apart.writer.submit(ledger.start("o-1"), answers.append)
        await until(lambda: answers != [])
        assert "too many open files" in str(answers[0])
        with pytest.raises(StorageError, match="too many open files"):
            await apart.writer.reset()
    await apart.writer.reset()
    await commit(apart.writer, Ledger().start("o-2"))
    assert [row[2] for row in contents(path)["runs"]] == ["o-2"]


async def test_one_that_hangs_is_killed_at_a_stop_and_what_it_was_asked_is_told_to_have_failed(
    path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "HANGS_S", 0.05)
    store = await open_store(path, held=tuple)
    await commit(store.writer, ledger.start("o-1"))
    pid = _pid(store)
    os.kill(pid, signal.SIGSTOP)
    answers: list[BaseException | None] = []
    store.writer.submit(ledger.start("o-2"), answers.append)
    await store.stop()
    assert not alive(pid)
    assert "had not answered" in str(answers[0])
    with pytest.raises(StorageError, match="closed"):
        await store.writer.reset()
    assert store.writer.pid is None
    assert [row[2] for row in contents(path)["runs"]] == ["o-1"]


async def test_a_commit_that_fails_there_is_told_as_the_same_error(apart: Store, ledger: Ledger) -> None:
    await commit(apart.writer, ledger.start("o-1"))
    with pytest.raises(StorageError, match="UNIQUE") as caught:
        await commit(apart.writer, ledger.start("o-1"))
    assert caught.value.detail["cause"] == "SQLITE_CONSTRAINT_UNIQUE"
    await apart.writer.reset()
    with pytest.raises(StorageError, match="surrogates not allowed"):
        await commit(apart.writer, Unit(history=[(9, 1, 9, 0, "step.started", "\ud800", None)]))


async def test_a_commit_that_is_asked_for_behind_one_that_fails_is_not_done(
    path: Path, apart: Store, ledger: Ledger
) -> None:
    await commit(apart.writer, ledger.start("o-1"))
    os.kill(_pid(apart), signal.SIGSTOP)
    answers: list[BaseException | None] = []
    for name in ("o-1", "o-2", "o-3"):
        apart.writer.submit(ledger.start(name), answers.append)
    # They are on their way already, and nothing calls them back.
    assert len(apart.writer._asked) == 3
    os.kill(_pid(apart), signal.SIGCONT)
    await until(lambda: len(answers) == 3 and not apart.writer._asked)
    for answer in answers:
        assert isinstance(answer, StorageError)
        assert "UNIQUE" in answer.message
    await apart.writer.reset()
    fresh = Ledger(rev=await apart.reader.max_rev())
    await commit(apart.writer, fresh.start("o-4", key=2))
    assert [row[2] for row in contents(path)["runs"]] == ["o-1", "o-4"]


def test_what_is_asked_for_while_a_commit_fails_is_refused_and_of_commits_that_become_one_nothing_is_kept(
    path: Path, ledger: Ledger
) -> None:
    target = database.Database(database.Setting(str(path), 1_000, "full"))
    target.open()
    one, again, two, three = (
        database.commit([database.packed(ledger.start(name))]) for name in ("o-1", "o-1", "o-2", "o-3")
    )
    assert database.failure(target.obey(one)) is None
    failed = database.failure(target.obey(two, again))
    assert failed is not None
    assert "UNIQUE" in failed.message
    assert database.failure(target.obey(three)) == failed
    assert [row[2] for row in contents(path)["runs"]] == ["o-1"]
    assert database.failure(target.obey(database.request("reopen", False))) is None
    fresh = Ledger(rev=2)
    four = [database.commit([database.packed(fresh.start(f"o-{key}", key=key))]) for key in (4, 5)]
    assert database.failure(target.obey(*four)) is None
    target.close()
    assert [row[2] for row in contents(path)["runs"]] == ["o-1", "o-4", "o-5"]
    check(path)


async def test_two_that_are_asked_for_at_once_fail_both_where_it_dies(path: Path, apart: Store, ledger: Ledger) -> None:
    await commit(apart.writer, ledger.start("o-1"))
    os.kill(_pid(apart), signal.SIGSTOP)
    answers: list[BaseException | None] = []
    for name in ("o-2", "o-3"):
        apart.writer.submit(ledger.start(name), answers.append)
    assert len(apart.writer._asked) == 2
    os.kill(_pid(apart), signal.SIGKILL)
    await until(lambda: len(answers) == 2)
    assert all(isinstance(answer, StorageError) and "SIGKILL" in answer.message for answer in answers)
    await apart.writer.reset()
    assert [row[2] for row in contents(path)["runs"]] == ["o-1"]


async def test_one_that_cannot_open_the_database_says_why_and_leaves_no_process(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="folder does not exist"):
        await open_store(tmp_path / "missing" / "wfctl.db", held=tuple)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    if children.exists():
        assert not [pid for pid in children.read_text().split() if b"wfd.store.apart" in _command(pid)]


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


async def test_nobody_else_gets_the_lock_as_long_as_it_may_still_write(tmp_path: Path, path: Path) -> None:
    ours, next_ones = StateLock(tmp_path / "lock"), StateLock(tmp_path / "lock")
    ours.acquire(tmp_path / "socket")
    store = await open_store(path, held=lambda: ours.descriptors)
    # The daemon is gone and has given nothing back.
    os.close(*ours.descriptors)
    with pytest.raises(DaemonAlreadyRunningError):
        next_ones.acquire(tmp_path / "socket")
    await store.stop()
    next_ones.acquire(tmp_path / "socket")
    next_ones.release()


@pytest.mark.parametrize("stopped", [False, True], ids=["idle", "in the middle of something"])
def test_it_ends_at_once_when_its_parent_is_killed(path: Path, stopped: bool) -> None:
    if stopped and sys.platform != "linux":
        pytest.skip("the parent's death is a signal on Linux only")
    with subprocess.Popen([sys.executable, "-c", PARENT, str(path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        if stopped:
            os.kill(pid, signal.SIGSTOP)
        parent.kill()
        parent.wait()
        wait_until(lambda: not alive(pid))


ALONE = """
import ctypes, sqlite3, sys
from wfd.store.apart import use_alone
use_alone()
db = sqlite3.connect(":memory:")
print(db.execute("select typeof(?), ?, typeof(?)", (None, None, "text")).fetchone())
library = ctypes.CDLL(getattr(sys.modules["_sqlite3"], "__file__", None))
print(getattr(library, "sqlite3_memory_used", int)())
"""


def test_a_process_that_writes_alone_spares_sqlites_locks_and_counts_and_writes_none_as_null() -> None:
    ran = subprocess.run([sys.executable, "-c", ALONE], check=True, capture_output=True, text=True, timeout=60)
    row, counted = ran.stdout.splitlines()
    assert row == "('null', None, 'text')"
    if sys.platform == "linux":
        assert counted == "0"


BESIDE = """
import ctypes, sqlite3, sys, threading
from wfd.store.apart import use_alone
used = ctypes.CDLL(sys.modules["_sqlite3"].__file__).sqlite3_memory_used
if sys.argv[1] == "connection":
    before = sqlite3.connect(":memory:")
    before.execute("create table t (a)")
else:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
use_alone()
counted = used()
after = sqlite3.connect(":memory:")
after.execute("create table t (a)")
print(used() > counted)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only there is SQLite told that it is used alone")
@pytest.mark.parametrize("beside", ["connection", "thread"])
def test_sqlite_keeps_its_locks_where_the_process_does_not_use_it_alone(beside: str) -> None:
    ran = subprocess.run([sys.executable, "-c", BESIDE, beside], check=True, capture_output=True, text=True, timeout=60)
    assert ran.stdout == "True\n"


def _taken(*sent: bytes) -> list[list[bytes]]:
    """What the other end of the pipe takes at a time of what is sent in these pieces."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames = Frames(theirs)
        for piece in sent:
            ours.sendall(piece)
        ours.shutdown(socket.SHUT_WR)
        return list(iter(frames.take, []))


def test_frames_that_come_together_are_taken_one_by_one_and_one_that_is_cut_short_is_the_end() -> None:
    sent = b"\0\0\0\3one" + b"\0\0\0\0" + b"\0\0\0\5three"
    for cut, whole in ((0, [b"one", b"", b"three"]), (1, [b"one", b""]), (8, [b"one", b""]), (13, [b"one"])):
        assert _taken(sent[: len(sent) - cut]) == [[one] for one in whole]
        assert _taken(sent[:2], sent[2 : len(sent) - cut]) == [[one] for one in whole]


class Piece(bytes):
    """Counts the bytes of others that it is put behind."""

    copied = 0

    def __radd__(self, other: bytes) -> bytes:
        Piece.copied += len(other)
        return bytes(other) + bytes(self)


@pytest.mark.parametrize("size", [1, 3, 1_000, 1_000_000])
def test_answers_are_heard_in_any_pieces_and_each_is_put_together_once(size: int) -> None:
    Piece.copied = 0
    replies = [b"x" * 2_000, b"", b"one", b"y" * 5_000]
    heard: list[bytes] = []
    pipe, data = _Pipe(heard.append, lambda: None), b"".join(map(frame, replies))
    for at in range(0, len(data), size):
        pipe.data_received(Piece(data[at : at + size]))
    assert heard == replies
    assert not Piece.copied


def test_commits_that_have_come_become_one_but_for_what_stands_between_them() -> None:
    first, second, third = (
        database.commit([database.packed(Unit(logs=[LogRow(n, 1, 0, "info", "x")]))]) for n in range(3)
    )
    note = database.request("note", "k", "v")
    sent = b"".join(map(frame, (first, second, note, note, third, first)))
    assert _taken(sent) == [[first, second], [note], [note], [third, first]]


def _commits(path: Path) -> int:
    """How many commits are in the log."""
    log = path.with_name("wfctl.db-wal").read_bytes()
    return sum(log[at + 4 : at + 8] != b"\0\0\0\0" for at in range(32, len(log), 24 + 4096))


@pytest.mark.parametrize(("size", "asked", "most"), [(10, Apart.most_asked, 2), (100_000, 2, 3), (1_000_000, 2, 4)])
async def test_what_is_submitted_during_a_commit_is_answered_in_order_and_in_few_commits(
    path: Path, apart: Store, ledger: Ledger, size: int, asked: int, most: int
) -> None:
    await commit(apart.writer, ledger.start("o-0"))
    before = _commits(path)
    os.kill(_pid(apart), signal.SIGSTOP)
    answers: list[tuple[int, BaseException | None]] = []
    numbers = range(1, 10 if size == 1_000_000 else 40)
    for number in numbers:
        unit = ledger.start(f"o-{number}", state=json.dumps({"text": "x" * size}))
        apart.writer.submit(unit, lambda error, number=number: answers.append((number, error)))  # type: ignore[misc]
    # Of large ones no more than before: what a socket has no room for could not become part of another commit.
    assert asked <= len(apart.writer._asked) <= asked + 1
    os.kill(_pid(apart), signal.SIGCONT)
    await apart.writer.flush()
    assert answers == [(number, None) for number in numbers]
    assert [row[2] for row in contents(path)["runs"]] == ["o-0", *(f"o-{number}" for number in numbers)]
    assert 0 < _commits(path) - before <= most
    check(path)
