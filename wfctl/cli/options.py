"""The options every command has, before the verb and after it: output format, quiet, colour, project.

They are declared once (`shared`) and put on the group and on each verb. Each only notes its value in `Settings`; what a value
means is decided where it is used, so that a wrong one is one error in one format.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import cache
from typing import Annotated, Any

import typer

from wfctl.errors import InvalidArgumentError


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    ID = "id"


class Settings:
    """What was asked for by flags. Later on the command line wins: `wfctl -o json list -o id` prints ids."""

    def __init__(self) -> None:
        self.output: str | None = None
        self.quiet = False
        self.color: str | None = None
        self.project: str | None = None

    def chosen_output(self) -> Output:
        """--output, else WFCTL_OUTPUT, else table; InvalidArgumentError for any other word."""
        if self.output is not None:
            return Output(choose(self.output, Output, "output format (--output)"))
        named = os.environ.get("WFCTL_OUTPUT")
        return Output(choose(named, Output, "output format (WFCTL_OUTPUT)")) if named else Output.TABLE


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


def _note(name: str) -> Callable[[typer.Context, Any], Any]:
    def callback(ctx: typer.Context, value: Any) -> Any:
        if value not in (None, False):
            setattr(ctx.ensure_object(Settings), name, value)
        return value

    return callback


def shared(
    output: Annotated[
        str | None,
        typer.Option(
            "-o", "--output", metavar="table|json|jsonl|id", help="Output format (WFCTL_OUTPUT).",
            callback=_note("output"), expose_value=False,
        ),
    ] = None,
    quiet: Annotated[
        bool,
        typer.Option(
            "-q", "--quiet", help="No chatter on stderr; errors are still told.", callback=_note("quiet"), expose_value=False
        ),
    ] = False,
    color: Annotated[
        str | None,
        typer.Option(
            "--color", metavar="auto|always|never", help="Colour (NO_COLOR, FORCE_COLOR).",
            callback=_note("color"), expose_value=False,
        ),
    ] = None,
    project: Annotated[
        str | None,
        typer.Option(
            "--project", metavar="PATH", help="Project folder or its wfctl.toml (WFCTL_PROJECT).",
            callback=_note("project"), expose_value=False,
        ),
    ] = None,
) -> None:  # fmt: skip
    """Carries the options only; it is never called."""


@cache
def shared_parameters() -> tuple[Any, ...]:
    """The declared options as parameters of a command. They hold no state: the same serve every command."""
    app = typer.Typer(add_completion=False)
    app.command()(shared)
    command = typer.main.get_command(app)
    return tuple(command.params)


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
