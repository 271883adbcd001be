"""An exception of the user's code as data, with the line that matters to them; and back, where a task's is raised again."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Iterator
from itertools import islice
from types import TracebackType
from typing import Any

import msgspec

from wfctl.errors import TaskError, WfctlError
from wfctl.sdk.sources import Sources
from wfctl.values.codec import decode, encode
from wfctl.values.failure import Failure

MAX_MESSAGE_CHARS = 8_000
MAX_TRACEBACK_CHARS = 32_000
MAX_ATTRIBUTE_BYTES = 32_000
MAX_GROUP_DEPTH = 8
# The exceptions of a group that its message names.
MAX_CAUSES = 3

# Where an exception that is raised again keeps the traceback of the first time, which is text by then.
_TRACE = "_wfctl_traceback"
_RAISED_AGAIN = "\nThe exception above was raised in a task, and again where its handler awaits it:\n\n"
# What an OSError holds outside of its dictionary.
_OF_OSERROR = ("errno", "strerror", "filename", "filename2")


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
    """Its text; a group's with that of the first exceptions in it, for it says of itself only how many there are."""
    try:
        text = str(error)
    except BaseException as broken:  # it is the user's own code, which may even exit
        text = f"(its __str__ raised {type(broken).__name__})"
    if not isinstance(error, BaseExceptionGroup):
        return text
    causes = [
        f"{type(one).__name__}: {_message(one)}".removesuffix(": ") for one in islice(_leaves(error), MAX_CAUSES + 1)
    ]
    more = ["..."] if len(causes) > MAX_CAUSES else []
    return f"{text}: {'; '.join(causes[:MAX_CAUSES] + more)}"


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    pending: list[BaseException] = [group]
    while pending:
        one = pending.pop()
        if isinstance(one, BaseExceptionGroup):
            pending += reversed(one.exceptions)
        else:
            yield one


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
        return "".join([*(f"{trace}{_RAISED_AGAIN}" for trace in _traces(error)), *summary.format()])
    except BaseException:  # formatting runs the exception's own code
        return f"{type(error).__name__}: {_message(error)}\n"


def _traces(error: BaseException) -> list[str]:
    """Those of `error`, and of all that it tells of, that were raised in tasks; the first ones first."""
    found: list[str] = []
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        trace = vars(one).get(_TRACE)
        if isinstance(trace, str):
            found.insert(0, trace)
        pending += [one.__cause__, None if one.__suppress_context__ else one.__context__]
        pending += reversed(one.exceptions) if isinstance(one, BaseExceptionGroup) else ()
    # One that was raised while another was handled tells of that itself.
    return [trace for trace in dict.fromkeys(found) if not any(trace in other and trace != other for other in found)]


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


# -- there and back ----------------------------------------------------------------------------------


def describe_task_failure(error: Exception, sources: Sources, depth: int = 0) -> Failure:
    """`error` as a Failure that `rebuilt` can raise again: `detail` has its args, attributes and the exceptions of a group."""
    detail: dict[str, Any] = {}
    args = [held[0] for arg in error.args if (held := _plain(arg)) is not None]
    if len(args) == len(error.args):
        detail["args"] = args
    attributes = {name: held[0] for name, value in _attributes(error).items() if (held := _plain(value)) is not None}
    if attributes:
        detail["attributes"] = attributes
    if isinstance(error, ExceptionGroup) and depth < MAX_GROUP_DEPTH:
        inner = [describe_task_failure(one, sources, depth + 1) for one in error.exceptions]
        detail |= {"args": [error.message], "exceptions": msgspec.to_builtins(inner)}
    return msgspec.structs.replace(describe_exception(error, sources), detail=detail)


def _attributes(error: Exception) -> dict[str, Any]:
    held = {name: value for name, value in vars(error).items() if not name.startswith("_") or name == "__notes__"}
    if isinstance(error, OSError):
        held |= {name: value for name in _OF_OSERROR if (value := getattr(error, name, None)) is not None}
    return held


def _plain(value: Any) -> tuple[Any] | None:
    """`value` as JSON gives it back, or None where JSON cannot hold it."""
    try:
        return (decode(encode(value, "exception", limit=MAX_ATTRIBUTE_BYTES)),)
    except Exception:  # it runs the user's own code
        return None


def rebuilt(failure: Failure) -> Exception:
    """The exception that `failure` tells of, as its own class without running its __init__; else a TaskError that names it."""
    try:
        error = _rebuilt(failure)
        # Its text may need what was left behind.
        if str(error) or not failure.message:
            return error
    except Exception:  # its class is the user's own
        pass
    return TaskError(str(failure), type=failure.type, qualified=failure.qualified)


def with_trace(error: Exception, failure: Failure) -> Exception:
    """`error`, which was rebuilt of `failure`: its traceback will be told with what that says."""
    if failure.traceback:
        vars(error)[_TRACE] = failure.traceback
    return error


def _rebuilt(failure: Failure) -> Exception:
    cls = _class_of(failure.qualified)
    detail: dict[str, Any] = failure.detail
    args = tuple(detail.get("args", (failure.message,)))
    if issubclass(cls, ExceptionGroup):
        inner = [rebuilt(one) for one in msgspec.convert(detail["exceptions"], list[Failure])]
        error: Exception = cls.__new__(cls, args[0], inner)
    else:
        error = cls.__new__(cls, *args)
        error.args = args
    attributes: dict[str, Any] = dict(detail.get("attributes", {}))
    for name in _OF_OSERROR:
        if isinstance(error, OSError) and name in attributes:
            setattr(error, name, attributes.pop(name))
    vars(error).update(attributes)
    return error


def _class_of(qualified: str) -> type[Exception]:
    """The exception class of that name; raises where there is none."""
    parts = qualified.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        if isinstance(found, type) and issubclass(found, Exception):
            return found
        break
    raise LookupError(qualified)
