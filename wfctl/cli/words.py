"""What users type, where, and how it is shown back: statuses by name, IDs from stdin."""

from __future__ import annotations

from wfctl.cli.options import choose
from wfctl.cli.stdin import stdin_for
from wfctl.errors import UsageError
from wfctl.values.status import SETS, Status

MOST_OF_STDIN = 64 << 20  # the IDs of two million runs


def parse_statuses(given: list[str]) -> list[Status]:
    """`failed`, `failed,stuck`, `open`, `closed`, in any case; an unknown word lists the known ones."""
    chosen: set[Status] = set()
    for word in (part.strip() for text in given for part in text.split(",")):
        name = choose(word.lower().replace("-", "_"), [*Status, *SETS], "status")
        chosen |= SETS.get(name) or {Status(name)}
    return [status for status in Status if status in chosen]


def given_ids(ids: list[str], *, listed_by: str = "wfctl list -o id", or_none: bool = False) -> list[str]:
    """The IDs of a command line, `-` replaced by the lines of stdin, which the command `listed_by` prints; each once. Where that
    has printed none, UsageError unless there may be none."""
    out: list[str] = []
    for id in dict.fromkeys(ids):
        out += [line.strip() for line in _stdin(listed_by).splitlines() if line.strip()] if id == "-" else [id]
    if not out and not or_none:
        raise UsageError("no IDs were given on stdin", hint=listed_by)
    return list(dict.fromkeys(out))


def _stdin(listed_by: str) -> str:
    try:
        text = stdin_for("the IDs").read(MOST_OF_STDIN + 1)
        text.encode()  # some locales let bytes that are no text through
    except UnicodeError:
        raise UsageError("what stdin has is not UTF-8 text, so it names none", hint=listed_by) from None
    if len(text) > MOST_OF_STDIN:
        raise UsageError("stdin has no end where IDs were expected, or not in over 64 Mi characters", hint=listed_by)
    return text
