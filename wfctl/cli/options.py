"""The options that several commands share: those that every command has, and groups for commands that draw tables, take IDs...

They are declared once (`SHARED`), and put on the group, where they stand before the verb, and on each verb that takes them.
Each only notes its value in `Settings`; what a value means is decided where it is used, so that a wrong one is one error in one
format.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from wfctl.errors import InvalidArgumentError

if TYPE_CHECKING:
    import typer

    from wfctl.cli.render.times import Times


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    ID = "id"


# What a command module may name in its TAKES, beside what every command has. The names of `SHARED`.
EVERY = ("output", "quiet", "color", "project", "debug")
GROUPS: dict[str, tuple[str, ...]] = {
    "ids": ("exact",),
    "times": ("time",),
    "table": ("fields", "no_header"),
    "pager": ("no_pager",),
    "follow": ("reconnect",),
    "outcome": ("exit_zero",),
    "failure": ("traceback",),
}


class Settings:
    """What was asked for by flags. Later on the command line wins: `wfctl -o json list -o id` prints ids."""

    def __init__(self) -> None:
        self.output: str | None = None
        self.quiet = False
        self.color: str | None = None
        self.project: str | None = None
        self.debug = False
        self.exact = False
        self.time: str | None = None
        self.fields: str | None = None
        self.no_header = False
        self.no_pager = False
        self.reconnect: str | None = None
        self.exit_zero = False
        self.traceback = False

    def chosen_output(self) -> Output:
        """--output, else WFCTL_OUTPUT, else table; InvalidArgumentError for any other word."""
        if self.output is not None:
            return Output(choose(self.output, Output, "output format (--output)"))
        named = os.environ.get("WFCTL_OUTPUT")
        return Output(choose(named, Output, "output format (WFCTL_OUTPUT)")) if named else Output.TABLE

    def chosen_times(self) -> Times | None:
        """--time; None where it is not given."""
        if self.time is None:
            return None
        from wfctl.cli.render.times import Times

        return Times(choose(self.time, Times, "way to write times (--time)"))

    def debugging(self) -> bool:
        return self.debug or os.environ.get("WFCTL_DEBUG", "0") not in ("", "0")


def choose(value: str, allowed: Iterable[str], what: str) -> str:
    """`value` if it is one of `allowed`, else an InvalidArgumentError with the nearest match and the whole list."""
    words = [str(word) for word in allowed]
    if value in words:
        return value
    near = difflib.get_close_matches(value.lower(), words, n=1, cutoff=0.6)
    raise InvalidArgumentError(
        f"{value!r} is no {what}" + (f"; did you mean {near[0]!r}?" if near else ""),
        hint=f"use one of {', '.join(words)}",
        value=value,
        allowed=words,
    )


class Shared(NamedTuple):
    """How an option is written; without `metavar` it is a flag."""

    names: tuple[str, ...]
    help: str
    metavar: str | None = None


# By the name that `Settings` has for its value.
SHARED = {
    "output": Shared(("-o", "--output"), "Output format (WFCTL_OUTPUT).", "table|json|jsonl|id"),
    "quiet": Shared(("-q", "--quiet"), "No chatter on stderr; errors are still told."),
    "color": Shared(("--color",), "Colour (NO_COLOR, FORCE_COLOR).", "auto|always|never"),
    "project": Shared(("--project",), "Project folder or its wfctl.toml (WFCTL_PROJECT).", "PATH"),
    "debug": Shared(("--debug",), "Show the traceback of an internal error (WFCTL_DEBUG)."),
    "exact": Shared(("--exact",), "Take IDs as they are, not as prefixes."),
    "time": Shared(("--time",), "How times are shown.", "relative|utc|local|unix"),
    "fields": Shared(("--fields",), "These fields alone, by the names they have in JSON.", "a,b.c"),
    "no_header": Shared(("--no-header",), "Tables without their first line."),
    "no_pager": Shared(("--no-pager",), "No pager (WFCTL_PAGER, PAGER)."),
    "reconnect": Shared(("--reconnect",), "Give up when the daemon is away for so long.", "30s"),
    "exit_zero": Shared(("--exit-zero",), "Exit with 0 however the awaited run stands."),
    "traceback": Shared(("--traceback",), "Of a failed run the whole traceback."),
}


def _note(ctx: typer.Context, parameter: typer.CallbackParam, value: Any) -> Any:
    if value not in (None, False):
        setattr(ctx.ensure_object(Settings), str(parameter.name), value)
    return value


@cache
def _parameter(name: str) -> Any:
    """A shared option as the parameter of a command. It holds no state: the same serves every command.

    Made without a function for typer to look at: that takes three times as long, and every command has some.
    """
    from typer.core import TyperOption

    option = SHARED[name]
    flag = option.metavar is None
    return TyperOption(
        param_decls=[name, *option.names],
        help=option.help,
        metavar=option.metavar,
        is_flag=True if flag else None,
        type=None if flag else str,
        default=False if flag else None,
        show_default=True,
        callback=_note,
        expose_value=False,
    )


def parameters(groups: Iterable[str]) -> list[Any]:
    """The options of these groups, and those that every command has."""
    names = dict.fromkeys([*(name for group in groups for name in GROUPS[group]), *EVERY])
    return [_parameter(name) for name in names]


def all_parameters() -> list[Any]:
    """All of them, for the place before the verb."""
    return parameters(GROUPS)


def asked_output(arguments: list[str]) -> Output:
    """The output format of a command line that could not be parsed, for the error about it."""
    settings = Settings()
    for index, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument in ("-o", "--output"):
            settings.output = arguments[index + 1] if index + 1 < len(arguments) else None
        elif argument.startswith("--output="):
            settings.output = argument.removeprefix("--output=")
        elif argument.startswith("-o") and len(argument) > 2:
            settings.output = argument[2:].removeprefix("=")
    try:
        return settings.chosen_output()
    except InvalidArgumentError:
        return Output.TABLE
