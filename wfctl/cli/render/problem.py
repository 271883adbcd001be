"""Errors and warnings as the contract has them: at most three lines of text, or one line of JSON."""

from __future__ import annotations

import msgspec

from wfctl.cli.render.text import Line, clean
from wfctl.errors import WfctlError

MAX_LINES = 3


def error_lines(error: WfctlError) -> list[Line]:
    """`error[code]: what`, why, and last what to type. A message may bring its second line after a newline."""
    first, *more = error.message.split("\n")
    room = MAX_LINES - 1 - (error.hint is not None)
    lines: list[Line] = [[(f"error[{error.code}]", "bold red"), (f": {clean(first)}", "")]]
    lines += [[(f"  {clean(text.strip())}", "")] for text in more[:room]]
    if error.hint is not None:
        lines.append(_hint(error.hint))
    return lines


def _hint(hint: str) -> Line:
    # A hint is a command to type or a thing to do; only the former can be pasted.
    command = hint.startswith(("wfctl ", "pip ", "wfd "))
    return [("  try: " if command else "  hint: ", "dim"), (clean(hint), "bold" if command else "")]


def error_json(error: WfctlError) -> str:
    data = error.to_data()
    document = {
        "code": data.code,
        "message": data.message.replace("\n", "; "),
        "detail": data.detail,
        "hint": data.hint,
        "exit": data.exit,
    }
    return msgspec.json.encode({"error": document}, enc_hook=str).decode()


def warning_lines(code: str, message: str, hint: str | None = None) -> list[Line]:
    first, *more = message.split("\n")
    lines: list[Line] = [[(f"warning[{code}]", "bold yellow"), (f": {clean(first)}", "")]]
    lines += [[(f"  {clean(text.strip())}", "")] for text in more[: MAX_LINES - 1]]
    if hint:
        lines.append(_hint(hint))
    return lines
