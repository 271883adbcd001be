"""The lock on the state: one holder, named to the second, released by the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wfctl.errors import DaemonAlreadyRunningError, StorageError
from wfd.runtime.lock import StateLock

HOLDER = """
import sys
from pathlib import Path
from wfd.runtime.lock import StateLock
lock = StateLock(Path(sys.argv[1]))
lock.acquire(Path("/run/its.sock"))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_holder_is_told_who_has_it(tmp_path: Path) -> None:
    first, second = StateLock(tmp_path / "lock"), StateLock(tmp_path / "lock")
    first.acquire(tmp_path / "wfd.sock")
    first.acquire(tmp_path / "wfd.sock")
    assert first.held
    with pytest.raises(DaemonAlreadyRunningError, match=f"pid {os.getpid()}") as caught:
        second.acquire(tmp_path / "wfd.sock")
    assert caught.value.detail["pid"] == os.getpid()
    assert caught.value.detail["socket"] == str(tmp_path / "wfd.sock")
    assert caught.value.exit_status == 5
    assert not second.held
    first.release()
    first.release()
    second.acquire(tmp_path / "wfd.sock")
    second.release()


def test_the_kernel_releases_the_lock_of_a_killed_holder(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        lock = StateLock(tmp_path / "lock")
        with pytest.raises(DaemonAlreadyRunningError, match=f"pid {holder.pid}"):
            lock.acquire(tmp_path / "wfd.sock")
        holder.kill()
        holder.wait()
    lock.acquire(tmp_path / "wfd.sock")
    lock.release()


def test_what_the_file_says_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text('{"pid": 1, "socket": "/nowhere"}')
    lock = StateLock(tmp_path / "lock")
    lock.acquire(tmp_path / "wfd.sock")
    assert lock.held
    lock.release()
    assert not lock.held


@pytest.mark.parametrize("content", ["", "nonsense", "[1]", '{"pid": '])
def test_a_holder_that_has_not_said_who_it_is_is_only_another_daemon(tmp_path: Path, content: str) -> None:
    first = StateLock(tmp_path / "lock")
    first.acquire(tmp_path / "wfd.sock")
    (tmp_path / "lock").write_text(content)
    with pytest.raises(DaemonAlreadyRunningError, match="another wfctl daemon has"):
        StateLock(tmp_path / "lock").acquire(tmp_path / "wfd.sock")
    first.release()


def test_a_directory_in_the_place_of_the_lock_is_an_error_of_the_storage(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StorageError, match="cannot open the lock"):
        StateLock(tmp_path / "lock").acquire(tmp_path / "wfd.sock")


def test_a_child_process_does_not_inherit_the_lock(tmp_path: Path) -> None:
    lock = StateLock(tmp_path / "lock")
    lock.acquire(tmp_path / "wfd.sock")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.release()
        other = StateLock(tmp_path / "lock")
        other.acquire(tmp_path / "wfd.sock")
        assert other.held
        other.release()
        child.kill()


def test_a_lock_is_displaced_only_where_its_file_is_certainly_another_one_or_none(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    lock = StateLock(state / "lock")
    assert not lock.displaced
    lock.acquire(tmp_path / "wfd.sock")
    assert not lock.displaced
    state.rename(tmp_path / "elsewhere")
    assert lock.displaced
    state.symlink_to("state")
    assert not lock.displaced  # nobody can say where that leads to
    state.unlink()
    state.write_text("")
    assert lock.displaced
    state.unlink()
    state.mkdir()
    (state / "lock").touch()
    assert lock.displaced
    (state / "lock").unlink()
    state.rmdir()
    (tmp_path / "elsewhere").rename(state)
    assert not lock.displaced
    lock.release()


def test_a_full_disk_keeps_nobody_from_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, content: bytes, at: int) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    lock = StateLock(tmp_path / "lock")
    lock.acquire(tmp_path / "wfd.sock")
    assert lock.held
    with pytest.raises(DaemonAlreadyRunningError):
        StateLock(tmp_path / "lock").acquire(tmp_path / "wfd.sock")
    lock.release()
