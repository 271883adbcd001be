"""The daemon's log: every line tells when, how bad and who, and none can be faked."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TextIO

import pytest

from wfctl.errors import StorageError
from wfd.runtime import logs
from wfd.runtime.logs import DaemonLog

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|ERROR) \S+ .*")


def test_a_record_is_one_line_with_time_level_component_and_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = DaemonLog(tmp_path / "wfd.log", stderr=True)
    log.open()
    logging.getLogger("wfd.server").info("listening on %s", "x.sock")
    log.leave_stderr()
    logging.getLogger("wfd.worker[41]").info("hello")
    logging.getLogger("wfd.worker[41]").debug("not shown")
    log.close()
    first, second = (tmp_path / "wfd.log").read_text().splitlines()
    assert LINE.fullmatch(first)
    assert first.endswith(" INFO server listening on x.sock")
    assert second.endswith(" INFO worker[41] hello")
    assert capsys.readouterr().err.splitlines() == [first]


def test_every_line_of_a_traceback_is_a_line_of_the_log(tmp_path: Path) -> None:
    log = DaemonLog(tmp_path / "wfd.log", stderr=False)
    log.open()
    try:
        raise ValueError("boom")
    except ValueError:
        logging.getLogger("wfd.engine").exception("it failed")
    log.close()
    lines = (tmp_path / "wfd.log").read_text().splitlines()
    assert len(lines) > 3
    assert all(LINE.fullmatch(line) for line in lines)
    assert lines[-1].endswith("ERROR engine ValueError: boom")


def test_control_characters_are_made_visible(tmp_path: Path) -> None:
    log = DaemonLog(tmp_path / "wfd.log", stderr=False)
    log.open()
    logging.getLogger("wfd.worker").info("\x1b[2Jred\rfake \udc80 tab\tstays")
    log.close()
    (line,) = (tmp_path / "wfd.log").read_text().splitlines()
    assert line.endswith("\\x1b[2Jred\\x0dfake \\udc80 tab\tstays")


def test_a_full_log_is_set_aside_and_only_some_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "ROTATE_BYTES", 1_000)
    log = DaemonLog(tmp_path / "wfd.log", stderr=False)
    log.open()
    for number in range(200):
        logging.getLogger("wfd.engine").info("line %d of many", number)
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wfd.log", *(f"wfd.log.{n}" for n in (1, 2, 3))]
    assert "line 199" in (tmp_path / "wfd.log").read_text()


def test_the_log_is_appended_to_and_closed_twice(tmp_path: Path) -> None:
    for word in ("one", "two"):
        log = DaemonLog(tmp_path / "wfd.log", stderr=False)
        log.open()
        logging.getLogger("wfd").info(word)
        log.close()
        log.close()
    assert [line.split()[-1] for line in (tmp_path / "wfd.log").read_text().splitlines()] == ["one", "two"]


@pytest.mark.parametrize("moved", [True, False])
def test_a_log_that_was_moved_or_deleted_is_begun_anew_and_still_set_aside_when_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: bool
) -> None:
    monkeypatch.setattr(logs, "ROTATE_BYTES", 1_000)
    path, away = tmp_path / "wfd.log", tmp_path / "away.log"
    log = DaemonLog(path, stderr=False)
    log.open()
    logging.getLogger("wfd").info("before")
    if moved:
        path.rename(away)
    else:
        path.unlink()
    logging.getLogger("wfd").info("after")
    assert path.read_text().endswith(" after\n")
    assert path.read_text().count("\n") == 1
    for number in range(20):
        logging.getLogger("wfd").info("line %d of many", number)
    log.close()
    assert (tmp_path / "wfd.log.1").exists()
    if moved:
        assert away.read_text().endswith(" before\n")
        assert away.read_text().count("\n") == 1


def test_a_log_whose_folder_was_moved_goes_on_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    log = DaemonLog(tmp_path / "state" / "wfd.log", stderr=False)
    log.open()
    (tmp_path / "state").rename(tmp_path / "moved")
    logging.getLogger("wfd").info("still here")
    log.close()
    assert (tmp_path / "moved" / "wfd.log").read_text().endswith(" still here\n")


def test_a_line_that_a_full_disk_does_not_take_is_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handler: logging.StreamHandler[TextIO], record: logging.LogRecord) -> None:
        try:
            raise OSError(28, "No space left on device")
        except OSError:
            handler.handleError(record)

    log = DaemonLog(tmp_path / "wfd.log", stderr=False)
    log.open()
    monkeypatch.setattr(logging.StreamHandler, "emit", full)
    logging.getLogger("wfd").info("lost")
    log.close()
    assert capsys.readouterr().err == ""


def test_a_log_that_cannot_be_written_is_an_error_of_the_storage(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write the log"):
        DaemonLog(tmp_path, stderr=False).open()
