"""Files that commands write and read: what is replaced, what is written to, and what is told of one that cannot be."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.cli import Cli
from support.fake_daemon import FakeDaemon, welcome
from wfctl.cli.files import write_new
from wfctl.errors import ConflictError, DeniedError, WfctlError
from wfctl.protocol.calls import RunPage

Start = Callable[..., FakeDaemon]


def test_a_link_a_device_and_a_pipe_stay_what_they_are_and_are_written_to(tmp_path: Path) -> None:
    file, link, pipe = tmp_path / "file.svg", tmp_path / "link.svg", tmp_path / "pipe"
    file.write_text("before, and longer")
    link.symlink_to(file)
    assert write_new(str(link), "<svg/>", force=True) == link
    assert link.is_symlink()
    assert file.read_text() == "<svg/>"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_new(str(pipe), "<svg/>", force=True)
    assert os.read(reader, 100) == b"<svg/>"
    os.close(reader)
    assert pipe.is_fifo()
    nowhere = tmp_path / "nowhere"
    nowhere.symlink_to("/dev/null")
    write_new(str(nowhere), "<svg/>", force=True)
    assert nowhere.is_char_device()
    for one in (link, pipe, nowhere):
        with pytest.raises(ConflictError, match="exists"):
            write_new(str(one), "<svg/>", force=False)


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file, other = tmp_path / "file.svg", tmp_path / "other"
    file.write_text("before")
    os.link(file, other)
    write_new(str(file), "after", force=True)
    assert (file.read_text(), other.read_text()) == ("after", "before")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["file.svg", "other"]


def test_a_file_that_cannot_be_written_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/some/part")

    file = tmp_path / "file.svg"
    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    with pytest.raises(DeniedError) as caught:
        write_new(str(file), "<svg/>", force=False)
    assert caught.value.message == f"cannot write {file}: Read-only file system"
    assert caught.value.hint == "mount its file system for writing, or name another file"
    with pytest.raises(WfctlError, match="File name too long"):
        write_new(str(tmp_path / ("x" * 300)), "<svg/>", force=False)


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (errno.EMFILE, 8, "error[storage]: too many open files: /shop/file cannot be opened\n  hint: "),
        (errno.EROFS, 7, "error[denied]: cannot use /shop/file: Read-only file system\n  hint: mount its "),
        (errno.EACCES, 7, "error[denied]: cannot use /shop/file: Permission denied\n  hint: "),
        (errno.ENAMETOOLONG, 2, "error[invalid_argument]: '/shop/file' cannot be used: File name too long\n  hint: "),
    ],
)
def test_what_the_system_refuses_is_no_bug(
    cli: Cli, daemon: Start, monkeypatch: pytest.MonkeyPatch, number: int, code: int, said: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/shop/file")

    daemon(list=RunPage(items=[], total=0))
    monkeypatch.setattr("wfctl.cli.commands.list.check_types", refuse)
    answer = cli("list")
    assert answer.code == code
    assert answer.err.startswith(said)


def test_a_socket_that_cannot_be_opened_for_want_of_files_is_no_daemon_that_is_down(
    cli: Cli, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("socket.socket.connect", refuse)
    answer = cli("status")
    assert answer.code == 8
    assert answer.err.startswith("error[storage]: too many open files\n  hint: ")


@pytest.mark.parametrize("by", ["--project", "WFCTL_PROJECT"])
def test_a_project_is_named_by_its_folder_or_its_wfctl_toml_alone(
    cli: Cli, project: Path, daemon: Start, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    def typed(path: Path) -> Any:
        if by == "WFCTL_PROJECT":
            monkeypatch.setenv(by, str(path))
            monkeypatch.delenv("WFCTL_SOCKET", raising=False)
            return cli("logs")
        return cli("logs", by, str(path))

    (project / ".wfctl" / "wfd.log").write_text("line\n")
    for right in (project, project / "wfctl.toml"):
        assert typed(right)[:2] == (0, "line\n")
    (wrong := project / "orders.py").write_text("")
    said = typed(wrong)
    assert said.code == 2
    assert said.err == (
        f"error[config]: {wrong} is no wfctl.toml (from {by})\n"
        "  hint: name a folder that holds a wfctl.toml, or the file itself\n"
    )


def test_a_log_that_was_moved_from_under_a_daemon_is_not_told_to_be_made_by_up(
    cli: Cli, project: Path, daemon: Start
) -> None:
    said = cli("logs")
    assert (said.code, said.err.splitlines()[-1]) == (4, "  try: wfctl up")
    daemon()
    said = cli("logs")
    assert said.code == 4
    assert "wfd.log was moved or deleted, and is there again with the next line" in said.err
    assert said.err.endswith("  try: wfctl status\n")


def test_the_log_of_a_daemon_that_runs_with_the_state_of_before_is_found(
    cli: Cli, project: Path, daemon: Start
) -> None:
    former = project / "former"
    former.mkdir()
    (former / "wfd.log").write_text("line\n")
    daemon(hello=welcome(project=str(project), state=str(former)))
    assert cli("logs")[:2] == (0, "line\n")
