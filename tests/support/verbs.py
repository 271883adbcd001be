"""Every command with arguments that it takes, made of what its own parameters are called: a new one is in the tables by itself."""

from __future__ import annotations

import re
from typing import Any

from wfctl.cli.app import VERBS, load

# What the words in the help stand for here; `Hold` waits for `release` and answers `state`.
WORDS = {
    "TYPE": "Hold",
    "EVENT": "release",
    "FILE": "orders.backup",
    "ACTION": "install",
    "SHELL": "bash",
    "DIR": "new",
}


# Options that a command cannot do without, though each of them alone is left to choose.
NEEDED = {"purge": ["--older-than", "1ms", "--dry-run"]}


def parameters(verb: str) -> list[Any]:
    found: list[Any] = load(verb).params
    return found


def options(verb: str) -> dict[str, Any]:
    """The options of a command by each of their names."""
    return {
        name: one
        for one in parameters(verb)
        if one.param_type_name == "option"
        for name in (*one.opts, *one.secondary_opts)
    }


def word(parameter: Any) -> str:
    """What the help calls the value of a parameter: `ID` of `[ID]...`."""
    found = re.search(r"[A-Z]+", parameter.metavar or "")
    return found[0] if found else ""


def takes_id(verb: str) -> bool:
    return any(one.param_type_name == "argument" and word(one) == "ID" for one in parameters(verb))


def line(verb: str, id: str = "hold-1") -> list[str]:
    """The command with `id` and what else it cannot do without."""
    arguments = [one for one in parameters(verb) if one.param_type_name == "argument"]
    needed = [word(one) for one in arguments if one.required or word(one) == "ID"]
    return [verb, *(id if name == "ID" else WORDS[name] for name in needed), *NEEDED.get(verb, [])]


BY_ID = [verb for verb in VERBS if takes_id(verb)]
