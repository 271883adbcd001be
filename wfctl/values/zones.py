"""Which time zone this machine is in, by name."""

from __future__ import annotations

import os
from pathlib import Path

_LOCALTIME = Path("/etc/localtime")
_TIMEZONE = Path("/etc/timezone")


def local_zone() -> str:
    """The name that TZ, /etc/localtime or /etc/timezone gives, such as Europe/Paris; UTC where none of them gives one."""
    named = os.environ.get("TZ", "").removeprefix(":")
    if named and "/" not in named[:1]:
        return named
    try:
        _, found, name = os.readlink(_LOCALTIME).partition("/zoneinfo/")
        if found and name:
            return name.removeprefix("posix/")
    except OSError:
        pass  # a copy, or none
    try:
        return _TIMEZONE.read_text(encoding="utf-8").strip() or "UTC"
    except (OSError, UnicodeDecodeError):
        return "UTC"
