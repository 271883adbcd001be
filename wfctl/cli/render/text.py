"""Lines of styled text, and fitting text into columns: the smallest parts everything drawn is made of.

A line is a list of (text, rich style) spans and knows its width in terminal cells. What came from a user never reaches a terminal
with its control characters in force (`clean`). What can be shown there is one choice a command line (`write_for`), as a locale is
one choice a process.
"""

from __future__ import annotations

import re
import unicodedata

_HIDDEN = ("Cc", "Cs", "Cf")
_JOINERS = "\u200c\u200d"
SHORT_ID = 24  # cells: an ID that stands beside other things is cut in its middle beyond

Span = tuple[str, str]
Line = list[Span]
_narrow_encoding: str | None = None  # of what cannot write everything
_ellipsis = "…"


def write_for(encoding: str, *, ascii: bool) -> None:
    """Lines are for a stream of this encoding from here on: what it cannot write takes the cells of what is written instead. With
    `ascii` what is left out is marked with dots."""
    global _narrow_encoding, _ellipsis
    _narrow_encoding = encoding if ascii and not encoding.lower().replace("-", "").startswith("utf") else None
    _ellipsis = "..." if ascii else "…"


def plain(line: Line) -> str:
    return "".join(text for text, _ in line)


def clean(text: str) -> str:
    """`text` on one line, with control characters and lone surrogates spelled out. Joiners are part of words and signs, and an ID
    that has them is to be copied as it is."""
    if text.isascii() and text.isprintable():
        return text
    text = "".join(
        " "
        if char in "\n\t"
        else _spelled(char)
        if unicodedata.category(char) in _HIDDEN and char not in _JOINERS
        else char
        for char in text
    )
    return text if _narrow_encoding is None else _written(text, _narrow_encoding)


def _written(text: str, encoding: str) -> str:
    """`text` as a stream of that encoding shows it."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.replace("…", "...").encode(encoding, "backslashreplace").decode(encoding)
    return text


def _spelled(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode()


def cells(text: str) -> int:
    """How many terminal cells `text` takes."""
    if text.isascii():
        return len(text)
    return sum(_cell(char) for char in text)


def _cell(char: str) -> int:
    if char in _JOINERS or unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def line_cells(line: Line) -> int:
    return sum(cells(text) for text, _ in line)


def _head(text: str, width: int) -> str:
    if text.isascii():
        return text[:width]
    out, used = [], 0
    for char in text:
        used += _cell(char)
        if used > width:
            break
        out.append(char)
    return "".join(out)


def cut(text: str, width: int, ellipsis: str | None = None) -> str:
    """`text` cut at its end to at most `width` cells."""
    ellipsis = _ellipsis if ellipsis is None else ellipsis
    if cells(text) <= width:
        return text
    if width <= cells(ellipsis):
        return _head(text, max(width, 0))
    return _head(text, width - cells(ellipsis)).rstrip() + ellipsis


def cut_middle(text: str, width: int, ellipsis: str | None = None) -> str:
    """`text` cut in its middle: of an error or an ID, both ends tell something."""
    ellipsis = _ellipsis if ellipsis is None else ellipsis
    if cells(text) <= width:
        return text
    room = width - cells(ellipsis)
    if room < 4:
        return cut(text, width, ellipsis)
    tail = _head(text[::-1], room // 3)[::-1]
    return _head(text, room - cells(tail)) + ellipsis + tail


def clip(line: Line, width: int) -> Line:
    """`line` cut at its end to at most `width` cells."""
    out: Line = []
    left = width
    for text, style in line:
        if left <= 0:
            break
        shown = cut(text, left)
        out.append((shown, style))
        left -= cells(shown)
        if shown != text:
            break
    return out


def wrap(line: Line, width: int, indent: int = 4) -> list[Line]:
    """`line` on as many lines as it needs in `width` cells, broken at blanks; a word that is longer stays whole."""
    if line_cells(line) <= width:
        return [line]
    out: list[Line] = [[]]
    used, blank = 0, True
    for text, style in line:
        for word in re.findall(r"\s*\S+|\s+$", text):
            # What begins a span without a blank goes on with the word before, which has another style.
            apart, blank = blank or word[0].isspace(), word[-1].isspace()
            if used + cells(word) > width and used > indent and apart:
                out.append([(" " * indent, "")])
                used, word = indent, word.lstrip()
            out[-1].append((word, style))
            used += cells(word)
    return out


def pad(text: str, width: int) -> str:
    return text + " " * max(width - cells(text), 0)


def pad_left(text: str, width: int) -> str:
    return " " * max(width - cells(text), 0) + text


def count(number: int, *, grouped: bool) -> str:
    """Thousands are separated for people only, never where a program may read."""
    return f"{number:,}" if grouped else str(number)


def counted(number: int, noun: str, *, grouped: bool = True, plural: str = "") -> str:
    """`1 child`, `2,003 children`."""
    return f"{count(number, grouped=grouped)} {noun if number == 1 else plural or noun + 's'}"
