"""`wfctl completion`: the script that lets a shell complete wfctl, printed or put where the shell looks for it."""

import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from wfctl.cli import exit
from wfctl.cli.complete import SHELLS
from wfctl.cli.options import Output, choose
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import ConflictError, UsageError
from wfctl.values.causes import cannot

EXAMPLES = """
  wfctl completion install
  wfctl completion install zsh
  source <(wfctl completion bash)
"""
_MARK = "# wfctl completion for "


class Place(NamedTuple):
    """Where a shell looks for completions: below which folder of the user's, and what has to be so that it looks."""

    variable: str
    fallback: str
    file: str
    next: str


PLACES = {
    "bash": Place(
        "XDG_DATA_HOME",
        "~/.local/share",
        "bash-completion/completions/wfctl",
        "new shells have it where bash-completion is installed; elsewhere add to ~/.bashrc: source {path}",
    ),
    "zsh": Place(
        "XDG_DATA_HOME",
        "~/.local/share",
        "zsh/site-functions/_wfctl",
        "add to ~/.zshrc, before compinit: fpath=({folder} $fpath)",
    ),
    "fish": Place("XDG_CONFIG_HOME", "~/.config", "fish/completions/wfctl.fish", "new shells have it"),
}


def run(
    ctx: typer.Context,
    what: Annotated[
        str | None,
        typer.Argument(metavar="[SHELL|install]", help="Print the script for bash, zsh or fish, or install it."),
    ] = None,
    named: Annotated[
        str | None, typer.Argument(metavar="[SHELL]", help="With install: for this shell (default: yours).")
    ] = None,
) -> int:
    """Complete wfctl in your shell.

    Commands, options, statuses, and from the running daemon the IDs of runs, workflow types, events, queries and parameters.
    Without SHELL it is the one that SHELL in the environment names.
    """
    shell = shell_of(ctx)
    if what == "install":
        return _install(shell, _chosen(named))
    if named is not None:
        raise UsageError(f"{what!r} and {named!r} are two shells", hint="wfctl completion install SHELL")
    name = _chosen(what)
    if shell.json:
        shell.document("completion", {"shell": name, "path": None, "changed": False, "script": _script(name)})
    elif shell.output is Output.ID:
        shell.out.write(name)
    else:
        shell.out.stream.write(_script(name))
    return exit.OK


def _chosen(given: str | None) -> str:
    if given is not None:
        return choose(given, SHELLS, "shell that can be completed for")
    name = os.path.basename(os.environ.get("SHELL", ""))
    if name not in SHELLS:
        seen = f"SHELL names {name!r}" if name else "SHELL is not set"
        raise UsageError(f"which shell is yours? {seen}", hint=f"name one of {', '.join(SHELLS)}")
    return name


def _script(name: str) -> str:
    return files("wfctl.cli").joinpath("completions", name).read_text(encoding="utf-8")


def _folder(variable: str, fallback: str) -> Path:
    given = {"XDG_DATA_HOME": os.environ.get("XDG_DATA_HOME"), "XDG_CONFIG_HOME": os.environ.get("XDG_CONFIG_HOME")}
    # The specification has relative ones ignored.
    named = given[variable]
    return Path(named) if named and os.path.isabs(named) else Path(os.path.expanduser(fallback))


def _install(shell: Shell, name: str) -> int:
    place = PLACES[name]
    path = _folder(place.variable, place.fallback) / place.file
    changed = _write(path, _script(name))
    if shell.json:
        shell.document("completion", {"shell": name, "path": str(path), "changed": changed, "script": _script(name)})
        return exit.OK
    shell.out.write(str(path))
    shell.out.flush()
    shell.note(f"{'installed' if changed else 'is there already:'} completion for {name}")
    shell.note(place.next.format(path=path, folder=path.parent))
    return exit.OK


def _write(path: Path, script: str) -> bool:
    """Whether the file had to be written. One that is not of wfctl is left as it is."""
    try:
        try:
            there = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            there = None
        if there == script:
            return False
        if there is not None and _MARK not in there:
            raise ConflictError(f"{path} is not a completion of wfctl's", hint="move it away", path=str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(script, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise cannot("write", path, error, otherwise="without a file: source <(wfctl completion SHELL)") from None
    return True
