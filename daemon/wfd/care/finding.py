"""What a check says: it is well, it should be better, or it has to be mended."""

from __future__ import annotations

from wfctl.protocol.care import Check


def ok(code: str, message: str, *, fixed: bool = False) -> Check:
    return Check(code=code, status="ok", message=message, fixed=fixed)


def warn(code: str, message: str, remedy: str) -> Check:
    return Check(code=code, status="warn", message=message, remedy=remedy)


def fail(code: str, message: str, remedy: str) -> Check:
    return Check(code=code, status="fail", message=message, remedy=remedy)
