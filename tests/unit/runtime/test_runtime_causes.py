"""What the system refuses is told with the thing it refuses, as an error of ours, and with what helps."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wfctl.errors import DeniedError, StorageError, WfctlError
from wfctl.values.causes import cannot, out_of_files
from wfd.runtime.lock import StateLock
from wfd.runtime.logs import DaemonLog
from wfd.server.endpoint import listen

FULL = OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def refusal(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


@pytest.mark.parametrize(
    ("number", "kind", "hint"),
    [
        (errno.EROFS, DeniedError, "mount its file system for writing, or name another file"),
        (errno.ENOSPC, StorageError, "make room there, or name another file"),
        (errno.EIO, StorageError, "name another file"),
        (errno.ENFILE, StorageError, "the system has no more: end programs that have many files open"),
    ],
)
def test_the_remedy_is_one_for_the_cause(number: int, kind: type[WfctlError], hint: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    told = cannot("write", file, refusal(number, file), otherwise="name another file")
    assert type(told) is kind
    assert told.message == f"cannot write {file}: {os.strerror(number)}"
    assert (told.hint or "").startswith(hint)
    assert told.detail == {"path": str(file)}


def test_who_may_not_is_told_whose_it_is_or_what_to_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "a folder" / "file"
    mine = cannot("write", missing, refusal(errno.EACCES, missing), otherwise="name another")
    assert mine.hint == f"chmod u+rwx {tmp_path}, or name another"
    (file := tmp_path / "file").touch()
    assert cannot("write", file, refusal(errno.EPERM, file), otherwise="x").hint == f"chmod u+rw {file}, or x"
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    theirs = cannot("write", file, refusal(errno.EACCES, file), otherwise="name another")
    assert isinstance(theirs, DeniedError)
    assert f"use the account that {file} belongs to (" in (theirs.hint or "")


def test_no_more_open_files_is_seen_through_what_came_of_it() -> None:
    try:
        try:
            raise FULL
        except OSError:
            raise RuntimeError("the loop cannot be closed") from None
    except RuntimeError as error:
        told = out_of_files(error)
    assert told is not None
    assert told.message == "too many open files"
    assert "ulimit" in (told.hint or "")
    assert out_of_files(RuntimeError()) is None


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EMFILE])
def test_what_a_daemon_needs_at_its_start_is_named_with_what_to_do(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *_: object, **__: object) -> int:
        raise refusal(number, Path(str(path)))

    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    lock, log, folder = tmp_path / "lock", tmp_path / "wfd.log", tmp_path / "folder"
    for patched, by, do, named in (
        ("os.open", refuse, lambda: StateLock(lock).acquire(folder), f"open the lock {lock}"),
        ("wfd.runtime.logs._File", refuse, DaemonLog(log, stderr=False).open, f"write the log {log}"),
        ("os.mkdir", refuse, lambda: listen(folder / "d.sock"), f"make the socket directory {folder}"),
        ("socket.socket.bind", refused, lambda: listen(folder / "d.sock"), f"listen at {folder / 'd.sock'}"),
    ):
        with monkeypatch.context() as patch, pytest.raises(WfctlError) as caught:
            patch.setattr(patched, by)
            do()
        assert caught.value.message == f"cannot {named}: {os.strerror(number)}"
        assert caught.value.hint


def test_a_daemon_that_may_open_too_few_files_says_so_at_once(tmp_path: Path) -> None:
    (tmp_path / "wfctl.toml").write_text('[workflows]\nmodules = ["flows.py"]\n')
    (tmp_path / "flows.py").touch()
    limited = 'ulimit -n 40; exec "$0" -P -m wfd --project "$1"'
    done = subprocess.run(
        ["sh", "-c", limited, sys.executable, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 8
    assert "a daemon may have no more than 40 files open here, and needs 64 at least\n  hint: " in done.stderr
