"""Workflow IDs (the caller's) and run IDs (ours): what may stand in one, and how one is made."""

from __future__ import annotations

import random
import re
import unicodedata

from wfctl.errors import InvalidArgumentError

MAX_NAME_CHARS = 255
# What an ID would mean on a command line.
_TAKEN = {
    "workflow ID": {"-": "the IDs on stdin", "@last": "the run that was started last"},
    "schedule ID": {"-": "the IDs on stdin"},
}
_READABLE = "bcdfghjkmnpqrstvwxz23456789"  # no vowels: no words; no look-alikes


def check_name(value: str, what: str) -> str:
    """`value`, or InvalidArgumentError: a name is 1..255 characters, no control characters, no outer blanks."""
    if isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable() and " " not in value:
        return value  # as nearly all are; what follows finds out what is wrong, if anything is
    if not isinstance(value, str):
        raise _no_text(value, what)
    if not value:
        raise InvalidArgumentError(f"{what} is empty", hint=f"give one of 1 to {MAX_NAME_CHARS} characters")
    if len(value) > MAX_NAME_CHARS:
        raise InvalidArgumentError(
            f"{what} has {len(value)} characters; at most {MAX_NAME_CHARS} are allowed",
            hint="give a shorter one",
            value=value[:40] + "...",
        )
    for at, char in enumerate(value):
        # Cc: controls, Cs: lone surrogates (bytes of an argument that are not UTF-8), Zl/Zp: line breaks.
        if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp"):
            raise InvalidArgumentError(
                f"{what} {value!r} has a control character (U+{ord(char):04X}) at position {at + 1}",
                hint="use printable characters only",
                value=ascii(value),
            )
    if value != value.strip():
        raise InvalidArgumentError(
            f"{what} {value!r} starts or ends with a blank", hint=f"leave it out: {value.strip()}", value=value
        )
    return value


def _no_text(value: object, what: str) -> InvalidArgumentError:
    named = getattr(value, "workflow_type", None)  # of a Workflow, where its name is asked for
    meant = f" (did you mean {named!r}?)" if isinstance(named, str) else ""
    return InvalidArgumentError(f"{what} must be text, not {type(value).__name__}{meant}", value=repr(value)[:80])


def check_workflow_id(value: str) -> str:
    """A workflow ID a caller gave, or InvalidArgumentError."""
    return check_name(value, "workflow ID")


def check_new_id(value: str, what: str = "workflow ID") -> str:
    """The ID of a run or schedule that is to begin, or InvalidArgumentError: none that means something else on a command line.

    Those that there are keep theirs, so this is not for an ID that is looked up.
    """
    meaning = _TAKEN[what].get(check_name(value, what))
    if meaning is not None:
        raise InvalidArgumentError(
            f"{what} {value!r} could not be typed: on a command line it means {meaning}",
            hint="give another",
            value=value,
        )
    return value


def readable_id(workflow_type: str, rng: random.Random) -> str:
    """A workflow ID for a start without one: `order-k7m2qd`. 27**6 of them a type; the caller checks for a clash."""
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", workflow_type).lower()).strip("-")
    return f"{slug[:40] or 'run'}-{''.join(rng.choice(_READABLE) for _ in range(6))}"
