"""What a process of `wfd.care` says on its stdout: one object a line, progress first, an answer or an error last."""

from __future__ import annotations

import msgspec

from wfctl.errors import ErrorData
from wfctl.protocol.backup import Copied


class Said(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One line. `answer` is JSON of what the verb answers, empty before."""

    progress: Copied | None = None
    answer: msgspec.Raw = msgspec.Raw()
    error: ErrorData | None = None


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. `status` is ok, warn or fail; `remedy` what to type or do; `fixed`: it was not ok before."""

    code: str
    status: str
    message: str
    remedy: str | None = None
    fixed: bool = False


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    checks: list[Check]


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that is the project's database now. `kept` is where the former one is, None where there was none."""

    path: str
    database: str
    runs: int
    rev: int
    database_schema: int
    newest_at: int | None = None
    kept: str | None = None
