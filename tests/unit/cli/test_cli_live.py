from __future__ import annotations

import os

import pytest

from support.cli import Terminal
from wfctl.cli.live import Region
from wfctl.cli.render.text import Line
from wfctl.cli.screen import Screen


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
