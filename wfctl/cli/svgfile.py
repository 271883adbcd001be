"""`--svg FILE`: a picture into a file, and what is said about it."""

from __future__ import annotations

from wfctl.cli import exit
from wfctl.cli.files import write_new
from wfctl.cli.options import Output
from wfctl.cli.shell import Shell


def save(shell: Shell, file: str, svg: str, *, force: bool, id: str) -> int:
    """Write `svg`, and print the path; with `-o id` what it is a picture of."""
    path = str(write_new(file, svg, force=force))
    if shell.json:
        shell.document("svg", {"path": path})
    else:
        shell.out.write(id if shell.output is Output.ID else path)
        shell.out.flush()
        shell.note(f"wrote {path}")
    return exit.OK
