"""`wfctl check`: what open runs would meet in code that is not deployed yet."""

import os
from typing import Annotated

import typer

from wfctl.cli import exit
from wfctl.cli.options import Output
from wfctl.cli.render.check import check_lines, summary
from wfctl.cli.render.document import as_data
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import UsageError
from wfctl.protocol.code import CheckCode, CodeCheck

# Runs that a finding names, and with -o id.
SHOWN_IDS, ALL_IDS = 5, 1_000_000
EXAMPLES = """
  wfctl check
  wfctl check flows/orders.py
  wfctl check -q && git push
  wfctl check -o id
"""


def run(
    ctx: typer.Context,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="Python files to check instead of the modules of wfctl.toml."),
    ] = None,
) -> int:
    """Check code against the open runs before it is deployed.

    Tells which of them would become stuck, and whose steps would not repeat what they did. Nothing is changed. Exits with 9 when
    there is anything to tell.
    """
    shell = shell_of(ctx)
    paths = [_existing(file) for file in files or []]
    ids = ALL_IDS if shell.output is Output.ID else SHOWN_IDS
    # As long as it takes: who leaves ends it.
    answer: CodeCheck = shell.call(CheckCode(files=paths, ids=ids), timeout_s=None)
    _print(shell, answer)
    shell.note(summary(answer, person=shell.err.tty))
    return exit.PARTIAL if answer.problems or answer.findings else exit.OK


def _existing(file: str) -> str:
    path = os.path.abspath(file)
    if not os.path.isfile(path):
        what = "is a folder, not a file" if os.path.isdir(path) else "does not exist"
        raise UsageError(
            f"{file} {what}", hint="name Python files, or none to check the modules of wfctl.toml", file=file
        )
    return path


def _print(shell: Shell, answer: CodeCheck) -> None:
    if shell.output is Output.JSON:
        shell.document("check", answer)
    elif shell.output is Output.JSONL:
        for problem in answer.problems:
            shell.json_line({"kind": "problem", **as_data(problem)})
        for finding in answer.findings:
            shell.json_line(finding)
    elif shell.output is Output.ID:
        shell.print_ids(dict.fromkeys(id for finding in answer.findings for id in finding.ids))
    else:
        shell.out.prose(check_lines(answer, person=shell.out.tty))
