"""The options that several commands share: those that every command has, and groups for commands that draw tables, take IDs...

They are declared once (`shared`), and put on the group, where they stand before the verb, and on each verb that takes them.
Each only notes its value in `Settings`; what a value means is decided where it is used, so that a wrong one is one error in one
format.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wfctl.errors import InvalidArgumentError

if TYPE_CHECKING:
    from wfctl.cli.render.times import Times


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    ID = "id"


# What a command module may name in its TAKES, beside what every command has. The names of the parameters of `shared`.
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


def _note(ctx: typer.Context, parameter: typer.CallbackParam, value: Any) -> Any:
    if value not in (None, False):
        setattr(ctx.ensure_object(Settings), str(parameter.name), value)
    return value


def _option(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, callback=_note, expose_value=False)


def shared(
    output: Annotated[
        str | None, _option("-o", "--output", metavar="table|json|jsonl|id", help="Output format (WFCTL_OUTPUT).")
    ] = None,
    quiet: Annotated[bool, _option("-q", "--quiet", help="No chatter on stderr; errors are still told.")] = False,
    color: Annotated[
        str | None, _option("--color", metavar="auto|always|never", help="Colour (NO_COLOR, FORCE_COLOR).")
    ] = None,
    project: Annotated[
        str | None, _option("--project", metavar="PATH", help="Project folder or its wfctl.toml (WFCTL_PROJECT).")
    ] = None,
    debug: Annotated[bool, _option("--debug", help="Show the traceback of an internal error (WFCTL_DEBUG).")] = False,
    exact: Annotated[bool, _option("--exact", help="Take IDs as they are, not as prefixes.")] = False,
    time: Annotated[
        str | None, _option("--time", metavar="relative|utc|local|unix", help="How times are shown.")
    ] = None,
    fields: Annotated[
        str | None, _option("--fields", metavar="a,b.c", help="These fields alone, by the names they have in JSON.")
    ] = None,
    no_header: Annotated[bool, _option("--no-header", help="Tables without their first line.")] = False,
    no_pager: Annotated[bool, _option("--no-pager", help="No pager (WFCTL_PAGER, PAGER).")] = False,
    reconnect: Annotated[
        str | None, _option("--reconnect", metavar="30s", help="Give up when the daemon is away for so long.")
    ] = None,
    exit_zero: Annotated[bool, _option("--exit-zero", help="Exit with 0 however the awaited run stands.")] = False,
    traceback: Annotated[bool, _option("--traceback", help="Of a failed run the whole traceback.")] = False,
) -> None:
    """Carries the options only; it is never called."""


@cache
def _declared() -> dict[str, Any]:
    """The declared options as parameters of a command, by name. They hold no state: the same serve every command."""
    app = typer.Typer(add_completion=False)
    app.command()(shared)
    return {str(parameter.name): parameter for parameter in typer.main.get_command(app).params}


def parameters(groups: Iterable[str]) -> list[Any]:
    """The options of these groups, and those that every command has."""
    names = dict.fromkeys([*(name for group in groups for name in GROUPS[group]), *EVERY])
    declared = _declared()
    return [declared[name] for name in names]


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
