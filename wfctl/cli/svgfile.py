"""`--svg FILE`: a picture into a file, and what is said about it; with `-` on stdout."""

from __future__ import annotations

import codecs

from wfctl.cli import exit
from wfctl.cli.files import write_new
from wfctl.cli.options import Output
from wfctl.cli.render.text import write_for
from wfctl.cli.shell import Shell
from wfctl.errors import UsageError

STDOUT = "-"


def begin(shell: Shell, file: str | None, *, force: bool) -> None:
    """Refuse what contradicts itself, before anybody is asked for what is to be drawn; and draw for a picture, where it is one."""
    if force and file in (None, STDOUT):
        raise UsageError("--force is for the file of --svg", hint="add --svg FILE")
    if file == STDOUT and shell.output is not Output.TABLE:
        raise UsageError(
            "--svg - writes the picture itself to stdout: without --output (WFCTL_OUTPUT)",
            hint="leave it out, or name a file",
        )
    if file is not None:
        # Its text is UTF-8, whatever the terminal can write.
        write_for("utf-8", ascii=False)


def save(shell: Shell, file: str, svg: str, *, force: bool, id: str) -> int:
    """Write `svg`, and print the path; with `-o id` what it is a picture of."""
    if file == STDOUT:
        shell.out.stream.write(_readable(svg, shell.out.stream.encoding))
        return exit.OK
    path = str(write_new(file, svg, force=force))
    if shell.json:
        shell.document("svg", {"path": path})
    else:
        shell.out.write(id if shell.output is Output.ID else path)
        shell.out.flush()
        shell.note(f"wrote {path}")
    return exit.OK


def _readable(svg: str, encoding: str | None) -> str:
    """The picture, which says that it is UTF-8, for a stream of that encoding: of ASCII alone where it is another."""
    if codecs.lookup(encoding or "ascii").name == "utf-8":
        return svg
    return svg.encode("ascii", "xmlcharrefreplace").decode()
