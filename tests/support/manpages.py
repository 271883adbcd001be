"""The manual pages as data: sections, lists and literal blocks of mdoc(7) source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from support.source import ROOT

FOLDER = ROOT / "man"
_ESCAPES = {r"\(dq": '"', r"\-": "-", r"\e": "\\", r"\&": ""}


class Item(NamedTuple):
    """One `.It` of a list: the rest of its line, and the lines up to the next."""

    head: str
    body: list[str]


class Page:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines = file.read_text(encoding="utf-8").splitlines()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def sections(self) -> list[str]:
        return [line[4:] for line in self.lines if line.startswith(".Sh ")]

    def section(self, name: str) -> list[str]:
        """The lines of section `name`, without its heading."""
        return dict(_split(self.lines, ".Sh "))[name]

    def subsections(self, section: str) -> dict[str, list[str]]:
        return dict(_split(self.section(section), ".Ss "))

    def literals(self) -> list[str]:
        """The text of each literal block, as a reader sees it."""
        blocks, inside = [], False
        for line in self.lines:
            if line.startswith(".Bd -literal"):
                blocks.append("")
                inside = True
            elif line == ".Ed":
                inside = False
            elif inside:
                blocks[-1] += plain(line) + "\n"
        return blocks

    def prose(self) -> str:
        """The words without macros, on one line."""
        words = (
            re.sub(r"^\.[A-Z][a-z]\s*|\b(?:Cm|Ar|Fl|Va|Fn|Vt|Nm|Pa|Dv|Ic|Li|Ql) ", "", line) for line in self.lines
        )
        return re.sub(r"\s+", " ", plain(" ".join(words)))


def page(name: str) -> Page:
    return Page(FOLDER / name)


def pages() -> list[Page]:
    return [Page(file) for file in sorted(FOLDER.glob("*.[0-9]"))]


def items(lines: list[str]) -> list[Item]:
    """The entries of the outermost lists in `lines`."""
    found: list[Item] = []
    depth = 0
    for line in lines:
        if line.startswith(".Bl "):
            depth += 1
        elif line == ".El":
            depth -= 1
        elif line.startswith(".It") and depth == 1:
            found.append(Item(line[3:].strip(), []))
            continue
        if found and depth:
            found[-1].body.append(line)
    return found


def flags(head: str) -> list[str]:
    """`-F` and `--foreground` of `Fl F , Fl -foreground`."""
    return [f"-{plain(name)}" for name in re.findall(r"\bFl (\S+)", head)]


def plain(text: str) -> str:
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text


def _split(lines: list[str], macro: str) -> list[tuple[str, list[str]]]:
    parts: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.startswith(macro):
            parts.append((line[len(macro) :], []))
        elif parts:
            parts[-1][1].append(line)
    return parts
