"""`wfctl service`: the project's daemon as a unit of the user's systemd, so that it is up whenever the machine is."""

import os
import re
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from wfctl.cli import exit
from wfctl.cli.daemon import probe
from wfctl.cli.options import Output, choose
from wfctl.cli.shell import Shell, shell_of
from wfctl.errors import ConflictError, NotFinishedError, UsageError
from wfctl.values.causes import cannot
from wfctl.values.commands import quoted
from wfctl.values.project import real_config, socket_path

EXAMPLES = """
  wfctl service install
  wfctl service install --print
  wfctl service uninstall
"""
_ACTIONS = ("install", "uninstall")
_MARK = "# wfctl service for "
_SYSTEMCTL_S = 60.0
# What can be done where the action cannot.
_INSTALL_ALONE = "wfctl service install --no-now"
_UNINSTALL_ALONE = "wfctl service uninstall --no-now"
_BY_HAND = "put it there yourself: wfctl service install --print"


def run(
    ctx: typer.Context,
    action: Annotated[str, typer.Argument(metavar="ACTION", help="install or uninstall.")],
    print_: Annotated[bool, typer.Option("--print", help="Print the unit instead of installing it.")] = False,
    now: Annotated[
        bool,
        typer.Option("--now/--no-now", help="Start it at once (stop it, with uninstall), or change the files alone."),
    ] = True,
) -> int:
    """Run the daemon as a service.

    A unit of your own systemd: up when you log in, up again when the daemon dies, without rights it does not need.
    """
    shell = shell_of(ctx)
    choose(action, _ACTIONS, "action")
    path = _folder() / _name(shell.config)
    if print_ and action != "install":
        raise UsageError("--print shows what install writes", hint="wfctl service install --print")
    if action == "uninstall":
        return _uninstall(shell, path, now=now)
    unit = _unit(shell)
    if print_:
        _print(shell, path, unit)
        return exit.OK
    return _install(shell, path, unit, now=now)


