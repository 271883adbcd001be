from __future__ import annotations

import os

import pytest

from support.cli import Pipe, Terminal
from support.fake_daemon import NOW
from wfctl.cli.bars import Bars
from wfctl.cli.live import Region
from wfctl.cli.render.text import Line
from wfctl.cli.screen import Screen
from wfctl.protocol.views import HistoryEntry


def lines(*texts: str) -> list[Line]:
    return [[(text, "")] for text in texts]


@pytest.fixture
def stream() -> Terminal:
    return Terminal()


def since(stream: Terminal) -> str:
    text = stream.getvalue()
    stream.seek(0)
    stream.truncate()
    return text


def test_only_lines_that_changed_are_rewritten(stream: Terminal) -> None:
    with Region(Screen(stream, "never")) as region:
        region.draw(lines("a", "b", "c"), 80)
        assert since(stream) == "\x1b[?25la\nb\nc\n"
        region.draw(lines("a", "B", "c"), 80)
        assert since(stream) == "\x1b[2A\r\x1b[2KB\n\n"
        region.draw(lines("a", "B", "c", "d"), 80)
        assert since(stream) == "d\n"
        region.draw(lines("a"), 80)
        assert since(stream) == "\x1b[3A\r\x1b[J"
    assert since(stream).endswith("\x1b[?25h")


def test_a_frame_that_did_not_change_writes_nothing(stream: Terminal) -> None:
    with Region(Screen(stream, "never")) as region:
        region.draw(lines("a", "b"), 80)
        since(stream)
        region.draw(lines("a", "b"), 80)
        assert since(stream) == ""


def test_lines_that_stay_are_written_above_the_frame_in_one_go(
    stream: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with Region(Screen(stream, "never")) as region:
        region.above(lines("first"))
        region.draw(lines("a", "b"), 80)
        since(stream)
        region.above(lines("more", "still"))
        assert since(stream) == "\x1b[2A\r\x1b[Jmore\nstill\na\nb\n"
        region.draw(lines("a", "B"), 80)
        assert since(stream) == "\x1b[1A\r\x1b[2KB\n"


def reported(name: str, done: int) -> HistoryEntry:
    return HistoryEntry(
        run_id=name, workflow_id=name, seq=0, at=NOW, kind="progress", data={"done": done, "total": 100}
    )


def test_bars_are_drawn_four_times_a_second_and_go_with_their_steps(
    stream: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("wfctl.cli.bars.time.monotonic", lambda: now[0])
    monkeypatch.setenv("COLUMNS", "60")
    with Bars(Screen(stream, "never")) as bars:
        bars.take(reported("enc-1", 1))
        assert since(stream) == "\x1b[?25lenc-1  [....................] 1% 1/100\n"
        for done in range(2, 50):
            bars.take(reported("enc-1", done))
        assert (since(stream), bars.due_s) == ("", 0.25)
        now[0] += 0.25
        assert bars.due_s == 0
        bars.draw()
        assert since(stream).endswith("enc-1  [#########...........] 49% 49/100\n")
        bars.print([("a line", "")])
        assert "a line\nenc-1" in since(stream)
        now[0] += 1
        for number in range(2, 9):
            bars.take(reported(f"enc-{number}", number))
        now[0] += 1
        bars.draw()
        assert since(stream).endswith("+ 3 more running steps\n")
        for number in range(1, 9):
            bars.take(HistoryEntry(run_id=f"enc-{number}", workflow_id="", seq=1, at=NOW, kind="step.completed"))
        now[0] += 1
        bars.draw()
    assert "enc" not in since(stream).rpartition("\x1b[J")[2]


def test_off_a_terminal_there_are_no_bars() -> None:
    pipe = Pipe()
    with Bars(Screen(pipe, "never")) as bars:
        bars.take(reported("enc-1", 1))
        bars.print([("a line", "")])
        assert bars.due_s is None
    assert pipe.getvalue() == "a line\n"


def test_the_cursor_comes_back_whatever_happens(stream: Terminal) -> None:
    with pytest.raises(KeyboardInterrupt), Region(Screen(stream, "never")):
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("\x1b[?25h")


def test_after_a_resize_the_wrapped_frame_goes_as_a_whole(stream: Terminal) -> None:
    with Region(Screen(stream, "never")) as region:
        region.draw(lines("x" * 60, "y"), 80)
        since(stream)
        region.draw(lines("x" * 39, "y"), 40)
        # Sixty cells take two rows of forty, and the second line one.
        assert since(stream) == "\x1b[3A\r\x1b[J" + "x" * 39 + "\ny\n"


def test_a_settled_frame_is_never_touched_again(stream: Terminal) -> None:
    with Region(Screen(stream, "never")) as region:
        region.draw(lines("a"), 80)
        since(stream)
        region.settle()
        region.draw(lines("b"), 80)
        assert since(stream) == "b\n"


def test_a_terminal_that_knows_no_width_has_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((0, 0)))
    assert Screen(Terminal(), "never").columns == 80
