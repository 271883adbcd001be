"""Where a project is and where its daemon listens: the rule both sides follow. Reads no configuration.

A project is the folder of the nearest `wfctl.toml`, looked for upwards from the working directory like git
does. Its socket is named after it, so that every folder below finds the same daemon.
"""

from __future__ import annotations

import os
from pathlib import Path

CONFIG_NAME = "wfctl.toml"
STATE_NAME = ".wfctl"
# In the state folder: what the daemon writes, and what it holds as long as it may.
DATABASE_NAME, LOCK_NAME = "wfctl.db", "lock"
# sun_path is 108 bytes on Linux, 104 on macOS, its final NUL included.
MAX_SOCKET_PATH_BYTES = 100


def find_config(given: str | os.PathLike[str] | None = None, *, start: Path | None = None) -> Path:
    """The absolute path of the project's `wfctl.toml`.

    `given` (or the environment's WFCTL_PROJECT) is a folder that has one, or that file; otherwise the nearest
    one at or above `start` (default: the working directory). Raises ConfigError where there is none.
    """
    named = given if given is not None else os.environ.get("WFCTL_PROJECT") or None
    if named is not None:
        path = Path(os.path.abspath(os.path.expanduser(named)))
        source = "--project" if given is not None else "WFCTL_PROJECT"
        file = path / CONFIG_NAME if path.is_dir() else path
        if file.name != CONFIG_NAME or not file.is_file():
            from wfctl.errors import ConfigError

            told = f"{path} is no {CONFIG_NAME}" if path.is_file() else f"no {CONFIG_NAME} at {path}"
            raise ConfigError(
                f"{told} (from {source})",
                hint=f"name a folder that holds a {CONFIG_NAME}, or the file itself",
                path=str(path),
            )
        return file
    here = Path(os.path.abspath(start or _here()))
    for folder in (here, *here.parents):
        file = folder / CONFIG_NAME
        if file.is_file():
            return file
    from wfctl.errors import (
        ConfigError,  # only where there is none: completion needs no errors, which take a while to load
    )

    raise ConfigError(
        f"no {CONFIG_NAME} in {here} or any folder above it",
        hint="wfctl init to begin a project here, or name one with --project",
        path=str(here),
    )


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        from wfctl.errors import ConfigError

        raise ConfigError(
            "the working directory does not exist any more, so no project is found from it",
            hint="cd into a folder that is there, or name the project with --project",
        ) from None


def chosen_socket(project: str | None) -> Path:
    """Where the daemon listens: that of `project` (--project), else the one WFCTL_SOCKET names, else that of the project here.

    Raises ConfigError where no project is found; with the socket named, none needs to be.
    """
    named = os.environ.get("WFCTL_SOCKET")
    return Path(os.path.abspath(named)) if named and project is None else socket_path(find_config(project))


def real_config(config: Path) -> str:
    """What tells a project from others: its folder, whichever way leads there. Its file may be a link to one others share."""
    return os.path.join(os.path.realpath(config.parent), config.name)


def socket_path(config: Path) -> Path:
    """Where the daemon of this project listens. WFCTL_SOCKET overrides it.

    `$XDG_RUNTIME_DIR/wfctl/NAME-HASH.sock` where that exists and is short enough, else `.wfctl/wfd.sock` in the project,
    else (a project nested too deeply for a socket's name) `/tmp/wfctl-UID/NAME-HASH.sock`.
    """
    override = os.environ.get("WFCTL_SOCKET")
    if override:
        return Path(os.path.abspath(override))
    real = real_config(config)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime):
        path = Path(runtime) / "wfctl" / _leaf(real)
        if _fits(path):
            return path
    path = Path(os.path.dirname(real)) / STATE_NAME / "wfd.sock"
    return path if _fits(path) else Path(f"/tmp/wfctl-{os.getuid()}") / _leaf(real)


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES


def _leaf(real: str) -> str:
    """The socket's name outside of its project."""
    import hashlib  # every command comes through this module, and few need a hash

    name = os.path.basename(os.path.dirname(real))[:24] or "root"
    return f"{name}-{hashlib.sha256(real.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}.sock"
