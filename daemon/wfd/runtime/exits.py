"""How a process has ended, in words."""

from __future__ import annotations

import contextlib
import signal


def describe_exit(code: int) -> str:
    """`code` as subprocess has it: below zero it is a signal's."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"
