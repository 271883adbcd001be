"""Checks as lines for people, and as a table for programs."""

from __future__ import annotations

from typing import NamedTuple

from wfctl.cli.render.table import Cell, Column, table
from wfctl.cli.render.text import Line, clean, counted, pad
from wfctl.protocol.care import Check


class _Sign(NamedTuple):
    glyph: str
    ascii: str
    style: str


_SIGNS = {"ok": _Sign("✓", "+", "green"), "warn": _Sign("!", "!", "yellow"), "fail": _Sign("✗", "x", "bold red")}
_COLUMNS = [Column("CHECK"), Column("STATUS"), Column("MESSAGE"), Column("REMEDY")]


def check_lines(checks: list[Check], *, ascii: bool) -> list[Line]:
    width = max((len(check.code) for check in checks), default=0)
    lines: list[Line] = []
    for check in checks:
        sign = _SIGNS[check.status]
        mark = sign.ascii if ascii else sign.glyph
        lines.append([(f"{mark} {pad(check.code, width)}", sign.style), (f"  {clean(check.message)}", "")])
        if check.remedy is not None:
            # A remedy is a command to type or a thing to do, as a hint is.
            word = "try" if check.remedy.startswith(("wfctl ", "chmod ", "/")) else "hint"
            lines.append([(f"    {word}: ", "dim"), (clean(check.remedy), "bold")])
    return lines


def check_table(checks: list[Check]) -> list[Line]:
    rows = [[Cell(one.code), Cell(one.status), Cell(one.message), Cell(one.remedy or "")] for one in checks]
    return table(_COLUMNS, rows, width=None)


def summary(checks: list[Check]) -> str:
    warned, failed = (sum(one.status == status for one in checks) for status in ("warn", "fail"))
    said = [f"{counted(len(checks), 'check')}: {len(checks) - warned - failed} ok"]
    said += [counted(warned, "warning")] if warned else []
    said += [f"{failed} failed"] if failed else []
    fixed = sum(one.fixed for one in checks)
    return ", ".join(said) + (f"; {fixed} mended" if fixed else "")
