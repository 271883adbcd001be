"""Which Python an interpreter is, where that may be the reason why it does not run a worker."""

from __future__ import annotations

from collections.abc import Iterable

OLDEST = (3, 11)
REMEDY = f"name Python {OLDEST[0]}.{OLDEST[1]} or later, with wfctl installed, as [workflows] python in wfctl.toml"
# To be run without -P, which those do not know that are too old. It means the same to every Python there is.
ASK_VERSION = ("-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])")


def knows_no_safe_path(lines: Iterable[str]) -> bool:
    """Whether it said of -P what a Python before 3.11 does."""
    return any("nknown option: -P" in line for line in lines)


def too_old(interpreter: object, version: str) -> str:
    """What is wrong with an interpreter that has answered ASK_VERSION; nothing where it is new enough, or no Python."""
    numbers = version.strip().split(".")
    if not all(number.isdecimal() for number in numbers) or tuple(map(int, numbers)) >= OLDEST:
        return ""
    return f"{interpreter} is Python {version.strip()}; wfctl needs {OLDEST[0]}.{OLDEST[1]} or later"
