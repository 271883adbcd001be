"""`wfctl explain`: the long form of a code or an exit status."""

import difflib
from typing import Annotated, Any

import typer

from wfctl.cli import exit
from wfctl.cli.explanations import ERRORS, WARNINGS, Explanation
from wfctl.cli.options import Output
from wfctl.cli.render.table import Cell, Column, table
from wfctl.cli.render.text import Line
from wfctl.cli.shell import Shell, shell_of
from wfctl.cli.statuses import EXITS
from wfctl.errors import BY_CODE, NotFoundError

EXAMPLES = """
  wfctl explain daemon_down
  wfctl explain 13
  wfctl explain
"""
TAKES = ("table",)
_FACTS = ("code", "kind", "exit", "meaning", "causes", "remedies")
_EXIT_FACTS = ("exit", "name", "meaning", "codes")
_COLUMNS = [Column("CODE"), Column("KIND", priority=2), Column("EXIT", right=True), Column("MEANING", priority=1)]


def run(
    ctx: typer.Context,
    code: Annotated[
        str | None,
        typer.Argument(metavar="[CODE]", help="Code in the brackets of an error or warning, or exit status."),
    ] = None,
) -> int:
    """Explain an error, a warning or an exit status.

    What it means, why it is usually seen, and what to do. Without CODE it lists all of them.
    """
    shell = shell_of(ctx)
    shell.choose_fields(_EXIT_FACTS if code is not None and code.isdecimal() else _FACTS)
    if code is None:
        _list(shell)
    elif code.isdecimal():
        _exit_status(shell, code)
    else:
        _code(shell, code)
    return exit.OK


def _items() -> list[dict[str, Any]]:
    """Every code, errors by exit status, then warnings."""
    errors = sorted(ERRORS, key=lambda code: BY_CODE[code].exit_status)
    return [*(_facts(code, "error", ERRORS[code]) for code in errors)] + [
        _facts(code, "warning", found) for code, found in WARNINGS.items()
    ]


def _facts(code: str, kind: str, found: Explanation) -> dict[str, Any]:
    return {
        "code": code,
        "kind": kind,
        "exit": BY_CODE[code].exit_status if kind == "error" else None,
        "meaning": found.meaning,
        "causes": list(found.causes),
        "remedies": list(found.remedies),
    }


def _list(shell: Shell) -> None:
    items = _items()
    if shell.output is Output.JSON:
        shell.listing("explanations", items, total=len(items))
    elif shell.output is Output.JSONL:
        for item in items:
            shell.json_line(item)
    elif shell.output is Output.ID:
        shell.print_ids(item["code"] for item in items)
    else:
        rows = [
            [Cell(item["code"]), Cell(item["kind"]), Cell(_status(item["exit"])), Cell(item["meaning"])]
            for item in items
        ]
        shell.table(items, lambda width: table(_COLUMNS, rows, width=width))


def _status(number: int | None) -> str:
    return "" if number is None else str(number)


def _code(shell: Shell, given: str) -> None:
    # As it stands in a message, brackets and all, it may be pasted.
    code = given.strip("[]").removeprefix("error[").removeprefix("warning[").replace("-", "_").lower()
    found = ERRORS.get(code) or WARNINGS.get(code)
    if found is None:
        raise _unknown(given, code)
    facts = _facts(code, "error" if code in ERRORS else "warning", found)
    if shell.json:
        shell.one("explanation", facts)
    elif shell.fields is not None and shell.output is Output.TABLE:
        shell.table([facts], lambda _: [])
    elif shell.output is Output.ID:
        shell.out.write(code)
    else:
        style = "bold red" if facts["kind"] == "error" else "bold yellow"
        status = "" if facts["exit"] is None else f"  exit status {facts['exit']}"
        shell.out.prose(
            [
                [(f"{facts['kind']}[{code}]", style), (status, "dim")],
                [(f"  {found.meaning}", "")],
                *_part("Usual causes", found.causes),
                *_part("What to do", found.remedies),
            ]
        )


def _part(title: str, lines: tuple[str, ...]) -> list[Line]:
    return [[("", "")], [(title, "bold")], *([(f"  - {line}", "")] for line in lines)]


def _exit_status(shell: Shell, given: str) -> None:
    status = int(given)
    if status not in EXITS:
        raise _unknown(given, given)
    name, meaning = EXITS[status]
    codes = [item["code"] for item in _items() if item["exit"] == status]
    facts = {"exit": status, "name": name, "meaning": meaning, "codes": codes}
    if shell.json:
        shell.one("exit_status", facts)
    elif shell.fields is not None and shell.output is Output.TABLE:
        shell.table([facts], lambda _: [])
    elif shell.output is Output.ID:
        shell.print_ids(codes)
    else:
        shell.out.prose([[(f"exit status {status}", "bold"), (f"  {name}", "dim")], [(f"  {meaning}", "")]])
        if codes:
            shell.out.prose(
                _part("Errors that end with it", tuple(f"{code}: {ERRORS[code].meaning}" for code in codes))
            )


def _unknown(given: str, code: str) -> NotFoundError:
    known = [*ERRORS, *WARNINGS]
    near = difflib.get_close_matches(code, known, n=1, cutoff=0.6)
    return NotFoundError(
        f"there is no code {given!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        hint=f"wfctl explain {near[0]}" if near else "wfctl explain",
        code=given,
        known=known,
    )
