"""History entries as lines: when, which run, what kind, and the part of the record a person looks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from wfctl.cli.exit import look
from wfctl.cli.render.text import Line, clean, cut
from wfctl.cli.render.times import clock
from wfctl.protocol.views import HistoryEntry
from wfctl.values.times import format_duration, rfc3339

KIND_WIDTH = 21
_VALUE_CHARS = 200
_LEVEL_STYLES = {"DEBUG": "dim", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}
_LAST_WORD_LOOKS = {
    "completed": "completed", "failed": "failed", "attempt_failed": "failed", "timed_out": "timed_out",
    "cancelled": "cancelled", "cancel_requested": "cancelling", "terminated": "terminated", "stuck": "stuck",
    "interrupted": "interrupted",
}  # fmt: skip


class Describer:
    """Turns entries into lines, in order. It remembers which handler each step ran, for the records that give its number only."""

    def __init__(self, *, several: bool = False) -> None:
        self._several = several
        self._handlers: dict[tuple[str, int], str] = {}

    def detail(self, entry: HistoryEntry) -> str:
        """What the entry says beyond its kind, as one line of text."""
        data = entry.data
        if entry.kind == "step.started" and "handler" in data:
            self._handlers[entry.run_id, data.get("step", 0)] = str(data["handler"])
        words = _DETAILS.get(entry.kind, _generic)(data)
        if entry.kind.startswith("step.") and "step" in data and entry.kind != "step.started":
            name = self._handlers.get((entry.run_id, data["step"]), f"step {data['step']}")
            words = f"{name}  {words}" if words else name
        return clean(words)

    def line(self, entry: HistoryEntry, now_ms: int, *, width: int | None) -> Line:
        """The entry for a terminal of `width` cells, or with tabs and whole times without one."""
        detail = self.detail(entry)
        if width is None:
            run = f"{entry.workflow_id}\t" if self._several else ""
            if entry.kind == "log":
                detail = f"{str(entry.data.get('level', 'INFO')).upper()} {detail}"
            return [(f"{rfc3339(entry.at)}\t{run}{entry.kind}\t{detail}", "")]
        line: Line = [(clock(entry.at, now_ms), "dim"), ("  ", "")]
        if self._several:
            line += [(clean(entry.workflow_id), "cyan"), ("  ", "")]
        if entry.kind == "log":
            level = str(entry.data.get("level", "INFO")).upper()
            return [*line, (f"{level.lower():<{KIND_WIDTH}}", _LEVEL_STYLES.get(level, "")), (detail, "")]
        line.append((f"{entry.kind:<{KIND_WIDTH}}", _kind_style(entry.kind)))
        used = sum(len(text) for text, _ in line)
        return [*line, (cut(detail, max(width - used - 1, 24)), "")]


def _kind_style(kind: str) -> str:
    word = _LAST_WORD_LOOKS.get(kind.rpartition(".")[2])
    return look(word).style if word and not (kind.startswith("step.") and word == "completed") else ""


def _json(value: Any) -> str:
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= _VALUE_CHARS else f"{text[: _VALUE_CHARS - 1]}…"


def failure_text(error: Any) -> str:
    """`CardDeclined: limit exceeded (flows/orders.py:12 in charge)` of a failure as data."""
    if not isinstance(error, dict):
        return str(error)
    text = str(error.get("type") or error.get("code") or "error")
    if error.get("message"):
        text += f": {error['message']}"
    return f"{text} ({error['frame']})" if error.get("frame") else text


def _started(data: dict[str, Any]) -> str:
    words = [str(data.get("workflow_type", "")), _json(data.get("input"))]
    if data.get("parent"):
        words.append(f"child of {data['parent'].get('workflow_id', '?')}")
    if data.get("deadline"):
        words.append(f"times out {rfc3339(data['deadline'])}")
    return "  ".join(words)


def _step_started(data: dict[str, Any]) -> str:
    words = str(data.get("handler", ""))
    return words + (f"  ({data['kind']})" if data.get("kind") not in (None, "step") else "")


def _step_completed(data: dict[str, Any]) -> str:
    words = f"then {data.get('next', '?')}"
    if data.get("handler"):
        words += f" {data['handler']}"
    if data.get("wake_at"):
        words += f" at {rfc3339(data['wake_at'])}"
    stored = [*data.get("put", {}), *(f"-{key}" for key in data.get("deleted", []))]
    return words + (f"  stored {', '.join(stored)}" if stored else "")


def _wait_started(data: dict[str, Any]) -> str:
    names = data.get("names")
    words = "for " + (", ".join(names) if names else "any event")
    if data.get("deadline"):
        words += f", times out {rfc3339(data['deadline'])}"
    return words + (f" -> {data['on_timeout']}" if data.get("on_timeout") else "")


def _event_received(data: dict[str, Any]) -> str:
    words = str(data.get("name", ""))
    if data.get("payload") not in (None, {}):
        words += f"  {_json(data['payload'])}"
    if data.get("sender"):
        words += f"  from {data['sender']}"
    return words + (f"  refused: {data['refused']}" if data.get("refused") else "")


def _child_started(data: dict[str, Any]) -> str:
    words = f"{data.get('workflow_type', '')}({data.get('workflow_id', '')})"
    return words + ("  already started" if data.get("existing") else "")


def _sent(data: dict[str, Any]) -> str:
    target = f" to {data['workflow_id']}" if data.get("workflow_id") else ""
    return f"{data.get('event', '')}{target}  {data.get('outcome', '')}".rstrip()


def _interrupted(data: dict[str, Any]) -> str:
    return f"attempt {data.get('attempt', 1)}: {data.get('reason', '')}"


def _refused(data: dict[str, Any]) -> str:
    return f"{data.get('operation', '')} {data.get('name', '')}: {failure_text(data.get('error'))}"


def _reason(data: dict[str, Any]) -> str:
    return str(data.get("reason") or "")


def _error(data: dict[str, Any]) -> str:
    return failure_text(data.get("error", ""))


def _generic(data: dict[str, Any]) -> str:
    """A record this version has no words for: its fields as they are."""
    shown = {key: value for key, value in data.items() if key not in ("key", "step", "run_id")}
    return "  ".join(
        f"{key.removesuffix('_ms')}={format_duration(value)}"
        if key.endswith("_ms") and isinstance(value, int)
        else f"{key}={value if isinstance(value, str) else _json(value)}"
        for key, value in shown.items()
    )


_DETAILS: dict[str, Callable[[dict[str, Any]], str]] = {
    "run.started": _started,
    "run.completed": lambda data: _json(data.get("result")),
    "run.failed": _error,
    "run.timed_out": _error,
    "run.cancel_requested": _reason,
    "run.cancelled": _reason,
    "run.terminated": _reason,
    "run.stuck": _reason,
    "step.started": _step_started,
    "step.completed": _step_completed,
    "step.failed": _error,
    "step.interrupted": _interrupted,
    "wait.started": _wait_started,
    "event.received": _event_received,
    "child.started": _child_started,
    "child.closed": lambda data: f"{data.get('workflow_id', '')}  {data.get('status', '')}",
    "parent_event.sent": _sent,
    "event.sent": _sent,
    "operation.refused": _refused,
    "log": lambda data: str(data.get("message", "")),
}
