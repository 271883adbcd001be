"""An exception of the user's code as data, with the line that matters to them."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any

import msgspec

from wfctl.errors import WfctlError
from wfctl.sdk.sources import Sources
from wfctl.values.failure import Failure

MAX_MESSAGE_CHARS = 8_000
MAX_TRACEBACK_CHARS = 32_000


def readable(text: str, limit: int) -> str:
    """`text` as UTF-8 can hold it (lone surrogates escaped), its middle left out over `limit` characters."""
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half:,} characters left out ...\n{text[-half:]}"


def describe_exception(error: BaseException, sources: Sources, *, frame: str = "") -> Failure:
    """`error` as a Failure. `frame` names the line where the traceback cannot (nothing of the user's is on it)."""
    kind = type(error)
    return Failure(
        type=kind.__name__,
        message=readable(_message(error), MAX_MESSAGE_CHARS),
        qualified=f"{kind.__module__}.{kind.__qualname__}",
        frame=user_frame(error.__traceback__, sources) or frame,
        traceback=readable(_text(error, sources), MAX_TRACEBACK_CHARS),
        detail=_detail(error),
    )


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:
        return f"(its __str__ raised {type(broken).__name__})"


def user_frame(trace: TracebackType | None, sources: Sources) -> str:
    """The innermost line of the user's own code, else the innermost that is not ours, else nothing."""
    own = other = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if sources.owns(code.co_filename):
            own = sources.place(code.co_filename, trace.tb_lineno, code.co_name)
        elif not sources.hides(code.co_filename):
            other = sources.place(code.co_filename, trace.tb_lineno, code.co_name)
        trace = trace.tb_next
    return own or other


def user_location(trace: TracebackType | None, sources: Sources) -> tuple[str, int]:
    """File and line of the innermost frame of the user's own code, or ("", 0)."""
    found = ("", 0)
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if sources.owns(file):
            found = (file, trace.tb_lineno)
        trace = trace.tb_next
    return found


def _text(error: BaseException, sources: Sources) -> str:
    try:
        summary = traceback.TracebackException.from_exception(error, limit=-60, compact=True)
        _hide(summary, sources)
        return "".join(summary.format())
    except Exception:  # formatting runs the exception's own code
        return f"{type(error).__name__}: {_message(error)}\n"


def _hide(summary: traceback.TracebackException, sources: Sources) -> None:
    pending: list[traceback.TracebackException | None] = [summary]
    while pending:
        one = pending.pop()
        if one is None:
            continue
        one.stack = traceback.StackSummary.from_list(
            [frame for frame in one.stack if not sources.hides(frame.filename)]
        )
        pending += [one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ())]


def _detail(error: BaseException) -> dict[str, Any]:
    if not isinstance(error, WfctlError):
        return {}
    detail = {"code": error.code, **({"hint": error.hint} if error.hint else {}), **error.detail}
    try:
        msgspec.json.encode(detail)
    except Exception:  # a subclass of the user's may carry anything
        return {"code": error.code}
    return detail
