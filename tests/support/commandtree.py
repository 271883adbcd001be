"""What completion knows of the command line: every command with what it takes, as one JSON file beside the scripts of the shells.

It is made from the commands themselves (`make completions`), so that a tab need not load them, nor the parser that they are
written for; a test compares the two.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from support.source import ROOT
from wfctl.cli.app import VERBS, ActionGroup, build, load
from wfctl.cli.complete import TREE
from wfctl.cli.options import SHARED

FILE = ROOT / "wfctl" / "cli" / "completions" / TREE


def text() -> bytes:
    """The file's content; a line a command, so that a change is one that can be read."""
    shared = {one.name: _parameter(one) for one in build().params if one.name in SHARED}
    lines = [f'"{verb}": {json.dumps(_command(load(verb), help))}' for verb, help in VERBS.items()]
    head = json.dumps({"params": _own(build()), "takes": [*SHARED], "shared": shared}).removesuffix("}")
    return "\n".join([f'{head}, "actions": {{', ",\n".join(lines), "}}\n"]).encode()


def _command(command: Any, help: str) -> dict[str, Any]:
    actions = {}
    if isinstance(command, ActionGroup):
        actions = {name: _command(command.find(name), told) for name, told in command.verbs.items()}
    takes = [name for name in SHARED if any(_is_shared(one, name) for one in command.params)]
    found = {"help": help, "params": _own(command), "takes": takes, "actions": actions}
    return {name: value for name, value in found.items() if value}


def _own(command: Any) -> list[dict[str, Any]]:
    return [_parameter(one) for one in command.params if not any(_is_shared(one, name) for name in SHARED)]


def _is_shared(parameter: Any, name: str) -> bool:
    return bool(parameter.name == name and tuple(parameter.opts) == SHARED[name].names)


def _parameter(parameter: Any) -> dict[str, Any]:
    found = {"metavar": parameter.metavar, "many": parameter.nargs == -1}
    if parameter.param_type_name == "option":
        found |= {
            "names": parameter.opts, "help": parameter.help, "flag": parameter.is_flag, "off": parameter.secondary_opts,
        }  # fmt: skip
    return {name: value for name, value in found.items() if value}


if __name__ == "__main__":
    content = text()
    if not FILE.exists() or FILE.read_bytes() != content:
        FILE.write_bytes(content)
        sys.stdout.write(f"wrote {FILE.relative_to(ROOT)}\n")
