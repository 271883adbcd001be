"""Background work leaves the processor and the disk to others, where the system can do that."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from wfd.runtime import background
from wfd.runtime.background import MOST_NICE, NICE, begin_writing, give_way

only_linux = pytest.mark.skipif(sys.platform != "linux", reason="only there is a thread nice by itself")


def _nice(*work: Callable[[], None]) -> int:
    """How nice a thread is that has done this."""
    found: list[int] = []

    def run() -> None:
        for one in work:
            one()
        found.append(os.getpriority(os.PRIO_PROCESS, 0))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


@only_linux
def test_a_thread_gives_way_by_itself_and_never_asks_for_more_than_there_is() -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert _nice(give_way) == min(ours + NICE, MOST_NICE)
    assert _nice(*[give_way] * 5) == MOST_NICE
    assert os.getpriority(os.PRIO_PROCESS, 0) == _nice() == ours


@only_linux
def test_what_is_refused_is_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refused)
    assert _nice(give_way) == _nice()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the call")
def test_the_system_takes_what_it_is_asked_to_write(tmp_path: Path) -> None:
    answers: list[int] = []
    call = background._sync_file_range()
    assert call is not None
    with (tmp_path / "file").open("wb") as file, pytest.MonkeyPatch.context() as patch:
        file.write(bytes(1 << 20))
        file.flush()
        patch.setattr(background, "_sync_file_range", lambda: lambda *given: answers.append(call(*given)))
        begin_writing(file.fileno())
    assert answers == [0]


def test_a_system_that_has_nothing_of_that_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours = _nice()
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(background, "_sync_file_range", background._sync_file_range.__wrapped__)
    assert background._sync_file_range() is None
    with (tmp_path / "file").open("wb") as file:
        begin_writing(file.fileno())
    assert _nice(give_way) == ours
