"""How `--help` is laid out: as typer does it, also on terminals that are narrower than that knows of."""

import re
import shutil
from collections.abc import Sequence
from typing import Any

import typer

WIDEST, LEAST = 100, 20
# So many columns at least stay for what is said about a command or an option, or it stands below its name.
LEAST_TEXT = 20
BELOW = 4

# A public name of typer's leads to it.
_Formatter: type[Any] = typer.Context.formatter_class


class Formatter(_Formatter):  # type: ignore[misc]
    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        room = self.width - len(f"Usage: {prog} ")
        super().write_usage(prog, " ".join(_parted(word, room, " ") for word in args.split(" ")), prefix)

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        rows = [*rows]
        beside = min(max((len(term) for term, _ in rows), default=0), col_max) + col_spacing
        if self.width - beside - self.current_indent < LEAST_TEXT:
            col_max = BELOW
        room, below = self.width - self.current_indent, "\n" + " " * (self.current_indent + BELOW)
        super().write_dl([(_parted(term, room, below), text) for term, text in rows], col_max, col_spacing)

    def write_text(self, text: str) -> None:
        """What stands as it is written is broken where two blanks or more separate a note."""
        room = self.width - self.current_indent
        if text.startswith("\b"):
            text = "\n".join(
                re.sub(r"(?<=\S) {2,}", "\n      ", line) if len(line) > room else line for line in text.split("\n")
            )
        super().write_text(text)


def _parted(word: str, room: int, at: str) -> str:
    """A word that has no room, parted between its alternatives."""
    return word if len(word) <= room else word.replace("|", f"|{at}")


def help_of(command: Any, ctx: typer.Context) -> str:
    """The text for a terminal as wide as this one."""
    columns = shutil.get_terminal_size().columns
    formatter = Formatter(width=max(min(columns, WIDEST) - 2, LEAST))
    command.format_help(ctx, formatter)
    return str(formatter.getvalue()).rstrip("\n")