def _name(config: Path) -> str:
    """One unit a project: two projects of one name differ in what follows it."""
    import hashlib

    project = re.sub(r"[^A-Za-z0-9_]+", "-", config.parent.name).strip("-")[:24] or "root"
    digest = hashlib.sha256(real_config(config).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    return f"wfctl-{project}-{digest}.service"


def _folder() -> Path:
    named = os.environ.get("XDG_CONFIG_HOME")
    base = Path(named) if named and os.path.isabs(named) else Path(os.path.expanduser("~/.config"))
    return base / "systemd" / "user"


def _unit(shell: Shell) -> str:
    config = shell.config
    # The socket that commands look for here, whatever the service's own environment would say.
    socket = socket_path(config)
    text = files("wfctl.cli").joinpath("units", "wfctl.service").read_text(encoding="utf-8")
    # Where it may write even if that lies in the part of the system that is read-only to it. What is not there yet is no
    # error (the dash).
    writable = {str(config.parent), str(shell.state), str(socket.parent)}
    values = {
        "project": _escaped(str(config.parent)),
        "python": _argument(sys.executable).replace("$", "$$"),
        "config": _argument(str(config)).replace("$", "$$"),
        "folder": _escaped(str(config.parent)),
        "socket": _argument(f"WFCTL_SOCKET={socket}"),
        "writable": " ".join(_argument(f"-{place}") for place in sorted(writable)),
    }
    return re.sub(r"@(\w+)@", lambda found: values[found[1]], text)


def _escaped(text: str) -> str:
    """`text` as one value of a unit: `%` is systemd's own."""
    if any(ord(char) < 32 for char in text):
        raise UsageError(
            f"{text!r} cannot stand in a unit", hint="use folders without control characters in their names"
        )
    return text.replace("%", "%%")


def _argument(text: str) -> str:
    """The same as one word among others."""
    escaped = _escaped(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _print(shell: Shell, path: Path, unit: str) -> None:
    if shell.json:
        shell.document("service", {"unit": path.name, "path": str(path), "changed": False, "text": unit})
    elif shell.output is Output.ID:
        shell.out.write(path.name)
    else:
        shell.out.stream.write(unit)


def _install(shell: Shell, path: Path, unit: str, *, now: bool) -> int:
    if now:
        _need_systemctl("wfctl service install --print, for another service manager; or wfctl up")
        _check_free(shell, path)
    changed = _write(path, unit)
    if now:
        # A daemon that runs by what the unit said before lets its steps finish, and starts again.
        begin = "restart" if changed else "start"
        for words in (("daemon-reload",), ("enable", path.name), (begin, path.name)):
            _systemctl(*words, otherwise=_INSTALL_ALONE)
    _tell(shell, path, changed=changed, done="installed" if changed else "is there already:")
    if shell.output is Output.TABLE:
        start = f"start it: systemctl --user daemon-reload && systemctl --user enable --now {path.name}"
        shell.note(f"see it: systemctl --user status {path.name}" if now else start)
        shell.note("to have it up without you logged in: loginctl enable-linger")
    return exit.OK


def _check_free(shell: Shell, path: Path) -> None:
    """A daemon that somebody started by hand would keep the unit's from starting."""
    if _call("is-active", "--quiet", path.name).returncode == 0:
        return
    view = probe(shell)
    if view is not None:
        raise ConflictError(
            f"a daemon is up already that is not this service's (pid {view.pid})",
            hint="wfctl down && wfctl service install",
            pid=view.pid,
        )


def _uninstall(shell: Shell, path: Path, *, now: bool) -> int:
    there = _read(path)
    if there is None:
        _tell(shell, path, changed=False, done="was not there:")
        return exit.OK
    _check_ours(path, there, "remove it yourself, if nothing needs it")
    if now:
        _need_systemctl(_UNINSTALL_ALONE)
        _systemctl("disable", "--now", path.name, otherwise=_UNINSTALL_ALONE)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise cannot("remove", path, error, otherwise="leave it there, where it starts nothing now") from None
    if now:
        _systemctl("daemon-reload", otherwise="systemctl --user daemon-reload, once that is mended")
    _tell(shell, path, changed=True, done="removed")
    return exit.OK


def _tell(shell: Shell, path: Path, *, changed: bool, done: str) -> None:
    if shell.json:
        facts: dict[str, Any] = {"unit": path.name, "path": str(path), "changed": changed}
        shell.document("service", facts)
    elif shell.output is Output.ID:
        shell.out.write(path.name)
    else:
        shell.note(f"{done} {path}")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise cannot("read", path, error, otherwise="move it away") from None


def _check_ours(path: Path, text: str, hint: str) -> None:
    if not text.startswith(_MARK):
        raise ConflictError(f"{path} is not a unit of wfctl's; it is left as it is", hint=hint, path=str(path))


def _write(path: Path, unit: str) -> bool:
    """Whether the unit had to be written."""
    there = _read(path)
    if there == unit:
        return False
    if there is not None:
        _check_ours(path, there, "move it away")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_text(unit, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise cannot("write", path, error, otherwise=_BY_HAND) from None
    return True


def _need_systemctl(otherwise: str) -> None:
    if shutil.which("systemctl") is None:
        raise UsageError("there is no systemd here: systemctl is not found", hint=otherwise)


def _call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemctl", "--user", *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_SYSTEMCTL_S, check=False,
    )  # fmt: skip


def _systemctl(*words: str, otherwise: str) -> None:
    typed = f"systemctl --user {' '.join(map(quoted, words))}"
    try:
        done = _call(*words)
    except subprocess.TimeoutExpired:
        raise NotFinishedError(f"'{typed}' has not ended within {_SYSTEMCTL_S:g} s", hint=otherwise) from None
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ConflictError(
            f"'{typed}' exited with {done.returncode}" + (f"\n{said[-1].strip()}" if said else ""),
            hint=otherwise,
            status=done.returncode,
        )
