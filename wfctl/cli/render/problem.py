"""Errors and warnings as the contract has them: one line of JSON, or at most three lines of text.

More only where several problems are told together.
"""

from __future__ import annotations

import re

import msgspec

from wfctl.cli.render.text import Line, clean
from wfctl.errors import WfctlError

MAX_LINES = 3
# What a person still reads of one word, and of one line; the JSON form has all of it.
MAX_WORD, MAX_LINE = 1_000, 4_000
_LONG_WORD = re.compile(rf"\S{{{MAX_WORD + 1},}}")


def error_lines(error: WfctlError) -> list[Line]:
    """`error[code]: what`, why, and last what to type. A message may bring its second line after a newline.

    Several problems of one input are told together, a line each; so none of theirs is left out. A value that is too long to be
    read loses its middle, and it is said how much of it.
    """
    first, *more = error.message.split("\n")
    room = max(MAX_LINES - 1 - (error.hint is not None), _problems(error))
    lines: list[Line] = [[(f"error[{error.code}]", "bold red"), (f": {_readable(first)}", "")]]
    lines += [[(f"  {_readable(text.strip())}", "")] for text in more[:room]]
    if error.hint is not None:
        lines.append(_hint(error.hint))
    return lines


def traceback_text(error: WfctlError) -> str:
    """The whole traceback of the workflow's failure that `error` tells of; empty where it tells of none."""
    failure = error.detail.get("error")
    text = failure.get("traceback") if isinstance(failure, dict) else None
    return indented(text) if isinstance(text, str) else ""


def indented(traceback: str) -> str:
    return "".join(f"  {clean(line)}\n" for line in traceback.splitlines())


def _problems(error: WfctlError) -> int:
    problems = error.detail.get("problems")
    return len(problems) if isinstance(problems, list) else 0


def one_line(message: str) -> str:
    """A message of several lines as one: a heading keeps its colon, what follows is separated by semicolons."""
    first, *more = (line.strip() for line in message.split("\n"))
    rest = "; ".join(line for line in more if line)
    return f"{first}{' ' if first.endswith(':') else '; '}{rest}" if rest else first


def _readable(text: str) -> str:
    shorter = _LONG_WORD.sub(lambda word: _without_middle(word[0], MAX_WORD), text)
    # Of what was shortened already nobody could say how much is missing.
    return clean(shorter if len(shorter) <= MAX_LINE else _without_middle(text, MAX_LINE))


def _without_middle(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    head, tail = most // 2, most // 4
    return f"{text[:head]} ... {len(text) - head - tail:,} more characters ... {text[-tail:]}"


def _hint(hint: str) -> Line:
    # A hint is a command to type or a thing to do; only the former can be pasted.
    command = hint.startswith(("wfctl ", "pip ", "wfd ", "kill ", "export ", "WFCTL_SOCKET="))
    return [("  try: " if command else "  hint: ", "dim"), (clean(hint), "bold" if command else "")]


def error_json(error: WfctlError) -> str:
    data = error.to_data()
    document = {
        "code": data.code,
        "message": one_line(data.message),
        "detail": data.detail,
        "hint": data.hint,
        "exit": data.exit,
    }
    return msgspec.json.encode({"error": document}, enc_hook=str).decode()


def warning_lines(code: str, message: str, hint: str | None = None) -> list[Line]:
    first, *more = message.split("\n")
    lines: list[Line] = [[(f"warning[{code}]", "bold yellow"), (f": {clean(first)}", "")]]
    lines += [[(f"  {clean(text.strip())}", "")] for text in more if text.strip()]
    if hint:
        lines.append(_hint(hint))
    return lines
